"""Embeddings: pictures on externally computed axes, such as a UMAP of the cells."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.plots.plane import Plane

NEIGHBOURS = 30
SAME = 1e-4
"""Distance, relative to the typical neighbour distance, below which points are the same cell."""
FIRM = 1e3
"""Penalty weight of the condition that weights sum to 1."""


@dataclass(frozen=True, eq=False)
class Embedding(Plane):
    """An embedding of cells that need not be a function of flow coordinates.

    A point x is placed by the convex combination of its nearest cells that is nearest to x:

    e(x) = sum_j w_j e_j,  w = argmin |x - sum_j w_j c_j|²,  w >= 0,  sum_j w_j = 1

    so cells keep their place, a linear embedding is reproduced among the cells, and no point
    leaves them. A velocity is the difference (e(x + h v) - e(x)) / h over a step h as long as the
    distance to a near cell.

    Reference: Saul & Roweis (2003), JMLR 4:119-155, sec. 2 (the weights, here kept positive); La
        Manno et al. (2018), doi 10.1038/s41586-018-0414-6 (velocities by neighbours)

    Args:
        key: name of the embedding.
        cells: flow coordinates, shape (n, D).
        places: embedded positions, shape (n, 2).
    """

    key: str
    cells: Array
    places: Array
    exact: ClassVar[bool] = False

    @property
    def names(self) -> tuple[str, str]:
        """Axis names as in scanpy: the embedding's name and a number."""
        name = self.key.removeprefix("X_").upper()
        return f"{name}1", f"{name}2"

    @property
    def caption(self) -> str:
        """Note on how points are placed."""
        return (
            f"On {self.key}, a point stands where that convex combination of its {self.count} "
            "nearest cells stands which comes nearest to it."
        )

    @property
    def count(self) -> int:
        """Number of cells used to place a point."""
        return min(NEIGHBOURS, len(self.cells))

    def place(self, x: Array, time: float) -> Array:
        """Place points among their nearest cells, shape (n, D) -> (n, 2)."""
        distance, near = (found.reshape(len(x), -1) for found in self._tree.query(x, self.count))
        placed = np.empty((len(x), 2))
        for row, (d, cells) in enumerate(zip(distance, near, strict=True)):
            same = cells[d <= SAME * self._spacing]
            if len(same):
                placed[row] = self.places[same].mean(axis=0)
            else:
                placed[row] = _shares(x[row], self.cells[cells]) @ self.places[cells]
        return placed

    def push(self, x: Array, v: Array, time: float) -> Array:
        """Difference of places over a step along the velocity, shape (n, D) -> (n, 2)."""
        speed = float(np.median(np.linalg.norm(v, axis=1)))
        if not speed:
            return np.zeros((len(x), 2))
        step = self._spacing / speed
        return (self.place(x + step * v, time) - self.place(x, time)) / step

    @cached_property
    def _tree(self) -> Any:
        """Search tree of the cells."""
        from scipy.spatial import cKDTree

        return cKDTree(self.cells)

    @cached_property
    def _spacing(self) -> float:
        """Median over a sample of cells of the mean distance to their nearest ones; 1 if zero."""
        sample = self.cells[:: max(1, len(self.cells) // 1000)]
        distance = self._tree.query(sample, self.count)[0].reshape(len(sample), -1)
        return float(np.median(distance.mean(axis=1))) or 1.0


def _shares(x: Array, cells: Array) -> Array:
    """Weights of the convex combination of cells nearest to x, shape (k,)."""
    from scipy.optimize import nnls

    away = (cells - x).T
    scale = float(np.abs(away).max()) or 1.0
    system = np.vstack((away / scale, np.full(len(cells), FIRM)))
    weights, _ = nnls(system, np.append(np.zeros(len(x)), FIRM))
    return np.asarray(weights / weights.sum())
