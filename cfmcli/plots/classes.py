"""Classes: the words of a column, as pictures name and colour them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cfmcli.io.colours import COLOURS

if TYPE_CHECKING:
    import pandas as pd


def ranked(values: "pd.Series[Any]") -> list[str]:
    """The classes that occur: in the order of their categories, else of numbers, else of letters.

    Args:
        values: a class each; those that are missing come last.
    """
    import pandas as pd

    known = values.dropna()
    found = sorted(set(map(str, known)))
    if isinstance(known.dtype, pd.CategoricalDtype):
        found = [name for name in map(str, known.dtype.categories) if name in found]
    elif all(map(_number, found)):
        found.sort(key=float)
    return found + sorted(set(map(str, values[values.isna()])))


def palette(values: "pd.Series[Any] | None") -> Mapping[str, str]:
    """The colours that the classes of a column brought with them from its file, by name."""
    found: dict[str, str] = {}
    return found if values is None else values.attrs.get(COLOURS, {}).get(str(values.name), found)


def _number(name: str) -> bool:
    """Whether a class is called by a number."""
    try:
        return float(name) is not None
    except ValueError:
        return False
