"""Parquet files: reading and writing of tables."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.data.table import Backed, Table
from cfmcli.errors import DataError
from cfmcli.io.checks import beyond, counted, dense, distinct_names, finite, some_points
from cfmcli.io.columns import assemble, is_numeric, matrix, order, without_values
from cfmcli.io.formats import Append
from cfmcli.io.output import atomic
from cfmcli.io.selection import Selection, numeric_features, plain_only

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow.parquet import FileMetaData, ParquetFile

BUFFER = 1 << 16
"""Number of bytes of a column read at once, so that row groups need not fit in memory."""


def read(path: str, selection: Selection) -> Table:
    """Read a Parquet file; features stay float32 if all are, else become float64.

    Raises:
        DataError: the file is damaged or does not hold numeric columns.
    """
    plain_only(selection, path)
    return assemble(columns(path), selection, path, counted)


def backed(path: str, selection: Selection) -> Backed:
    """Open a file like `read`, but read values from its row groups on access.

    Raises:
        DataError: as in `read`; invalid values are reported when their row is read.
    """
    plain_only(selection, path)
    with _opened(path) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
        names = _names(schema.names, path)
        numbers = {k for k, kind in enumerate(schema.types) if is_numeric(kind)}
        gaps = _gaps(file.metadata, numbers)
        if file.metadata.num_columns != len(names) or None in gaps.values():
            return Backed.of(read(path, selection))
        numeric = {names[k] for k, gap in gaps.items() if gap < max(count, 1)}
        features = numeric_features(numeric, names, selection, path)
        some_points(count, path)
        spelled = dict(zip(names, schema.names, strict=True))
        rest = [name for name in names if name not in features]
        table = file.read([spelled[name] for name in rest], use_threads=False)
        held = {name: _flat(table[spelled[name]]) for name in rest}
    head = without_values(held, (names, features, count), selection, path, counted)
    rows = _Rows(path, [spelled[name] for name in features], features)
    return Backed(head, rows.read)


def columns(path: str) -> "dict[str, pa.ChunkedArray]":
    """Read all columns by name; an unnamed pandas index becomes a column without a name."""
    with _opened(path) as file:
        table = file.read(use_threads=False)
    return dict(zip(_names(table.column_names, path), map(_flat, table.columns), strict=True))


def _flat(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Convert lists and records of a column to JSON text, as in other formats."""
    import pyarrow as pa

    if not pa.types.is_nested(column.type):
        return column
    cells = (None if cell is None else json.dumps(cell, default=str) for cell in column.to_pylist())
    return pa.chunked_array([pa.array(cells, pa.string())])


def write(path: str, table: Table) -> None:
    """Write a table to Parquet, with columns in the order of the delimited writer."""
    with writing(path, table) as append:
        append(table)


@contextmanager
def writing(path: str, head: Table) -> Iterator[Append]:
    """Create a Parquet file that is written table after table, one row group each."""
    import pyarrow as pa
    from pyarrow import parquet

    # A part of an object column may look like one of another type.
    mixed = [name for name in head.obs.columns if head.obs[name].dtype == object]
    notes = {str(name): _annotation(head.obs[name]) for name in mixed}
    with atomic(path) as part, ExitStack() as files:
        writers: list[parquet.ParquetWriter] = []
        done = 0

        def append(table: Table) -> None:
            nonlocal done
            held = {name: note.slice(done, len(table)) for name, note in notes.items()}
            fields = dict(_fields(table, held))
            block = pa.table({name: fields[name] for name in order(table)})
            if not writers:
                writers.append(files.enter_context(parquet.ParquetWriter(part, block.schema)))
            writers[0].write_table(block)
            done += len(table)

        yield append


class Batches:
    """Reads rows of a Parquet file, any number at a time.

    Args:
        stream: batches of the file.
        path: the file, for messages.
    """

    def __init__(self, stream: "Iterator[pa.RecordBatch]", path: str) -> None:
        self._stream = stream
        self._path = path
        self._left: pa.RecordBatch | None = None

    def take(self, count: int) -> "Iterator[pa.RecordBatch]":
        """Yield the next rows.

        Raises:
            DataError: there are not enough.
        """
        while count:
            batch = next(self._stream, None) if self._left is None else self._left
            if batch is None:
                raise DataError(
                    f"{self._path}: it has {count} rows too few: fetch or make it again."
                )
            yield batch.slice(0, count)
            self._left = batch.slice(count) if batch.num_rows > count else None
            count -= min(count, batch.num_rows)


class _Rows:
    """Values of a Parquet file by row; cheapest when requested in order.

    Args:
        path: the file.
        spelled: names of the numeric columns in the file.
        features: names of the features.
    """

    def __init__(self, path: str, spelled: Sequence[str], features: Sequence[str]) -> None:
        self._path, self._spelled, self._features = path, list(spelled), features
        self._batches: Batches | None = None
        self._next = 0

    def read(self, rows: slice) -> "np.ndarray[Any, Any]":
        """Read the values of some rows, shape (rows, d)."""
        import pyarrow as pa

        with _undamaged(self._path):
            if self._batches is None or rows.start != self._next:
                self._batches = self._from(rows.start)
            found = list(self._batches.take(rows.stop - rows.start))
            self._next = rows.stop
            table = pa.Table.from_batches(found)
        values = matrix([table[name] for name in self._spelled])
        finite(values, self._features, self._path, beyond(counted, rows.start))
        return values

    def _from(self, start: int) -> Batches:
        """Open the rows from a given one on; earlier row groups are skipped."""
        from pyarrow import parquet

        file = parquet.ParquetFile(self._path, buffer_size=BUFFER)
        sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        ends = np.cumsum(sizes)
        first = int(np.searchsorted(ends, start, side="right"))
        groups = list(range(first, len(sizes)))
        stream = file.iter_batches(row_groups=groups, columns=self._spelled, use_threads=False)
        batches = Batches(stream, self._path)
        for _ in batches.take(start - int(ends[first] - sizes[first])):
            pass
        return batches


@contextmanager
def _opened(path: str) -> "Iterator[ParquetFile]":
    """Open a Parquet file for reading."""
    from pyarrow import parquet

    with _undamaged(path), parquet.ParquetFile(path) as file:
        yield file


@contextmanager
def _undamaged(path: str) -> Iterator[None]:
    """Convert errors of damaged or foreign files to DataError."""
    import pyarrow as pa

    try:
        yield
    except PermissionError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: this is no Parquet file, or a damaged one: {error}.") from error


def _names(stored: Sequence[str], path: str) -> tuple[str, ...]:
    """Names of columns; an unnamed pandas index gets an empty name."""
    names = tuple("" if name == "__index_level_0__" else name for name in stored)
    distinct_names(names, "column names", path, "Rename them so that each is its own.")
    return names


def _gaps(about: "FileMetaData", columns: Collection[int]) -> dict[int, Any]:
    """Number of missing cells per column, None if the file does not record it."""
    groups = [about.row_group(k) for k in range(about.num_row_groups)]
    told = {k: [group.column(k).statistics for group in groups] for k in columns}
    return {
        k: sum(one.null_count for one in column) if all(map(_tells, column)) else None
        for k, column in told.items()
    }


def _tells(statistics: Any) -> bool:
    """Whether statistics include the number of missing cells."""
    return statistics is not None and statistics.has_null_count


def _fields(table: Table, notes: "Mapping[str, pa.Array]") -> "Iterator[tuple[str, pa.Array]]":
    """Yield every column of a table as an Arrow array, by name."""
    import pyarrow as pa

    if table.obs.index.name is not None:
        yield str(table.obs.index.name), pa.array(map(str, table.obs.index), pa.string())
    for name in table.obs.columns:
        own = table.obs[name].dtype == object and str(name) in notes
        yield str(name), notes[str(name)] if own else _annotation(table.obs[name])
    for name, column in zip(table.features, dense(table.values).T, strict=True):
        yield name, pa.array(column)


def _annotation(column: "pd.Series[Any]") -> "pa.Array":
    """Convert an annotation to an Arrow array; mixed objects become text."""
    import pyarrow as pa

    try:
        return pa.Array.from_pandas(column)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.Array.from_pandas(column.astype(object).map(str, na_action="ignore"))
