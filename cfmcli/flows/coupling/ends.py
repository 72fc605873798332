"""Ends: sources of the points at one end of a segment."""

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
"""Distance kept from the faces of the unit cube, which the normal quantile maps to infinity."""


class PointSource(ABC):
    """Base class of sources of points at one end of a segment."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n rows in random order, shape (n, D + C)."""

    @abstractmethod
    def parted(
        self, share: float, rng: np.random.Generator
    ) -> tuple["PointSource", "PointSource | None"]:
        """Split off a random share of the points; the second part is None if there are too few.

        Args:
            share: fraction of the points to split off, between 0 and 1.
            rng: source of randomness.
        """


@dataclass(frozen=True)
class CloudSource(PointSource):
    """A finite weighted cloud, sampled by systematic resampling.

    Args:
        points: rows of the cloud, shape (m, D + C).
        weights: shape (m,), sum 1.
    """

    points: Array
    weights: Array

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n points; a point of weight w appears floor(n w) or ceil(n w) times."""
        return self.points[systematic(self.weights, n, rng)]

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> tuple["CloudSource", "CloudSource | None"]:
        """Split the points at random."""
        aside, rest = some(self.weights, share, rng)
        return (self._of(rest), self._of(aside)) if len(aside) else (self, None)

    def _of(self, places: IntArray) -> "CloudSource":
        """Restrict the cloud to the points at the given indices, weights renormalised."""
        weights = only(self.weights, places)
        return replace(self, weights=weights / weights.sum())


@dataclass(frozen=True)
class NormalSource(PointSource):
    """The standard normal N(0, I), each point with an independently drawn condition.

    Points are scrambled Sobol points in random order: each is normal, and together they fill the
    normal more evenly than independent ones, so every target point gets its share of them.

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
        """Draw n fresh points."""
        seed = int(rng.integers(2**31))
        engine = SobolEngine(self.dim, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        uniform = engine.draw(n, dtype=torch.float64).clamp(EDGE, 1 - EDGE)
        points = rng.permutation(torch.special.ndtri(uniform).numpy())
        if self.conditions is None or self.weights is None:
            return points
        return np.hstack((points, self.conditions[systematic(self.weights, n, rng)]))

    def independent(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n independent rows, for statistics that require independence."""
        points = rng.standard_normal((n, self.dim))
        if self.conditions is None or self.weights is None:
            return points
        drawn = rng.choice(len(self.weights), n, p=self.weights)
        return np.hstack((points, self.conditions[drawn]))

    def under(self, places: IntArray) -> "NormalSource":
        """Restrict the conditions to those at the given indices."""
        if self.conditions is None or self.weights is None:
            return self
        weights = self.weights[places]
        return replace(self, conditions=self.conditions[places], weights=weights / weights.sum())

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> tuple["NormalSource", "NormalSource"]:
        """Return this source for both parts, since its points are never repeated."""
        return self, self
