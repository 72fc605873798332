"""Store: AnnData on disk as a tree of elements, HDF5 (.h5ad) or Zarr."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cfmcli.errors import DataError
from cfmcli.io.formats import suffix

Node = Any


@contextmanager
def opened(path: str) -> Iterator[Node]:
    """Open an AnnData file for reading, without loading any content.

    Yields:
        The root group; elements are `root["X"]`, `root["obsm"]["X_pca"]` and so on.

    Raises:
        DataError: it is damaged or not an AnnData file.
    """
    try:
        root = _root(path)
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: it is truncated or no AnnData file ({error}). Fetch or make it again."
        ) from error
    try:
        if "obs" not in root or "var" not in root:
            raise DataError(f"{path}: this is no AnnData file: it has no obs and var.")
        yield root
    except (OSError, KeyError) as error:
        raise DataError(
            f"{path}: a part of it is damaged or of an old version ({error})."
            " Open it with anndata and write it again."
        ) from error
    finally:
        (root if hasattr(root, "close") else root.store).close()


def names_of(frame: Node) -> list[str]:
    """Read the index of a data frame on disk, as text."""
    return text_of(frame[frame.attrs["_index"]])


def text_of(element: Node) -> list[str]:
    """Read a 1-D element of strings."""
    return [v.decode() if isinstance(v, bytes) else str(v) for v in element[...].tolist()]


def encoding(element: Node) -> str:
    """Encoding of an element: array, csr_matrix, csc_matrix, dataframe, categorical, ..."""
    return str(element.attrs.get("encoding-type", "array"))


def shape_of(element: Node) -> tuple[int, ...]:
    """Shape of an array, a sparse matrix or a data frame on disk."""
    if encoding(element) == "dataframe":
        return element[element.attrs["_index"]].shape[0], len(element.attrs["column-order"])
    return tuple(int(n) for n in element.attrs.get("shape", getattr(element, "shape", ())))


def _root(path: str) -> Node:
    """Open the root group of a file or folder."""
    if suffix(path) == ".zarr":
        import zarr

        return zarr.open_group(path, mode="r")
    import h5py

    return h5py.File(path, "r", locking="best-effort")
