"""Layout: meaning of the columns in the rows that pair sources draw."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """The columns of a row: D coordinates, C condition values, then tangent or mass if any.

    Args:
        dim: dimension D.
        conditions: number C of condition columns.
        tangents: whether D tangent columns dx/dt follow, per unit of path time.
        masses: whether mass and growth length delta follow, the latter 1 or D columns.
    """

    dim: int
    conditions: int = 0
    tangents: bool = False
    masses: bool = False

    def ends(self, x0: Points, x1: Points) -> tuple[Points, ...]:
        """Split rows into (x0, x1) or (x0, x1, v0, v1), shape (n, D) each."""
        points = x0[:, : self.dim], x1[:, : self.dim]
        if not self.tangents:
            return points
        start = self.dim + self.conditions
        return *points, x0[:, start:], x1[:, start:]

    def growth(self, x0: Points, x1: Points) -> dict[str, Points]:
        """Masses m0, m1 with mean 1 in each pair, (n, 1), and delta, (n, 1) or (n, D), by name."""
        if not self.masses:
            return {}
        start = self.dim + self.conditions
        mass, length = slice(start, start + 1), slice(start + 1, None)
        mean = np.asarray((x0[:, mass] + x1[:, mass]) / 2, np.float32)
        return {"m0": x0[:, mass] / mean, "m1": x1[:, mass] / mean, "delta": x0[:, length]}

    def condition(self, x1: Points) -> Points:
        """Condition of each pair, taken from its target, shape (n, C)."""
        return x1[:, self.dim : self.dim + self.conditions]
