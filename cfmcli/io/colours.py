"""Colours of categories, which scanpy keeps in `uns["KEY_colors"]` in the order of the categories.

A column that is replaced may have other categories, or the same in another order. On their way
from a file to another, annotations have the colours with them, by the names of the categories.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

COLOURS = "cfm_colours"
"""Where annotations have them, among the attributes of the frame."""
LABEL = "_label"
"""What the name of a replaced column gets where its labels are kept beside it."""


def coloured(obs: "pd.DataFrame", held: Callable[[str], Any]) -> "pd.DataFrame":
    """Annotations with the colours of their categories.

    Args:
        obs: as an AnnData has them.
        held: key -> what its `uns` holds there, None for nothing.
    """
    found = {}
    for name, column in obs.select_dtypes("category").items():
        own, colours = column.cat.categories, np.asarray(held(_place(str(name))), dtype=object)
        if colours.shape == own.shape:
            found[str(name)] = dict(zip(map(str, own), map(str, colours), strict=True))
    obs = obs.copy(deep=False)
    obs.attrs = {COLOURS: found} if found else {}
    return obs


def palettes(obs: "pd.DataFrame") -> dict[str, Any]:
    """The colours that annotations have with them, as entries of `uns`, where all are known."""
    told, found = obs.attrs.get(COLOURS, {}), {}
    for name, column in obs.select_dtypes("category").items():
        known, own = told.get(str(name), {}), [str(category) for category in column.cat.categories]
        if own and known.keys() >= set(own):
            found[_place(str(name))] = np.array([known[category] for category in own], dtype=object)
    return found


def followed(added: Mapping[str, Any], held: Callable[[str, str], Any]) -> dict[str, Any]:
    """The colours of new columns, by which each name or row keeps the one it had, for `uns`.

    Args:
        added: new columns of `obs`, one of which may be the old one under its name and `_label`.
        held: slot and key of an AnnData -> what it holds there before, None for nothing.
    """
    found: dict[str, Any] = {}
    for key, new in added.items():
        for old in dict.fromkeys((key, key.removesuffix(LABEL))):
            colours, column = held("uns", _place(old)), held("obs", old)
            if colours is not None and column is not None and _place(key) not in found:
                moved = _moved(column, new, np.asarray(colours))
                found |= {} if moved is None else {_place(key): moved}
    return found


def _place(key: str) -> str:
    """Where scanpy looks for the colours of a column."""
    return f"{key}_colors"


def _moved(old: Any, new: Any, colours: Any) -> Any | None:
    """Each new category's colour: that of its name, or of the category that it renames.

    Where all names are known, they alone tell: else a name that is known may be another's new one.
    None where there is no telling, or two would share one.
    """
    import pandas as pd

    if not isinstance(getattr(new, "dtype", None), pd.CategoricalDtype):
        return None
    before, after = pd.Categorical(old), pd.Categorical(new)
    if colours.shape != before.categories.shape:
        return None
    named = before.categories.get_indexer(after.categories)
    if (named >= 0).all():
        return colours[named]
    rows = pd.DataFrame({"old": before.codes, "new": after.codes})
    pairs = rows[(rows >= 0).all(axis=1)].drop_duplicates()
    first = pairs.drop_duplicates("new").set_index("new")["old"]
    places = first.reindex(range(len(after.categories)), fill_value=-1).to_numpy()
    if len(pairs) > len(first) or not first.is_unique or (places < 0).any():
        places = np.where(named < 0, places, named)
    told = (places >= 0).all() and len(set(places)) == len(places)
    return colours[places] if told else None
