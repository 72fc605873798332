"""Blocks: rows worked on a fixed number at a time, so that no result depends on how many follow."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

GRAIN = 256
"""Rows of a block of a transform. Matrix products round differently for different numbers of rows,
so points have the same bits in whatever company only where blocks begin at multiples of this."""


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
