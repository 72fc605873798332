"""Paths: points carried through times."""

from dataclasses import dataclass

import numpy as np

from cfmcli.data.arrays import Array


@dataclass(frozen=True)
class Paths:
    """Points carried through times.

    Args:
        points: positions at each time, shape (T, n, D).
        energy: integral of |dx/ds|^2 over the inner clock, shape (n,).
        nfe: evaluations of the field for each chunk of points, at most.
        log_mass: log of what the mass of each point has become, shape (T, n); None where mass is
            constant.
    """

    points: Array
    energy: Array
    nfe: int
    log_mass: Array | None = None

    def masses(self, k: int, start: Array) -> Array:
        """Masses of the points at the k-th time, shape (n,), given those at the first."""
        return start if self.log_mass is None else start * np.exp(self.log_mass[k])

    def rows(self, index: slice) -> "Paths":
        """The paths of some points."""
        grown = None if self.log_mass is None else self.log_mass[:, index]
        return Paths(self.points[:, index], self.energy[index], self.nfe, grown)
