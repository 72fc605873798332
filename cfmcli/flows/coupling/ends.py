"""Ends: where the points at one end of a segment come from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.quasirandom import SobolEngine

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.parting import some
from cfmcli.flows.coupling.plans import only
from cfmcli.flows.coupling.resampling import systematic

EDGE = 2.0**-32
"""Keeps points of the unit cube away from its faces, which are at infinity."""


class PointSource(ABC):
    """Points at one end of a segment."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """n rows in random order, shape (n, D + C)."""

    @abstractmethod
    def parted(
        self, share: float, rng: np.random.Generator
    ) -> tuple["PointSource", "PointSource | None"]:
        """The points without a share of them, and that share; None where there is no part to keep.

        Args:
            share: of the points, between 0 and 1.
            rng: source of randomness.
        """


@dataclass(frozen=True)
class CloudSource(PointSource):
    """A finite cloud, drawn by systematic resampling of its weights.

    Args:
        points: shape (m, D).
        weights: shape (m,), sum 1.
    """

    points: Array
    weights: Array

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Each point floor or ceil of n w times."""
        return self.points[systematic(self.weights, n, rng)]

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> tuple["CloudSource", "CloudSource | None"]:
        """Points chosen at random."""
        aside, rest = some(self.weights, share, rng)
        return (self._of(rest), self._of(aside)) if len(aside) else (self, None)

    def _of(self, places: IntArray) -> "CloudSource":
        """Only the points of some places, by their weights."""
        weights = only(self.weights, places)
        return replace(self, weights=weights / weights.sum())


@dataclass(frozen=True)
class NormalSource(PointSource):
    """The standard normal N(0, I), each point under a condition that is drawn apart from it.

    Points are scrambled Sobol points in random order: each is normal, and together they fill the
    normal more evenly than independent ones, so a coupling's target gets its due everywhere.

    Reference: Owen (1997), doi 10.1214/aos/1031594731 (scrambled nets)

    Args:
        dim: dimension D.
        conditions: conditions to draw from, shape (m, C), or None.
        weights: of the conditions, shape (m,), sum 1, or None.
    """

    dim: int
    conditions: Array | None = None
    weights: Array | None = None

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Fresh points."""
        seed = int(rng.integers(2**31))
        engine = SobolEngine(self.dim, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        uniform = engine.draw(n, dtype=torch.float64).clamp(EDGE, 1 - EDGE)
        points = rng.permutation(torch.special.ndtri(uniform).numpy())
        if self.conditions is None or self.weights is None:
            return points
        return np.hstack((points, self.conditions[systematic(self.weights, n, rng)]))

    def independent(self, n: int, rng: np.random.Generator) -> Array:
        """n rows that know nothing of each other, for statistics that count on it."""
        points = rng.standard_normal((n, self.dim))
        if self.conditions is None or self.weights is None:
            return points
        drawn = rng.choice(len(self.weights), n, p=self.weights)
        return np.hstack((points, self.conditions[drawn]))

    def under(self, places: IntArray) -> "NormalSource":
        """Points under the conditions of some places only."""
        if self.conditions is None or self.weights is None:
            return self
        weights = self.weights[places]
        return replace(self, conditions=self.conditions[places], weights=weights / weights.sum())

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> tuple["NormalSource", "NormalSource"]:
        """Itself, twice: no point of it ever comes again."""
        return self, self
