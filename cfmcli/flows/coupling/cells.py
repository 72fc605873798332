"""Cells: pairs of a source without end with the target whose cell each point falls into."""

from dataclasses import dataclass

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.pairing import PairSource, PointSource, measured
from cfmcli.flows.coupling.semidiscrete import Potential
from cfmcli.flows.streams import Streams

SAMPLE = 10_000
"""Source points of an estimate of the mean cost."""

COST = 2**31
"""The segment whose random stream such an estimate takes: one that no run has."""


@dataclass(frozen=True, eq=False)
class CellPairs(PairSource):
    """Fresh points of the source, each with the one target that its potential gives it.

    Args:
        source: points at t = 0, without end.
        x1: rows of the target cloud, shape (n1, D + C).
        potential: prices on the target, fitted once.
        ruler: factor of each column where distances are measured, shape (D + C,); 1 for None.
    """

    source: PointSource
    x1: Array
    potential: Potential
    ruler: Array | None = None

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """n fresh pairs."""
        x0 = self.source.draw(n, streams.numpy("pairs", segment, block))
        x1 = self.x1[self.potential.assign(measured(x0, self.ruler))]
        return x0.astype(np.float32), x1.astype(np.float32)

    def mean_cost(self, streams: Streams, dim: int) -> float:
        """Mean squared distance of pairs in their first D columns, over a sample."""
        x0, x1 = self.draw(0, SAMPLE, COST, streams)
        return float(np.square(x0[:, :dim] - x1[:, :dim], dtype=np.float64).sum(axis=1).mean())
