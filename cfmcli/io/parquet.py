"""Parquet tables."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cfmcli.data.table import Table
from cfmcli.errors import DataError
from cfmcli.io.checks import counted, dense, distinct_names
from cfmcli.io.columns import assemble, order
from cfmcli.io.output import atomic
from cfmcli.io.selection import Selection, plain_only

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def read(path: str, selection: Selection) -> Table:
    """Read a Parquet file; float32 stays if all features have it, else they are float64.

    Raises:
        DataError: the file is damaged or does not hold numeric columns.
    """
    plain_only(selection, path)
    return assemble(columns(path), selection, path, counted)


def columns(path: str) -> "dict[str, pa.ChunkedArray]":
    """All columns by name; an unnamed pandas index counts as a column without a name."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: this is no Parquet file, or a damaged one: {error}.") from error
    names = ["" if name == "__index_level_0__" else name for name in table.column_names]
    distinct_names(names, "column names", path, "Rename them so that each is its own.")
    return dict(zip(names, table.columns, strict=True))


def write(path: str, table: Table) -> None:
    """Write a table to Parquet, columns in the order of the delimited writer."""
    import pyarrow as pa
    from pyarrow import parquet

    fields = dict(_fields(table))
    with atomic(path) as part:
        parquet.write_table(pa.table({name: fields[name] for name in order(table)}), part)


def _fields(table: Table) -> "Iterator[tuple[str, pa.Array]]":
    """Every column of a table as an Arrow array, by name."""
    import pyarrow as pa

    if table.obs.index.name is not None:
        yield str(table.obs.index.name), pa.array(map(str, table.obs.index), pa.string())
    for name in table.obs.columns:
        yield str(name), _annotation(table.obs[name])
    for name, column in zip(table.features, dense(table.values).T, strict=True):
        yield name, pa.array(column)


def _annotation(column: "pd.Series[Any]") -> "pa.Array":
    """An annotation as an Arrow array; objects of several types become text."""
    import pyarrow as pa

    try:
        return pa.Array.from_pandas(column)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.Array.from_pandas(column.astype(object).map(str, na_action="ignore"))
