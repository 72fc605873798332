"""Merging: combines files of shards, with rows in the order of a single run."""

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cfmcli.errors import DataError
from cfmcli.io.annotation import Annotation, editable
from cfmcli.io.arrays import loaded, write_archive
from cfmcli.io.delimited import sink
from cfmcli.io.formats import FORMATS, suffix
from cfmcli.io.output import atomic
from cfmcli.io.parquet import Batches
from cfmcli.io.store import opened

if TYPE_CHECKING:
    import pandas as pd

Pieces = Sequence[tuple[int, int]]
"""Sequence of (part, number of rows) that makes up the whole output, in order."""


def merge(parts: Sequence[str], pieces: Pieces, target: str) -> None:
    """Write the rows of several files of one format into one file, atomically.

    Args:
        parts: files written for the shards of a command.
        pieces: origin of the rows in output order; those of one part keep their order.
        target: file to write, of the same format.

    Raises:
        DataError: if a file is damaged, or has unexpected rows or columns.
    """
    _MERGERS[FORMATS[suffix(target)]](parts, pieces, target)


def taken(parts: Sequence[str], added: Mapping[str, Sequence[str]]) -> Iterator[Annotation]:
    """Yield the additions in the AnnData of each shard.

    Args:
        parts: the files, in the order of their rows.
        added: slot -> keys of the additions.

    Raises:
        DataError: if a file is damaged.
    """
    from anndata.io import read_elem

    for path in parts:
        with opened(path) as root:
            held = {k: {n: read_elem(root[k][n]) for n in names} for k, names in added.items()}
        yield Annotation(**held)


def _text(parts: Sequence[str], pieces: Pieces, target: str) -> None:
    """Merge delimited text, record by record."""
    with ExitStack() as files, sink(target) as out:
        streams = [_records(files.enter_context(_opened(path))) for path in parts]
        heads = {next(stream, b"") for stream in streams}
        if len(heads) != 1:
            raise _unfit(parts, "have different columns")
        out.writelines(heads)
        for part, count in pieces:
            rows = list(islice(streams[part], count))
            out.writelines(rows)
            _check(parts[part], len(rows), count)
        for path, stream in zip(parts, streams, strict=True):
            _check(path, sum(1 for _ in stream), 0)


def _opened(path: str) -> BinaryIO:
    """Open a delimited file for reading."""
    return gzip.open(path, "rb") if path.endswith(".gz") else Path(path).open("rb")  # type: ignore[return-value]


def _records(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the records of a delimited file; quoted ones may span several lines."""
    record = b""
    for line in stream:
        record += line
        if record.count(b'"') % 2 == 0:
            yield record
            record = b""
    if record:
        yield record


def _parquet(parts: Sequence[str], pieces: Pieces, target: str) -> None:
    """Merge Parquet files, batch by batch."""
    import pyarrow as pa
    from pyarrow import parquet

    with ExitStack() as files:
        sources = [files.enter_context(parquet.ParquetFile(path)) for path in parts]
        try:
            schemas = [source.schema_arrow for source in sources]
            schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowInvalid as error:
            raise _unfit(parts, f"have different columns ({error})") from error
        streams = [
            Batches(source.iter_batches(), path)
            for source, path in zip(sources, parts, strict=True)
        ]
        writer = parquet.ParquetWriter(files.enter_context(atomic(target)), schema)
        with writer:
            for part, count in pieces:
                for batch in streams[part].take(count):
                    writer.write_table(pa.Table.from_batches([batch]).cast(schema))
        for path, source in zip(parts, sources, strict=True):
            own = sum(count for part, count in pieces if parts[part] == path)
            _check(path, source.metadata.num_rows, own)


def _arrays(parts: Sequence[str], pieces: Pieces, target: str) -> None:
    """Merge NumPy files: .npy by memory-mapping, .npz member by member."""
    if suffix(target) == ".npy":
        mapped = [np.load(path, mmap_mode="r", allow_pickle=False) for path in parts]
        shape = (sum(count for _, count in pieces), *mapped[0].shape[1:])
        with atomic(target) as place:
            out = np.lib.format.open_memmap(place, "w+", mapped[0].dtype, shape)
            _fill(out, mapped, pieces, parts)
            out.flush()
        return
    archives = [loaded(path) for path in parts]
    members = {}
    for name, first in archives[0].items():
        columns = [archive[name] for archive in archives]
        members[name] = first if name == "features" else _ordered(columns, pieces, parts)
    write_archive(target, members)


def _fill(out: Any, arrays: Sequence[Any], pieces: Pieces, parts: Sequence[str]) -> None:
    """Copy rows of arrays, piece after piece, into one array."""
    place, begun = 0, [0] * len(arrays)
    for part, count in pieces:
        rows = arrays[part][begun[part] : begun[part] + count]
        _check(parts[part], len(rows), count)
        out[place : place + count] = rows
        place, begun[part] = place + count, begun[part] + count
    for path, array, end in zip(parts, arrays, begun, strict=True):
        _check(path, len(array), end)


def _ordered(arrays: Sequence[Any], pieces: Pieces, parts: Sequence[str]) -> Any:
    """Concatenate rows of arrays in memory, piece after piece."""
    kind = np.result_type(*(array.dtype for array in arrays))
    out = np.empty((sum(count for _, count in pieces), *arrays[0].shape[1:]), kind)
    _fill(out, arrays, pieces, parts)
    return out


def _anndata(parts: Sequence[str], pieces: Pieces, target: str) -> None:
    """Merge AnnData files, element by element: rows from all parts, the rest from the first."""
    from anndata.io import read_elem, write_elem

    with opened(parts[0]) as first, atomic(target) as place, editable(place) as out:
        out.attrs.update(dict(first.attrs))
        for slot in first:
            if slot in ("obsm", "layers"):
                write_elem(out, slot, {})
                for key in first[slot]:
                    columns = _elements(parts, slot, key)
                    write_elem(out[slot], key, _ordered(columns, pieces, parts))
            elif slot == "X":
                write_elem(out, slot, _ordered(_elements(parts, slot), pieces, parts))
            elif slot == "obs":
                frames = _elements(parts, slot)
                rows = [np.arange(len(frame))[:, None] for frame in frames]
                begins = np.cumsum([0, *map(len, frames)])
                order = [row + begin for row, begin in zip(rows, begins, strict=False)]
                write_elem(out, slot, _joined(frames).iloc[_ordered(order, pieces, parts)[:, 0]])
            else:
                write_elem(out, slot, read_elem(first[slot]))


def _elements(parts: Sequence[str], slot: str, key: str = "") -> list[Any]:
    """Read one element of each AnnData."""
    from anndata.io import read_elem

    found = []
    for path in parts:
        with opened(path) as root:
            found.append(read_elem(root[slot][key] if key else root[slot]))
    return found


def _joined(frames: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Concatenate annotations; a column categorical in any part is categorical in the whole."""
    import pandas as pd

    whole = pd.concat(frames)
    for name in whole.columns:
        kinds = {isinstance(frame[name].dtype, pd.CategoricalDtype) for frame in frames}
        if True in kinds and not isinstance(whole[name].dtype, pd.CategoricalDtype):
            whole[name] = whole[name].astype("category")
    return whole


def _check(path: str, got: int, expected: int) -> None:
    """Raise if a part has an unexpected number of rows."""
    if got != expected:
        raise _unfit([path], f"has {got} rows where {expected} were written")


def _unfit(paths: Sequence[str], what: str) -> DataError:
    """Build the error for parts that changed after they were written."""
    return DataError(f"{', '.join(paths)}: {what}: run those shards again.")


_MERGERS: dict[str, Callable[[Sequence[str], Pieces, str], None]] = {
    "delimited": _text,
    "parquet": _parquet,
    "arrays": _arrays,
    "anndata": _anndata,
}
