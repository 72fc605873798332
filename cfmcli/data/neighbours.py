"""Neighbours: points whose classes are known, which tell the classes of others by vote."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmcli.data.arrays import Array

Rows = npt.NDArray[np.intp]
SAME = 1e-5
"""Distance, relative and absolute, within which a point is one of those that are labelled."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Points whose classes are known.

    Args:
        points: shape (n, D).
        codes: class of each, shape (n,), places in `classes`.
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
        """1 for the class of each point and 0 elsewhere, shape (n, C)."""
        return np.eye(len(self.classes))[self.codes]

    @property
    def frequencies(self) -> Array:
        """Share of each class, by weight, shape (C,)."""
        return np.asarray(self.weights @ self.truth / self.weights.sum())

    def votes(self, x: Array, k: int) -> Array:
        """Probabilities of classes: the shares of the k nearest points, by weight.

        Reference: Fix & Hodges (1951), doi 10.2307/1403797

        Args:
            x: points, shape (m, D).
            k: voters, at most n.

        Returns:
            Shape (m, C), rows of sum one.
        """
        return self._shares(nearest(self._tree, x, k))

    def votes_of_others(self, x: Array, k: int) -> Array:
        """The same where a labelled point at the very place of x is x itself and has no vote.

        Args:
            x: points, shape (m, D).
            k: voters; one less where all would vote.
        """
        apart, place = self._tree.kneighbors(x, 1)
        near = apart[:, 0] <= SAME * (1 + np.abs(x).max(axis=1))
        return self._shares(self._others(x, np.where(near, place[:, 0], -1), min(k, len(self) - 1)))

    def held_out(self, rows: Rows, sizes: Sequence[int]) -> dict[int, Array]:
        """What the others would say of some of the points themselves, for several k below n.

        Args:
            rows: which points, shape (m,).
            sizes: numbers of voters.

        Returns:
            k -> probabilities, shape (m, C).
        """
        others = self._others(self.points[rows], rows, max(sizes))
        return {k: self._shares(others[:, :k]) for k in sizes}

    def _others(self, x: Array, rows: Rows, k: int) -> Rows:
        """The k nearest points to each of x that are not of the rows, nearest first, (m, k)."""
        found = nearest(self._tree, x, k + 1)
        # Each point itself goes last; where it hides among equals, the farthest one does.
        last = np.argsort(found == rows[:, None], axis=1, kind="stable")[:, :-1]
        return np.take_along_axis(found, last, axis=1)

    def _shares(self, voters: Rows) -> Array:
        """Shares of the classes among voters, shape (m, k) -> (m, C)."""
        shares = np.zeros((len(voters), len(self.classes)))
        line = np.arange(len(voters))
        for voter in voters.T:
            np.add.at(shares, (line, self.codes[voter]), self.weights[voter])
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    @cached_property
    def _tree(self) -> Any:
        """The points, ready to be asked."""
        return tree(self.points)


def tree(points: Array) -> Any:
    """Points, shape (n, D), ready to be asked for the nearest of them."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors().fit(points)


def nearest(among: Any, x: Array, k: int) -> Rows:
    """The k nearest points of a tree to each of x, nearest first, shape (m, k)."""
    return np.asarray(among.kneighbors(x, k, return_distance=False), dtype=np.intp)
