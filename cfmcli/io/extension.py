"""Extension: additions to an AnnData on disk, block after block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.io.annotation import NOTHING, Annotation, add, check, copy, editable
from cfmcli.io.output import atomic
from cfmcli.io.store import Node, opened, shape_of

if TYPE_CHECKING:
    from cfmcli.data.arrays import Array, Matrix


class Extension:
    """An open AnnData file whose matrices are written in blocks of rows.

    Args:
        root: its root group.
        shape: final shape (n_obs, n_vars).
        target: name of the file, for messages.
    """

    def __init__(self, root: Node, shape: tuple[int, int], target: str) -> None:
        self._root, self._shape, self._target = root, shape, target
        self._done = 0
        self._columns: dict[str, list[Any]] = {}
        self._last = NOTHING

    def append(self, count: int, added: Annotation, X: "Matrix | None" = None) -> None:
        """Write the additions of the next rows.

        Columns of `obs` are kept until the end; `var`, `varm` and `uns` are taken from the last
        block.

        Args:
            count: number of rows.
            added: additions for that number of rows.
            X: values of a new file, shape (count, n_vars).

        Raises:
            DataError: a shape that does not match, or a key that cannot be stored.
        """
        check(added, (count, self._shape[1]), self._target)
        rows = slice(self._done, self._done + count)
        matrices = {("obsm", key): value for key, value in added.obsm.items()}
        matrices |= {("layers", key): value for key, value in added.layers.items()}
        matrices |= {} if X is None else {("", "X"): X}
        for (slot, key), value in matrices.items():
            group = self._root[slot] if slot else self._root
            _fill(group, key, rows, value, self._shape[0])
        for key, column in added.obs.items():
            self._columns.setdefault(key, []).append(column)
        self._done, self._last = rows.stop, added

    def finish(self) -> dict[str, Any]:
        """Write the additions common to all rows, and return the new columns of `obs`."""
        add(self._root, replace(self._last, obs={}, obsm={}, layers={}))
        return {key: _stacked(parts) for key, parts in self._columns.items()}


@contextmanager
def extending(source: str, target: str) -> Iterator[Extension]:
    """Copy an AnnData file and yield an extension of the copy, atomically.

    Args:
        source: the input, .h5ad or .zarr.
        target: the output, .h5ad or .zarr.

    Raises:
        DataError: a shape that does not match the input, or a key that cannot be stored.
        ResourceError: the disk is full or the folder is not writable.
    """
    with opened(source) as held:
        shape = shape_of(held["obs"])[0], shape_of(held["var"])[0]
    with atomic(target) as part:
        copy(source, part)
        with editable(part) as root:
            rows = Extension(root, shape, target)
            yield rows
            add(root, Annotation(obs=rows.finish()))


def _fill(group: Node, key: str, rows: slice, block: "Matrix", count: int) -> None:
    """Write a block of rows of a matrix with a given total number of rows."""
    if isinstance(block, np.ndarray):
        if not rows.start:
            _room(group, key, block, count)
        group[key][rows] = block
        return
    from anndata.io import sparse_dataset, write_elem

    if rows.start:
        sparse_dataset(group[key]).append(block)
    else:
        write_elem(group, key, block)


def _room(group: Node, key: str, block: "Array", rows: int) -> None:
    """Create an array for all rows, with the width and type of a block, in AnnData's format."""
    if key in group:
        del group[key]
    make = getattr(group, "create_array", None) or group.create_dataset
    array = make(key, shape=(rows, *block.shape[1:]), dtype=block.dtype)
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _stacked(columns: Sequence[Any]) -> Any:
    """Concatenate column parts; categories of any part belong to the whole."""
    import pandas as pd

    parts: list[Any] = [
        column.array if isinstance(column, pd.Series) else column for column in columns
    ]
    values, first = np.concatenate([np.asarray(part) for part in parts]), parts[0]
    if not isinstance(first, pd.Categorical):
        return values
    alike = all(part.dtype == first.dtype for part in parts)
    known = first.categories if alike else sorted({c for part in parts for c in part.categories})
    return pd.Categorical(values, categories=known, ordered=first.ordered)
