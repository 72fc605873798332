"""Blocks: processing of rows in blocks of fixed size, so that results do not depend on batching."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

GRAIN = 256
"""Number of rows in a block of a transform. Matrix products round differently for different numbers
of rows, so results are reproducible bit by bit only if blocks begin at multiples of this."""
READ = 16 * GRAIN
"""Number of rows read at once when only some of them are needed."""


def blocks(n: int, size: int) -> Iterator[slice]:
    """Yield slices that cover n rows."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def by_blocks(function: Callable[..., npt.NDArray[Any]], *tables: Any) -> npt.NDArray[Any]:
    """Apply a row-wise function to tables, one block at a time.

    Args:
        function: tables of n rows -> an array of n rows.
        tables: arrays or sparse matrices with equal numbers of rows.
    """
    n = tables[0].shape[0]
    if n <= GRAIN:
        return function(*tables)
    first = function(*(table[:GRAIN] for table in tables))
    found = np.empty((n, *first.shape[1:]), first.dtype)
    found[:GRAIN] = first
    for rows in blocks(n - GRAIN, GRAIN):
        place = slice(rows.start + GRAIN, rows.stop + GRAIN)
        found[place] = function(*(table[place] for table in tables))
    return found


def stacked(parts: "Sequence[Matrix]") -> "Matrix":
    """Stack matrices vertically: an array if all are arrays, else CSR."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    from scipy import sparse

    return sparse.vstack(parts, format="csr")


def gathered(read: "Callable[[slice], Matrix]", places: npt.NDArray[Any], total: int) -> "Matrix":
    """Gather rows by index, in order, from a matrix that is read in blocks.

    Args:
        read: a slice of rows -> their values; slices begin at multiples of `READ`.
        places: row indices, at least one.
        total: total number of rows.
    """
    order = np.argsort(places, kind="stable")
    ascending, parts = places[order], []
    for start in np.unique(ascending // READ) * READ:
        first, last = np.searchsorted(ascending, (start, start + READ))
        block = read(slice(int(start), min(int(start) + READ, total)))
        parts.append(block[ascending[first:last] - start])
    return stacked(parts)[np.argsort(order)]
