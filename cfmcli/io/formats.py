"""File formats by suffix: the only place where formats are registered."""

import difflib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from cfmcli.data.table import Backed, Table
from cfmcli.errors import ConfigError, DataError
from cfmcli.io.precision import decimal
from cfmcli.io.selection import EVERYTHING, Selection, listed

Append = Callable[[Table], None]

FORMATS: dict[str, str] = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".txt": "delimited",
    ".csv.gz": "delimited",
    ".tsv.gz": "delimited",
    ".txt.gz": "delimited",
    ".parquet": "parquet",
    ".npy": "arrays",
    ".npz": "arrays",
    ".h5ad": "anndata",
    ".zarr": "anndata",
}


def suffix(path: str) -> str:
    """Suffix that determines the format, in lower case and including `.gz`; "" without one."""
    parts = [part.lower() for part in Path(path).suffixes]
    return "".join(parts[-2:]) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def module_for(path: str) -> ModuleType:
    """Import the module that reads and writes a path; `-` is CSV.

    Raises:
        ConfigError: no format has this suffix.
    """
    found = ".csv" if path == "-" else suffix(path)
    if found not in FORMATS:
        raise ConfigError(
            f"{path}: files of type {found or '(no suffix)'} are not known."
            f" Use one of {' '.join(FORMATS)}, or - for CSV on stdin or stdout."
        )
    return importlib.import_module(f"cfmcli.io.{FORMATS[found]}")


def read_table(path: str, selection: Selection = EVERYTHING) -> Table:
    """Read a point cloud from a file, or CSV from stdin (`-`).

    Args:
        path: a file with one of the suffixes of `FORMATS`, or `-`.
        selection: which columns are features and ids.

    Returns:
        The table, values of shape (n, d): finite, with distinct ids.

    Raises:
        ConfigError: the suffix is unknown.
        DataError: the file is missing, damaged, or inconsistent with the selection.
    """
    module = _reader(path)
    with _readable(path):
        table: Table = module.read(path, selection)
    return replace(table, obs=decimal(table.obs))


def open_table(path: str, selection: Selection = EVERYTHING) -> Backed:
    """Open a point cloud whose rows are read on access: .npy, .parquet, dense or CSR AnnData.

    Other formats are read completely. Invalid values are reported when their row is read.

    Args:
        path: as for `read_table`.
        selection: as for `read_table`.

    Raises:
        ConfigError: the suffix is unknown.
        DataError: the file is missing, damaged, or inconsistent with the selection.
    """
    module = _reader(path)
    with _readable(path):
        table: Backed = module.backed(path, selection)
    return replace(table, head=replace(table.head, obs=decimal(table.head.obs)))


def _reader(path: str) -> ModuleType:
    """Import the module that reads a path, after checking that the path exists."""
    module = module_for(path)
    if path != "-":
        present(path)
    return module


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Report missing permissions like other faults of the data."""
    try:
        yield
    except PermissionError as error:
        raise DataError(
            f"{path}: it cannot be read: {error.strerror}. Check its rights."
        ) from error


def write_table(path: str, table: Table) -> None:
    """Write a point cloud to a file, or as CSV to stdout (`-`), atomically.

    Raises:
        ConfigError: the suffix is unknown.
        ResourceError: the disk is full or the folder is not writable.
    """
    module_for(path).write(path, table)


def writing(path: str, head: Table) -> AbstractContextManager[Append]:
    """Create a file that is written table after table, atomically.

    Args:
        path: output file, or `-`.
        head: the points without values: their number, features and annotations.

    Raises:
        ConfigError: the suffix is unknown.
        ResourceError: the disk is full or the folder is not writable.
    """
    written: AbstractContextManager[Append] = module_for(path).writing(path, head)
    return written


def present(path: str) -> None:
    """Raise DataError if a path is missing, or a folder where a file is expected."""
    place = Path(path)
    if not place.exists():
        raise DataError(f"{path}: there is no such file.{_neighbours(place)}")
    if place.is_dir() and suffix(path) != ".zarr":
        raise DataError(f"{path}: this is a folder. Expected a file.")


def standard_input() -> bytes:
    """Read all of stdin."""
    return sys.stdin.buffer.read()


def _neighbours(place: Path) -> str:
    """Build a hint for a missing file: the nearest name in its folder, and what is there."""
    if not place.parent.is_dir():
        return f" Nor is there a folder {str(place.parent)!r}."
    names = sorted(p.name for p in place.parent.iterdir() if suffix(p.name) in FORMATS)
    near = difflib.get_close_matches(place.name, names, n=1)
    guess = f" Did you mean {str(place.with_name(near[0]))!r}?" if near else ""
    return f"{guess} Data files in that folder: {listed(names)}."
