"""Queries: the rows of points for which a condition on their annotations holds."""

import re
from dataclasses import replace
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.data.arrays import IntArray
from cfmcli.data.table import Table
from cfmcli.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

# What a condition may call; anything else that pandas can call may write files.
QUESTIONS = (
    *("str", "contains", "startswith", "endswith", "match", "fullmatch", "lower", "upper", "strip"),
    *("len", "abs", "isin", "between", "isna", "notna", "isnull", "notnull"),
)
BACKTICKS = "'`cell type` == \"HSC\"'"
LITERAL = r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`[^`]*`"


def chosen(table: Table, query: str) -> Table:
    """The points of a table for which a condition holds; all of them where there is none.

    Args:
        table: as read.
        query: what --where says.

    Raises:
        ConfigError: if it cannot be read, or is no condition.
    """
    # Rows no longer count lines of the file, so messages are to name points by their ids.
    return replace(table.rows(satisfying(table.obs, query)), columns=()) if query else table


def satisfying(obs: "pd.DataFrame", query: str) -> IntArray:
    """The rows for which a condition holds.

    Args:
        obs: annotations of points.
        query: what --where says, in the words of pandas.

    Raises:
        ConfigError: if it cannot be read, or is no condition.
    """
    numbered = obs.reset_index(drop=True)
    try:
        called = re.findall(r"\.\s*([^\W\d]\w*)", re.sub(LITERAL, "''", query))
        if not set(called) <= set(QUESTIONS):
            raise ValueError(f"of methods it may use {', '.join(QUESTIONS)}")
        found: Any = numbered.eval(query, engine="python", local_dict={}, global_dict={})
        if str(getattr(found, "dtype", "")) == "boolean":  # a gap is neither true nor false
            found = found.fillna(False).astype(bool)
        holds = np.asarray(found)
        if holds.dtype != np.bool_ or holds.shape != (len(numbered),):
            raise ValueError("it is not true or false for each point")
    except Exception as error:
        names = [spelled(str(name)) for name in numbered.columns]
        odd = [name for name in names if name.startswith("`")]
        ticks = f" Other names than words stand in backticks, the whole in ' ': {BACKTICKS}."
        raise ConfigError(
            f'--where "{query}": {error}. Expected a condition on the columns '
            f"{', '.join(names) or '(none)'}, for example \"celltype == 'HSC'\"."
            f"{ticks if odd else ''}"
        ) from None
    return np.flatnonzero(holds)


def spelled(name: str) -> str:
    """A column as a condition names it: in backticks where it is no word, or Python's own."""
    return name if name.isidentifier() and not iskeyword(name) else f"`{name}`"
