"""Colours of categories, which scanpy keeps in `uns["KEY_colors"]` in the order of the categories.

A replaced column may have other categories, or the same in another order. Between files,
annotations carry their colours along, by category name.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

COLOURS = "cfm_colours"
"""Attribute of the frame in which annotations carry their colours."""
LABEL = "_label"
"""Suffix of the column that keeps the labels of a replaced column."""


def coloured(obs: "pd.DataFrame", held: Callable[[str], Any]) -> "pd.DataFrame":
    """Attach the colours of categories to annotations.

    Args:
        obs: annotations of an AnnData.
        held: key -> value in its `uns`, None if absent.
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
    """Entries of `uns` with the colours that annotations carry, if complete."""
    told, found = obs.attrs.get(COLOURS, {}), {}
    for name, column in obs.select_dtypes("category").items():
        known, own = told.get(str(name), {}), [str(category) for category in column.cat.categories]
        if own and known.keys() >= set(own):
            found[_place(str(name))] = np.array([known[category] for category in own], dtype=object)
    return found


def followed(added: Mapping[str, Any], held: Callable[[str, str], Any]) -> dict[str, Any]:
    """Colours of new columns for `uns`: each name or row keeps the colour it had.

    Args:
        added: new columns of `obs`, one of which may be the old one under its name plus `_label`.
        held: slot and key of an AnnData -> previous value, None if absent.
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
    """Key under which scanpy stores the colours of a column."""
    return f"{key}_colors"


def _moved(old: Any, new: Any, colours: Any) -> Any | None:
    """Colour of each new category: that of its name, or of the category it renames.

    If all names are known, only names are used, since a known name may be another's new name.
    None if ambiguous, or if two categories would share a colour.
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
