"""File formats by suffix: the one place where a format is registered."""

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
    """The suffix that names the format, in lower case and with `.gz`: "" when there is none."""
    parts = [part.lower() for part in Path(path).suffixes]
    return "".join(parts[-2:]) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def module_for(path: str) -> ModuleType:
    """The module that reads and writes a path; `-` is CSV.

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
        ConfigError: the suffix is not known.
        DataError: the file is missing, damaged, or not what the selection says.
    """
    module = _reader(path)
    with _readable(path):
        table: Table = module.read(path, selection)
    return replace(table, obs=decimal(table.obs))


def open_table(path: str, selection: Selection = EVERYTHING) -> Backed:
    """Open a point cloud whose numbers are read by rows: .npy, .parquet and dense or CSR AnnData.

    Of other formats the whole is read at once. What is wrong with a number shows when its row is
    read.

    Args:
        path: as for `read_table`.
        selection: likewise.

    Raises:
        ConfigError: the suffix is not known.
        DataError: the file is missing, damaged, or not what the selection says.
    """
    module = _reader(path)
    with _readable(path):
        table: Backed = module.backed(path, selection)
    return replace(table, head=replace(table.head, obs=decimal(table.head.obs)))


def _reader(path: str) -> ModuleType:
    """The module that reads a path, which has to be there."""
    module = module_for(path)
    if path != "-":
        present(path)
    return module


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Tell of missing rights as of other faults of the data."""
    try:
        yield
    except PermissionError as error:
        raise DataError(
            f"{path}: it cannot be read: {error.strerror}. Check its rights."
        ) from error


def write_table(path: str, table: Table) -> None:
    """Write a point cloud to a file, or as CSV to stdout (`-`), all or nothing.

    Raises:
        ConfigError: the suffix is not known.
        ResourceError: the disk is full or the folder is not writable.
    """
    module_for(path).write(path, table)


def writing(path: str, head: Table) -> AbstractContextManager[Append]:
    """A file that is written table after table, all or nothing.

    Args:
        path: output file, or `-`.
        head: its points without their numbers: how many there are, their features and annotations.

    Raises:
        ConfigError: the suffix is not known.
        ResourceError: the disk is full or the folder is not writable.
    """
    written: AbstractContextManager[Append] = module_for(path).writing(path, head)
    return written


def present(path: str) -> None:
    """Raise DataError when a path is absent, or a folder where a file is meant."""
    place = Path(path)
    if not place.exists():
        raise DataError(f"{path}: there is no such file.{_neighbours(place)}")
    if place.is_dir() and suffix(path) != ".zarr":
        raise DataError(f"{path}: this is a folder. Expected a file.")


def standard_input() -> bytes:
    """All of stdin."""
    return sys.stdin.buffer.read()


def _neighbours(place: Path) -> str:
    """A hint for a missing file: the nearest name in its folder, else what is there."""
    if not place.parent.is_dir():
        return f" Nor is there a folder {str(place.parent)!r}."
    names = sorted(p.name for p in place.parent.iterdir() if suffix(p.name) in FORMATS)
    near = difflib.get_close_matches(place.name, names, n=1)
    guess = f" Did you mean {str(place.with_name(near[0]))!r}?" if near else ""
    return f"{guess} Data files in that folder: {listed(names)}."
