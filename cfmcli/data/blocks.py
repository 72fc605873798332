"""Blocks: rows worked on a fixed number at a time, so that no result depends on how many follow."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

GRAIN = 256
"""Rows of a block of a transform. Matrix products round differently for different numbers of rows,
so points have the same bits in whatever company only where blocks begin at multiples of this."""
READ = 16 * GRAIN
"""Rows that are read at once where some of them are wanted."""


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def by_blocks(function: Callable[..., npt.NDArray[Any]], *tables: Any) -> npt.NDArray[Any]:
    """What a function of rows gives for tables, computed a block at a time.

    Args:
        function: tables of n rows -> an array of n rows.
        tables: arrays or sparse matrices with as many rows each.
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
    """Matrices one below the other: an array of arrays, else CSR."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    from scipy import sparse

    return sparse.vstack(parts, format="csr")


def gathered(read: "Callable[[slice], Matrix]", places: npt.NDArray[Any], total: int) -> "Matrix":
    """The rows at some places, in their order, of a matrix that is read by blocks.

    Args:
        read: a slice of rows -> their values; asked for slices that begin at multiples of `READ`.
        places: of the rows, at least one.
        total: rows in all.
    """
    order = np.argsort(places, kind="stable")
    ascending, parts = places[order], []
    for start in np.unique(ascending // READ) * READ:
        first, last = np.searchsorted(ascending, (start, start + READ))
        block = read(slice(int(start), min(int(start) + READ, total)))
        parts.append(block[ascending[first:last] - start])
    return stacked(parts)[np.argsort(order)]
