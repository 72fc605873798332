"""Layout: the columns of the rows that are drawn as pairs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """The columns of a row: D coordinates, C numbers of a condition, perhaps a tangent or mass.

    Args:
        dim: dimension D.
        conditions: width C of a condition.
        tangents: whether D numbers dx/dt follow, in units of the gap.
        masses: whether mass and the length delta of growing paths follow, 1 or D numbers.
    """

    dim: int
    conditions: int = 0
    tangents: bool = False
    masses: bool = False

    def ends(self, x0: Points, x1: Points) -> tuple[Points, ...]:
        """(x0, x1) or (x0, x1, v0, v1) of rows, shape (n, D) each."""
        points = x0[:, : self.dim], x1[:, : self.dim]
        if not self.tangents:
            return points
        start = self.dim + self.conditions
        return *points, x0[:, start:], x1[:, start:]

    def growth(self, x0: Points, x1: Points) -> dict[str, Points]:
        """By name, the masses m0, m1 of pairs, (n, 1), whose mean is 1; delta, (n, 1) or (n, D)."""
        if not self.masses:
            return {}
        start = self.dim + self.conditions
        mass, length = slice(start, start + 1), slice(start + 1, None)
        mean = np.asarray((x0[:, mass] + x1[:, mass]) / 2, np.float32)
        return {"m0": x0[:, mass] / mean, "m1": x1[:, mass] / mean, "delta": x0[:, length]}

    def condition(self, x1: Points) -> Points:
        """The condition of pairs, which is their target's, shape (n, C)."""
        return x1[:, self.dim : self.dim + self.conditions]
