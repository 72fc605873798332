"""NumPy files: .npy, and .npz with ids and annotations."""

import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cfmcli.data.table import Backed, Table
from cfmcli.errors import CfmWarning, DataError
from cfmcli.io.checks import (
    as_float,
    beyond,
    counted,
    dense,
    distinct_ids,
    distinct_names,
    finite,
    some_points,
)
from cfmcli.io.formats import Append, suffix
from cfmcli.io.output import atomic
from cfmcli.io.selection import Selection, listed, pick, plain_only, unknown

if TYPE_CHECKING:
    import pandas as pd

    from cfmcli.data.arrays import Matrix

RESERVED = ("X", "ids", "features")
EPOCH = (1980, 1, 1, 0, 0, 0)

Loaded = Any
Named = Mapping[str, npt.NDArray[Any]]


def read(path: str, selection: Selection) -> Table:
    """Read a .npy array of points, or an .npz with `X` and optional ids, features, annotations.

    In an .npz, `X` (or `use_rep`, or the only 2-D array) holds the points; `ids` and `features`
    their names; other 1-D arrays of matching length are annotations.

    Raises:
        DataError: the file is damaged, holds pickled objects, or not exactly one array of points.
    """
    if suffix(path) == ".npy":
        plain_only(selection, path)
        return from_array(loaded(path), selection, path)
    arrays: dict[str, npt.NDArray[Any]] = loaded(path)
    key = points_key(arrays, selection, path)
    return _named(arrays, key, selection, path)


def backed(path: str, selection: Selection) -> Backed:
    """Open a .npy file like `read`, but read rows on access; an .npz is read completely.

    Raises:
        DataError: as in `read`; invalid values are reported when their row is read.
    """
    if suffix(path) == ".npz":
        return Backed.of(read(path, selection))
    plain_only(selection, path)
    whole = _mapped(path)
    names = default_features(matrix(whole[:0], path))
    some_points(len(whole), path)
    chosen = pick(names, selection, path)
    if not chosen:
        raise DataError(f"{path}: --drop leaves no feature of {listed(names)}.")
    places = [names.index(name) for name in chosen]

    def rows(index: slice) -> npt.NDArray[Any]:
        # A map left open would keep everything read from it in memory.
        block = matrix(np.array(_mapped(path)[index]), path)
        block = block if chosen == names else block[:, places]
        finite(block, chosen, path, beyond(counted, index.start))
        return block

    head = Table(np.empty((len(whole), 0)), chosen, _frame(len(whole)), path)
    return Backed(head, rows)


def from_array(array: "Matrix", selection: Selection, origin: str) -> Table:
    """Convert an array of points, (n,) or (n, d), to a table with features x0, x1, ..."""
    values = matrix(array, origin) if isinstance(array, np.ndarray) else array
    return _table(values, default_features(values), _frame(values.shape[0]), selection, origin)


def matrix(array: npt.NDArray[Any], origin: str) -> npt.NDArray[Any]:
    """Convert an array to points, (n, d); one axis means one feature.

    Raises:
        DataError: the array has other dimensions, or does not hold real numbers.
    """
    values = array[:, None] if array.ndim == 1 else array
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(
            f"{origin}: expected points as an array of shape (n, d), got shape {array.shape}."
        )
    return as_float(values, origin)


def default_features(values: "Matrix") -> tuple[str, ...]:
    """Names x0, x1, ... for the columns of an array."""
    return tuple(f"x{number}" for number in range(values.shape[1]))


def write(path: str, table: Table) -> None:
    """Write values only (.npy, with a warning about what is omitted) or everything (.npz)."""
    with writing(path, table) as append:
        append(table)


@contextmanager
def writing(path: str, head: Table) -> Iterator[Append]:
    """Create a file of arrays that is written table after table; an .npz only at the end."""
    if suffix(path) == ".npz":
        parts: list[Table] = []
        yield parts.append
        write_archive(path, _members(_joined(parts), path))
        return
    with atomic(path) as part, part.open("wb") as stream:

        def append(table: Table) -> None:
            values = dense(table.values)
            if not stream.tell():
                _warn_of_losses(path, table)
                _write_header(stream, values, len(head))
            stream.write(values.tobytes())

        yield append


def _warn_of_losses(path: str, table: Table) -> None:
    """Warn if a .npy omits ids or annotations."""
    if table.obs.index.name is not None or len(table.obs.columns):
        text = f"{path}: .npy holds numbers only; ids and annotations were left out. Use .npz."
        warnings.warn(text, CfmWarning, stacklevel=2)


def _write_header(stream: BinaryIO, block: npt.NDArray[Any], rows: int) -> None:
    """Write the header of a .npy file with a number of rows, in the shape and type of a block's."""
    about = np.lib.format.header_data_from_array_1_0(np.empty((0, *block.shape[1:]), block.dtype))
    np.lib.format.write_array_header_1_0(stream, {**about, "shape": (rows, *block.shape[1:])})


def _joined(tables: Sequence[Table]) -> Table:
    """Concatenate tables with the same columns."""
    import pandas as pd

    if len(tables) == 1:
        return tables[0]
    values = np.concatenate([dense(table.values) for table in tables])
    return replace(tables[0], values=values, obs=pd.concat([table.obs for table in tables]))


def loaded(path: str) -> Loaded:
    """Load an array, or arrays by name; never pickled objects."""
    with _understood(path), Path(path).open("rb") as stream:
        content = np.load(stream, allow_pickle=False)
        packed = isinstance(content, np.lib.npyio.NpzFile)
        if packed != (suffix(path) == ".npz"):
            raise ValueError("the suffix does not fit the content")
        return dict(content.items()) if packed else content


def _mapped(path: str) -> npt.NDArray[Any]:
    """Memory-map the array of a .npy file."""
    with _understood(path):
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(content, np.ndarray):
            raise ValueError("the suffix does not fit the content")
        return content


@contextmanager
def _understood(path: str) -> Iterator[None]:
    """Convert errors of reading to a DataError: the file is not what its suffix says."""
    try:
        yield
    except PermissionError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, OSError, KeyError) as error:
        pickled = "pickle" in str(error)  # NumPy suggests loading it, which can run code
        objects = "it holds objects, which allow_pickle alone would load, or is none"
        why = objects if pickled else str(error).rstrip(".")
        raise DataError(
            f"{path}: it cannot be read as {suffix(path)[1:]}: {why}."
            " Expected plain arrays of numbers or text, as numpy.save writes them."
        ) from error


def points_key(arrays: Named, selection: Selection, origin: str) -> str:
    """Name of the array of points."""
    if selection.layer:
        plain_only(Selection(layer=selection.layer), origin)
    if selection.use_rep and selection.use_rep not in arrays:
        raise unknown("array", selection.use_rep, arrays, origin)
    if selection.use_rep or "X" in arrays:
        return selection.use_rep or "X"
    tables = [name for name, array in arrays.items() if array.ndim == 2]
    if len(tables) != 1:
        raise DataError(
            f"{origin}: expected an array named X or a single 2-D array; the arrays are"
            f" {listed(arrays)}, 2-D of them: {listed(tables)}. Choose one with --use-rep."
        )
    return tables[0]


def _named(arrays: Named, key: str, selection: Selection, origin: str) -> Table:
    """Build the table of an .npz."""
    values = matrix(arrays[key], f"{origin}: {key}")
    given = decoded(arrays["features"]).tolist() if "features" in arrays else None
    names = tuple(map(str, given)) if given else default_features(values)
    if len(names) != values.shape[1]:
        raise DataError(f"{origin}: {len(names)} features for {values.shape[1]} columns of {key}.")
    obs = _frame(len(values), arrays.get("ids"), origin)
    for name, array in arrays.items():
        if name not in {key, *RESERVED} and array.shape == (len(values),):
            obs[name] = decoded(array)
    if selection.id_key:
        if selection.id_key not in obs:
            raise unknown("id column", selection.id_key, obs.columns, origin)
        obs.index = obs.pop(selection.id_key).astype(str).rename(selection.id_key)
    return _table(values, names, obs, selection, origin)


def _table(
    values: "Matrix",
    names: tuple[str, ...],
    obs: "pd.DataFrame",
    selection: Selection,
    origin: str,
) -> Table:
    """Select features, check everything, and build the table."""
    some_points(len(obs), origin)
    distinct_names(names, "feature names", origin, "Rename them so that each is its own.")
    chosen = pick(names, selection, origin)
    if len(chosen) < len(names):
        place = {name: number for number, name in enumerate(names)}
        values = values[:, [place[name] for name in chosen]]
    if not chosen:
        raise DataError(f"{origin}: --drop leaves no feature of {listed(names)}.")
    finite(values, chosen, origin, counted)
    obs.index = distinct_ids(obs.index, origin, counted)
    return Table(values, chosen, obs, origin)


def _frame(count: int, ids: npt.NDArray[Any] | None = None, origin: str = "") -> "pd.DataFrame":
    """Create an empty frame of annotations, numbered or with ids."""
    import pandas as pd

    if ids is None:
        return pd.DataFrame(index=pd.Index([str(row) for row in range(count)], dtype=object))
    if ids.shape != (count,):
        raise DataError(f"{origin}: ids has shape {ids.shape}, expected ({count},) as X has rows.")
    return pd.DataFrame(index=pd.Index([str(i) for i in decoded(ids)], dtype=object, name="id"))


def decoded(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert text arrays to Python strings; other arrays are unchanged."""
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    return array.astype(object) if array.dtype.kind == "U" else array


def _members(table: Table, path: str) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an .npz by name."""
    clash = [str(name) for name in table.obs.columns if str(name) in RESERVED]
    if clash:
        raise DataError(f"{path}: an annotation cannot be called {clash[0]!r} in .npz. Rename it.")
    members = {"X": dense(table.values), "features": np.array(table.features, dtype=str)}
    if table.obs.index.name is not None:
        members["ids"] = np.array([str(i) for i in table.obs.index], dtype=str)
    return members | {str(name): _plain(table.obs[name]) for name in table.obs.columns}


def _plain(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    """Convert an annotation to numbers or text; missing text becomes empty."""
    array = np.asarray(column)
    if array.dtype.kind in "biuf":
        return array
    gone = column.isna()
    return np.array(["" if g else str(v) for v, g in zip(array, gone, strict=True)], dtype=str)


def write_archive(path: str, members: Named) -> None:
    """Write an .npz whose bytes depend on its content only."""
    with atomic(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in members.items():
            # np.savez writes the current time into every member.
            entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
