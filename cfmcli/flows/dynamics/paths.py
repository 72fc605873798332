"""Paths: positions and masses of points at several times."""

from dataclasses import dataclass

import numpy as np

from cfmcli.data.arrays import Array


@dataclass(frozen=True)
class Paths:
    """Positions and masses of points at several times.

    Args:
        points: positions at each time, shape (T, n, D).
        energy: integral of |dx/ds|^2 over the inner clock, shape (n,).
        nfe: largest number of field evaluations of any chunk of points.
        log_mass: log of each point's mass ratio to the first time, shape (T, n); None if mass is
            constant.
    """

    points: Array
    energy: Array
    nfe: int
    log_mass: Array | None = None

    def masses(self, k: int, start: Array) -> Array:
        """Masses of the points at the k-th time, shape (n,), given the initial masses."""
        return start if self.log_mass is None else start * np.exp(self.log_mass[k])

    def rows(self, index: slice) -> "Paths":
        """Paths of some points."""
        grown = None if self.log_mass is None else self.log_mass[:, index]
        return Paths(self.points[:, index], self.energy[index], self.nfe, grown)
