"""Resampling: systematic draws in proportion to mass."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cfmcli.data.arrays import Array, IntArray


def systematic(mass: Array, n: int, rng: np.random.Generator) -> IntArray:
    """Draw n indices in random order, each floor or ceil of n times its share of the mass.

    Reference: Douc, Cappé and Moulines (2005), arXiv cs/0507025

    Args:
        mass: masses, shape (k,), >= 0, not all zero.
        n: number of indices, >= 0.
        rng: source of randomness.

    Returns:
        Indices, shape (n,).
    """
    return Line.of_single_items(mass).draw(n, rng)


def thinned(mass: Array, n: int, rng: np.random.Generator) -> tuple[IntArray, Array]:
    """Select at most n representative items and their shares, which sum to 1.

    Of more than n items, n are drawn by mass; an item drawn several times counts as often.

    Args:
        mass: masses, shape (k,), >= 0, not all zero.
        n: number of items, >= 1.
        rng: source of randomness.

    Returns:
        Indices, ascending, and their shares, shape (m,) each, m <= n.
    """
    if len(mass) <= n:
        return np.arange(len(mass)), mass / mass.sum()
    items, times = np.unique(systematic(mass, n, rng), return_counts=True)
    return items, times / n


@dataclass(frozen=True, eq=False)
class Line:
    """Masses laid end to end, in groups whose order is shuffled in every draw.

    Shuffling keeps two items that happen to lie one step apart from always being drawn together;
    shuffling groups instead of single items makes a draw from a dense plan cheap.

    Args:
        mass: masses of the items, shape (k,).
        starts: first item of each group, and k at the end, shape (groups + 1,).
    """

    mass: Array
    starts: IntArray

    @classmethod
    def of_single_items(cls, mass: Array) -> "Line":
        """Create a line in which every item forms its own group."""
        return cls(mass, np.arange(len(mass) + 1))

    @cached_property
    def _ends(self) -> Array:
        """End position of each item, shape (k,)."""
        return np.cumsum(self.mass)

    @cached_property
    def _edges(self) -> Array:
        """Start position of each group, and the end of the last, shape (groups + 1,)."""
        return np.concatenate([[0.0], self._ends])[self.starts]

    def draw(self, n: int, rng: np.random.Generator) -> IntArray:
        """Draw the items hit by n equidistant points with a random offset, in random order."""
        order = rng.permutation(len(self.starts) - 1)
        ends = np.cumsum(np.diff(self._edges)[order])
        points = (np.arange(n) + rng.random()) * (ends[-1] / max(n, 1))
        place = _locate(ends, points)
        group = order[place]
        items = _locate(self._ends, self._edges[group + 1] - (ends[place] - points))
        # Rounding must not carry a point over the edge of its group.
        return rng.permutation(np.clip(items, self.starts[group], self.starts[group + 1] - 1))


def _locate(ends: Array, points: Array) -> IntArray:
    """Index of the interval that contains each point, given the interval ends."""
    return np.minimum(np.searchsorted(ends, points, side="right"), len(ends) - 1)
