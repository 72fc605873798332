"""Pools: pairs of a source without end, by plans between pools of its points and a whole cloud."""

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
"""Blocks that a pool serves."""


@dataclass(frozen=True, eq=False)
class PooledPairs(PairSource):
    """Pairs of plans between pools of fresh source points and a whole target cloud.

    For a source without end, such as N(0, I): a pool stands in for it, is coupled to the whole
    target once, serves some blocks, and is drawn anew.

    Args:
        source: points at t = 0, without end, under the conditions of the target's rows if any.
        x1: rows of the target cloud, shape (n1, D + C).
        w1: its weights, shape (n1,).
        coupling: solved once a pool.
        size: points of a pool.
        ruler: factor of each column where distances are measured, shape (D + C,); 1 for None.
    """

    source: NormalSource
    x1: Array
    w1: Array
    coupling: Coupling
    size: int
    ruler: Array | None = None

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Pairs by their mass in the plan of the block's pool."""
        pool = self._pool(block // PLAN_LIFE, segment, streams)
        return pool.draw(block, n, segment, streams)

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[PooledPairs, PooledPairs | None]":
        """Targets chosen at random, each part with plans of its own: sources never come again."""
        aside, rest = some(self.w1, share, rng)
        return (self._to(rest), self._to(aside)) if len(aside) else (self, None)

    def _to(self, places: IntArray) -> "PooledPairs":
        """Pairs with the targets of some places."""
        weights, source = self.w1[places], self.source.under(places)
        return replace(self, source=source, x1=self.x1[places], w1=weights / weights.sum())

    def mean_cost(self, segment: int, streams: Streams, dim: int) -> float:
        """Mean squared distance of the pairs of the first pool, in their first D columns."""
        first = self.first(segment, streams)
        return first.plan.mean_cost(first.x0[:, :dim], first.x1[:, :dim])

    def left_out(self, segment: int, streams: Streams) -> tuple[float, float]:
        """The share of the first pool's mass, and of the target's, that its plan leaves out."""
        plan = self.first(segment, streams).plan
        return plan.left_out(np.full(self.size, 1 / self.size), self.w1)

    def first(self, segment: int, streams: Streams) -> PlannedPairs:
        """The first pool, coupled."""
        return self._pool(0, segment, streams)

    @cached_property
    def _pool(self) -> Callable[[int, int, Streams], PlannedPairs]:
        """The coupled pool of a number; the last one is kept."""
        return lru_cache(maxsize=1)(self._solve)

    def _solve(self, number: int, segment: int, streams: Streams) -> PlannedPairs:
        """Draw and couple the pool of that number."""
        rng = streams.numpy("pool", segment, number)
        x0 = self.source.draw(self.size, rng)
        w0 = np.full(self.size, 1 / self.size)
        ends = measured(x0, self.ruler), measured(self.x1, self.ruler)
        return PlannedPairs(x0, self.x1, self.coupling.plan(*ends, w0, self.w1, rng))
