"""Moments: locations and widths of the snapshots in order."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.maps import moments

if TYPE_CHECKING:
    from cfmcli.data.snapshots import Snapshots

ROUNDING = 1e-10
"""Relative deviation below which it is attributed to rounding."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and variances of the snapshots of a flow.

    Args:
        means: mean of each, shape (K + 1, D).
        variances: variance of each coordinate of each, shape (K + 1, D).
        shares: weight of each snapshot among all points, shape (K + 1,), sum 1.
    """

    means: Array
    variances: Array
    shares: Array

    @classmethod
    def of(cls, snapshots: "Snapshots") -> "Moments":
        """Compute weighted moments of the training points.

        A normal source weighs as much as all of them.
        """
        found = [moments(cloud.points, cloud.weights) for cloud in snapshots.kept]
        counts = [float(len(cloud)) for cloud in snapshots.kept]
        if snapshots.gaussian_source:
            dim = len(found[0][0])
            found, counts = [(np.zeros(dim), np.ones(dim)), *found], [sum(counts), *counts]
        means, variances = (np.stack(part) for part in zip(*found, strict=True))
        return cls(means, variances, np.array(counts) / sum(counts))

    @property
    def spreads(self) -> Array:
        """Root mean square deviation per dimension of each snapshot, shape (K + 1,)."""
        return np.asarray(np.sqrt(self.variances.mean(axis=1)))

    @cached_property
    def center(self) -> Array:
        """Mean of all points, shape (D,)."""
        return np.asarray(self.shares @ self.means)

    @property
    def scale(self) -> float:
        """Root mean square deviation per dimension of all points; 1 if they coincide."""
        variance = self.shares @ (self.variances + np.square(self.means - self.center))
        found = float(np.sqrt(variance.mean()))
        return found if found > ROUNDING * np.abs(self.means).max() else 1.0
