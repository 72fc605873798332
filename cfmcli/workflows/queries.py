"""Queries: rows of points that satisfy a condition on their annotations."""

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

# Methods that a condition may call; others of pandas may write files.
QUESTIONS = (
    *("str", "contains", "startswith", "endswith", "match", "fullmatch", "lower", "upper", "strip"),
    *("len", "abs", "isin", "between", "isna", "notna", "isnull", "notnull"),
)
BACKTICKS = "'`cell type` == \"HSC\"'"
LITERAL = r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`[^`]*`"


def chosen(table: Table, query: str) -> Table:
    """Points of a table that satisfy a condition; all of them without one.

    Args:
        table: the table as read.
        query: the condition, as given to --where.

    Raises:
        ConfigError: if it cannot be parsed, or is not a condition.
    """
    # Rows no longer correspond to lines of the file, so messages name points by their ids.
    return replace(table.rows(satisfying(table.obs, query)), columns=()) if query else table


def satisfying(obs: "pd.DataFrame", query: str) -> IntArray:
    """Indices of the rows that satisfy a condition.

    Args:
        obs: annotations of points.
        query: the condition, as given to --where, in pandas syntax.

    Raises:
        ConfigError: if it cannot be parsed, or is not a condition.
    """
    numbered = obs.reset_index(drop=True)
    try:
        called = re.findall(r"\.\s*([^\W\d]\w*)", re.sub(LITERAL, "''", query))
        if not set(called) <= set(QUESTIONS):
            raise ValueError(f"of methods it may use {', '.join(QUESTIONS)}")
        found: Any = numbered.eval(query, engine="python", local_dict={}, global_dict={})
        if str(getattr(found, "dtype", "")) == "boolean":  # missing values count as false
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
    """Spell a column name in a condition: in backticks unless it is a valid identifier."""
    return name if name.isidentifier() and not iskeyword(name) else f"`{name}`"


def advised(query: str) -> str:
    """Spell --where as a shell takes it: within double quotes it would run what backticks hold."""
    if "`" in query:
        return "--where '{}'".format(query.replace("'", '"'))
    return f'--where "{query}"'
