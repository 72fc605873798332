"""Neighbours: nearest-neighbour classification by labelled points."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmcli.data.arrays import Array

Rows = npt.NDArray[np.intp]
SAME = 1e-5
"""Relative and absolute distance within which a point counts as a labelled one."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Points with known classes.

    Args:
        points: shape (n, D).
        codes: class index of each, shape (n,).
        classes: names of the C classes.
        weights: shape (n,), positive.
    """

    points: Array
    codes: Rows
    classes: tuple[str, ...]
    weights: Array

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def truth(self) -> Array:
        """One-hot class of each point, shape (n, C)."""
        return np.eye(len(self.classes))[self.codes]

    @property
    def frequencies(self) -> Array:
        """Weighted frequency of each class, shape (C,)."""
        return np.asarray(self.weights @ self.truth / self.weights.sum())

    def votes(self, x: Array, k: int) -> Array:
        """Class probabilities from the weighted votes of the k nearest points.

        Reference: Fix & Hodges (1951), doi 10.2307/1403797

        Args:
            x: points, shape (m, D).
            k: number of voters, at most n.

        Returns:
            Shape (m, C), rows of sum one.
        """
        return self._shares(nearest(self._tree, x, k))

    def votes_of_others(self, x: Array, k: int) -> Array:
        """Class probabilities, where a labelled point that coincides with x does not vote.

        Args:
            x: points, shape (m, D).
            k: number of voters; one fewer if all would vote.
        """
        apart, place = self._tree.kneighbors(x, 1)
        near = apart[:, 0] <= SAME * (1 + np.abs(x).max(axis=1))
        return self._shares(self._others(x, np.where(near, place[:, 0], -1), min(k, len(self) - 1)))

    def held_out(self, rows: Rows, sizes: Sequence[int]) -> dict[int, Array]:
        """Leave-one-out class probabilities of labelled points, for several k below n.

        Args:
            rows: indices of the points, shape (m,).
            sizes: numbers of voters.

        Returns:
            k -> probabilities, shape (m, C).
        """
        others = self._others(self.points[rows], rows, max(sizes))
        return {k: self._shares(others[:, :k]) for k in sizes}

    def _others(self, x: Array, rows: Rows, k: int) -> Rows:
        """The k nearest points to each of x other than the given rows, nearest first, (m, k)."""
        found = nearest(self._tree, x, k + 1)
        # Each point itself is sorted last and dropped; if hidden among equals, the farthest is.
        last = np.argsort(found == rows[:, None], axis=1, kind="stable")[:, :-1]
        return np.take_along_axis(found, last, axis=1)

    def _shares(self, voters: Rows) -> Array:
        """Weighted class shares among voters, shape (m, k) -> (m, C)."""
        shares = np.zeros((len(voters), len(self.classes)))
        line = np.arange(len(voters))
        for voter in voters.T:
            np.add.at(shares, (line, self.codes[voter]), self.weights[voter])
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    @cached_property
    def _tree(self) -> Any:
        """Search index of the points."""
        return tree(self.points)


def tree(points: Array) -> Any:
    """Build a nearest-neighbour index of points, shape (n, D)."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors().fit(points)


def nearest(among: Any, x: Array, k: int) -> Rows:
    """Indices of the k nearest points to each of x, nearest first, shape (m, k)."""
    return np.asarray(among.kneighbors(x, k, return_distance=False), dtype=np.intp)
