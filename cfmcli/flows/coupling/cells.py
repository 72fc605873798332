"""Cells: pairs of a source without end with the target whose cell each point falls into."""

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
"""Source points of an estimate of the mean cost."""

COST = 2**31
"""The segment whose random stream such an estimate takes: one that no run has."""


@dataclass(frozen=True, eq=False)
class CellPairs(PairSource):
    """Fresh points of the source, each with the one target that its potential gives it.

    Args:
        source: points at t = 0, without end, under the conditions of the target's rows if any.
        x1: rows of the target cloud, shape (n1, D + C).
        w1: its weights, shape (n1,), sum 1.
        tolerance: largest L1 error of the weights that cells meet, in (0, 1).
        ruler: factor of each column where distances are measured, shape (D + C,); 1 for None.
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
        """Pairs by a potential that is fitted here, to rows and weights of a target."""
        potential = fit_potential(
            lambda n, rng: measured(source.independent(n, rng), ruler),
            measured(target[0], ruler),
            target[1],
            rng,
            tolerance,
        )
        return cls(source, *target, tolerance, ruler, potential)

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """n fresh pairs."""
        x0 = self.source.draw(n, streams.numpy("pairs", segment, block))
        x1 = self.x1[self.potential.assign(measured(x0, self.ruler))]
        return x0.astype(np.float32), x1.astype(np.float32)

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[CellPairs, CellPairs | None]":
        """Targets chosen at random, each part with cells of its own: sources never come again."""
        aside, rest = some(self.w1, share, rng)
        if not len(aside):
            return self, None
        return self._to(rest, rng), self._to(aside, rng)

    def _to(self, places: IntArray, rng: np.random.Generator) -> "CellPairs":
        """Pairs with the targets of some places."""
        weights = self.w1[places]
        target = self.x1[places], weights / weights.sum()
        source = self.source.under(places)
        return CellPairs.fitted(source, target, self.tolerance, self.ruler, rng)

    def mean_cost(self, streams: Streams, dim: int) -> float:
        """Mean squared distance of pairs in their first D columns, over a sample."""
        x0, x1 = self.draw(0, SAMPLE, COST, streams)
        return float(np.square(x0[:, :dim] - x1[:, :dim], dtype=np.float64).sum(axis=1).mean())
