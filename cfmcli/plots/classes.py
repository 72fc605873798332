"""Classes: order and colours of the categories of a column in pictures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cfmcli.io.colours import COLOURS

if TYPE_CHECKING:
    import pandas as pd

GREY = "#8c8c8c"
"""Colour of cells without a class beside classes with colours of their own."""


def ranked(values: "pd.Series[Any]") -> list[str]:
    """Classes that occur, ordered by category, else as numbers, else alphabetically.

    Args:
        values: class of each cell; missing ones come last.
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
    """Colours from the source file for the classes of a column, by name; grey if missing."""
    if values is None:
        return {}
    own: Mapping[str, str] = values.attrs.get(COLOURS, {}).get(str(values.name), {})
    return dict.fromkeys(map(str, values[values.isna()]), GREY) | dict(own)


def _number(name: str) -> bool:
    """Whether the name of a class is a number."""
    try:
        return float(name) is not None
    except ValueError:
        return False
