"""Pools: plans between pools of fresh source points and a whole target cloud."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.couplings import Coupling
from cfmcli.flows.coupling.ends import NormalSource
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.pairing import PairSource, PlannedPairs, measured
from cfmcli.flows.coupling.parting import some
from cfmcli.flows.streams import Streams

PLAN_LIFE = 40
"""Number of blocks that one pool serves."""


@dataclass(frozen=True, eq=False)
class PooledPairs(PairSource):
    """Pairs from plans between pools of fresh source points and a whole target cloud.

    For a distribution as source, such as N(0, I): a pool of samples is coupled to the whole
    target once, serves several blocks, and is then drawn anew.

    Args:
        source: distribution at t = 0, under the conditions of the target's rows if any.
        x1: rows of the target cloud, shape (n1, D + C).
        w1: its weights, shape (n1,).
        coupling: solved once per pool.
        size: number of points in a pool.
        ruler: factor of each column in distances, shape (D + C,); None for 1 everywhere.
    """

    source: NormalSource
    x1: Array
    w1: Array
    coupling: Coupling
    size: int
    ruler: Array | None = None

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw pairs in proportion to their mass in the plan of the block's pool."""
        pool = self._pool(block // PLAN_LIFE, segment, streams)
        return pool.draw(block, n, segment, streams)

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[PooledPairs, PooledPairs | None]":
        """Split the targets at random, with plans of its own for each part; sources stay fresh."""
        aside, rest = some(self.w1, share, rng)
        return (self._to(rest), self._to(aside)) if len(aside) else (self, None)

    def _to(self, places: IntArray) -> "PooledPairs":
        """Restrict the pairs to the targets at the given indices."""
        weights, source = self.w1[places], self.source.under(places)
        return replace(self, source=source, x1=self.x1[places], w1=weights / weights.sum())

    def mean_cost(self, segment: int, streams: Streams, dim: int) -> float:
        """Mean squared distance of the pairs of the first pool in the first D columns."""
        first = self.first(segment, streams)
        return first.plan.mean_cost(first.x0[:, :dim], first.x1[:, :dim])

    def left_out(self, segment: int, streams: Streams) -> tuple[float, float]:
        """Shares of the first pool's mass and of the target's mass that its plan leaves out."""
        plan = self.first(segment, streams).plan
        return plan.left_out(np.full(self.size, 1 / self.size), self.w1)

    def first(self, segment: int, streams: Streams) -> PlannedPairs:
        """Return the first pool, coupled."""
        return self._pool(0, segment, streams)

    @cached_property
    def _pool(self) -> Callable[[int, int, Streams], PlannedPairs]:
        """Cached function that returns the coupled pool of a given number; the last one is kept."""
        return lru_cache(maxsize=1)(self._solve)

    def _solve(self, number: int, segment: int, streams: Streams) -> PlannedPairs:
        """Draw the pool of a given number and couple it."""
        rng = streams.numpy("pool", segment, number)
        x0 = self.source.draw(self.size, rng)
        w0 = np.full(self.size, 1 / self.size)
        ends = measured(x0, self.ruler), measured(self.x1, self.ruler)
        return PlannedPairs(x0, self.x1, self.coupling.plan(*ends, w0, self.w1, rng))
