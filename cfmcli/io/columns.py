"""Columns: converts Arrow columns of delimited and Parquet files to tables."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cfmcli.data.table import Table
from cfmcli.errors import DataError
from cfmcli.io.checks import Where, distinct_ids, finite, some_points
from cfmcli.io.selection import Selection, identifier, listed, numeric_features, others

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa


def is_number(column: "pa.ChunkedArray") -> bool:
    """Whether a column holds integers, floats or decimals, and not only gaps."""
    return is_numeric(column.type) and column.null_count < max(len(column), 1)


def is_numeric(kind: "pa.DataType") -> bool:
    """Whether a type is integer, float or decimal."""
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def assemble(
    columns: "Mapping[str, pa.ChunkedArray]", selection: Selection, origin: str, where: Where
) -> Table:
    """Sort typed columns into features, ids and annotations, and check them.

    Args:
        columns: name -> column, in the file's order.
        selection: the user's choice.
        origin: the file, for messages.
        where: describes a row, counted from 0, for the user.

    Raises:
        DataError: no feature, a non-finite value, or an empty or repeated id.
    """
    names = tuple(columns)
    numeric = {name for name in names if is_number(columns[name])}
    features = numeric_features(numeric, names, selection, origin)
    values = matrix([columns[name] for name in features])
    some_points(len(values), origin)
    finite(values, features, origin, where)
    head = without_values(columns, (names, features, len(values)), selection, origin, where)
    return replace(head, values=values)


def without_values(
    columns: "Mapping[str, pa.ChunkedArray]",
    shape: tuple[tuple[str, ...], tuple[str, ...], int],
    selection: Selection,
    origin: str,
    where: Where,
) -> Table:
    """Build a table of ids and annotations only, with values of shape (n, 0).

    Args:
        columns: name -> column, at least of those that are not features.
        shape: names of all columns, names of the features, and number of points.
        selection: the user's choice.
        origin: the file, for messages.
        where: describes a row, counted from 0, for the user.

    Raises:
        DataError: an empty or repeated id.
    """
    names, features, count = shape
    key = identifier(names, selection, origin)
    obs = _frame({n: columns[n] for n in others(names, key, features)}, count)
    if key is not None:
        asked = bool(selection.id_key)
        obs.index = distinct_ids(_ids(columns[key], key), origin, where, asked=asked)
    return Table(np.empty((count, 0)), features, obs, origin, columns=names)


def order(table: Table) -> tuple[str, ...]:
    """Order of the columns for writing: that of the original file, then new ones.

    Raises:
        DataError: a feature has the name of an annotation or of the ids.
    """
    ids = () if table.obs.index.name is None else (str(table.obs.index.name),)
    notes = dict.fromkeys((*ids, *map(str, table.obs.columns)))
    twice = [name for name in table.features if name in notes]
    if twice:
        raise DataError(
            f"{table.origin}: {listed(twice)} would be both feature and annotation of one table."
            " Rename that column of the input."
        )
    everything = notes | dict.fromkeys(table.features)
    kept = (name for name in table.columns if name in everything)
    return tuple(dict.fromkeys((*kept, *everything)))


def matrix(columns: "list[pa.ChunkedArray]") -> "npt.NDArray[np.float32 | np.float64]":
    """Stack numeric columns, (n, d): float32 if all are, else float64; null becomes NaN."""
    import pyarrow as pa

    single = all(column.type == pa.float32() for column in columns)
    values = np.empty((len(columns[0]), len(columns)), np.float32 if single else np.float64)
    for place, column in enumerate(columns):
        values[:, place] = column.cast(pa.float64(), safe=False).to_numpy()
    return values


def _frame(columns: "Mapping[str, pa.ChunkedArray]", count: int) -> "pd.DataFrame":
    """Convert annotations to a DataFrame, numbered by text "0", "1", ..."""
    import pandas as pd
    import pyarrow as pa

    frame = pa.table(dict(columns)).to_pandas() if columns else pd.DataFrame(index=range(count))
    frame.index = pd.Index([str(row) for row in range(count)], dtype=object)
    return frame


def _ids(column: "pa.ChunkedArray", name: str) -> "pd.Index":
    """Convert a column to text ids."""
    import pandas as pd
    import pyarrow as pa

    ids: pd.Index = pd.Index(column.cast(pa.string()).to_pylist(), dtype=object, name=name)
    return ids
