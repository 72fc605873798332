"""Semidiscrete pairs: each fresh source point goes to the target whose Laguerre cell it lies in."""

from dataclasses import dataclass

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.ends import NormalSource
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.pairing import PairSource, measured
from cfmcli.flows.coupling.parting import some
from cfmcli.flows.coupling.semidiscrete import Potential, fit_potential
from cfmcli.flows.streams import Streams

SAMPLE = 10_000
"""Number of source points in the sample that estimates the mean cost."""

COST = 2**31
"""Segment number of that sample's random stream, which no actual segment uses."""


@dataclass(frozen=True, eq=False)
class CellPairs(PairSource):
    """Fresh source points, each paired with the target that a semidiscrete potential assigns.

    Args:
        source: distribution at t = 0, under the conditions of the target's rows if any.
        x1: rows of the target cloud, shape (n1, D + C).
        w1: its weights, shape (n1,), sum 1.
        tolerance: largest L1 error of the weights that cells meet, in (0, 1).
        ruler: factor of each column in distances, shape (D + C,); None for 1 everywhere.
        potential: prices on the target.
    """

    source: NormalSource
    x1: Array
    w1: Array
    tolerance: float
    ruler: Array | None
    potential: Potential

    @classmethod
    def fitted(
        cls,
        source: NormalSource,
        target: tuple[Array, Array],
        tolerance: float,
        ruler: Array | None,
        rng: np.random.Generator,
    ) -> "CellPairs":
        """Create the pairs, with a potential fitted to the rows and weights of a target."""
        potential = fit_potential(
            lambda n, rng: measured(source.independent(n, rng), ruler),
            measured(target[0], ruler),
            target[1],
            rng,
            tolerance,
        )
        return cls(source, *target, tolerance, ruler, potential)

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw n pairs from fresh source points."""
        x0 = self.source.draw(n, streams.numpy("pairs", segment, block))
        x1 = self.x1[self.potential.assign(measured(x0, self.ruler))]
        return x0.astype(np.float32), x1.astype(np.float32)

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[CellPairs, CellPairs | None]":
        """Split the targets at random, each part with its own potential; sources stay fresh."""
        aside, rest = some(self.w1, share, rng)
        if not len(aside):
            return self, None
        return self._to(rest, rng), self._to(aside, rng)

    def _to(self, places: IntArray, rng: np.random.Generator) -> "CellPairs":
        """Restrict the pairs to the targets at the given indices, with a newly fitted potential."""
        weights = self.w1[places]
        target = self.x1[places], weights / weights.sum()
        source = self.source.under(places)
        return CellPairs.fitted(source, target, self.tolerance, self.ruler, rng)

    def mean_cost(self, streams: Streams, dim: int) -> float:
        """Estimate the mean squared distance of pairs in the first D columns from a sample."""
        x0, x1 = self.draw(0, SAMPLE, COST, streams)
        return float(np.square(x0[:, :dim] - x1[:, :dim], dtype=np.float64).sum(axis=1).mean())
