"""Pairing: where pairs (x0, x1) come from during training, block by block.

A block is a run of steps whose pairs are drawn at once. Pairs depend on (seed, block) alone, so a
resumed run sees the pairs that the uninterrupted one would have seen.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from cfmcli.data.table import Array
from cfmcli.flows.couplings import Coupling
from cfmcli.flows.plans import Plan, systematic
from cfmcli.flows.streams import Streams

Points = npt.NDArray[np.float32]
PLAN_LIFE = 12


class PointSource(ABC):
    """Points at one end of a segment."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """n points in random order, shape (n, D)."""


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


@dataclass(frozen=True)
class NormalSource(PointSource):
    """The standard normal N(0, I).

    Args:
        dim: dimension D.
    """

    dim: int

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Fresh points."""
        return rng.standard_normal((n, self.dim))


class PairSource(ABC):
    """Pairs (x0, x1) of one segment."""

    @abstractmethod
    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """n pairs for a block of steps, each of shape (n, D)."""


@dataclass(frozen=True)
class PlannedPairs(PairSource):
    """Pairs of one plan over whole clouds: solved once, drawn for ever.

    Args:
        x0: source cloud, shape (n0, D).
        x1: target cloud, shape (n1, D).
        plan: their coupling.
    """

    x0: Array
    x1: Array
    plan: Plan

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Pairs by their mass in the plan."""
        i, j = self.plan.draw(n, streams.numpy("pairs", segment, block))
        return self.x0[i].astype(np.float32), self.x1[j].astype(np.float32)


@dataclass(frozen=True)
class BatchedPairs(PairSource):
    """Pairs coupled inside minibatches of fresh points.

    Reference: Tong et al. (2024), arXiv 2302.00482, sec. 3.2; Pooladian et al. (2023),
        arXiv 2304.14772, sec. 4

    Args:
        source: points at t = 0.
        target: points at t = 1.
        coupling: solved on each minibatch.
        size: points per minibatch, at least 1.
    """

    source: PointSource
    target: PointSource
    coupling: Coupling
    size: int

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Pairs of as many minibatches as n needs."""
        rng = streams.numpy("pairs", segment, block)
        count = -(-n // self.size)
        x0 = self.source.draw(count * self.size, rng)
        x1 = self.target.draw(count * self.size, rng)
        weights = np.full(self.size, 1 / self.size)
        for start in range(0, count * self.size, self.size):
            rows = slice(start, start + self.size)
            plan = self.coupling.plan(x0[rows], x1[rows], weights, weights, rng)
            i, j = plan.draw(self.size, rng)
            x0[rows], x1[rows] = x0[rows][i], x1[rows][j]
        return x0[:n].astype(np.float32), x1[:n].astype(np.float32)


@dataclass(frozen=True, eq=False)
class PooledPairs(PairSource):
    """Pairs of plans between pools of fresh source points and a whole target cloud.

    For a source without end, such as N(0, I): a pool stands in for it, is coupled to the whole
    target once, serves some blocks, and is drawn anew.

    Args:
        source: points at t = 0.
        x1: target cloud, shape (n1, D).
        w1: its weights, shape (n1,).
        coupling: solved once a pool.
        size: points of a pool.
    """

    source: PointSource
    x1: Array
    w1: Array
    coupling: Coupling
    size: int

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Pairs by their mass in the plan of the block's pool."""
        pool = self._pool(block // PLAN_LIFE, segment, streams)
        return pool.draw(block, n, segment, streams)

    def mean_cost(self, streams: Streams) -> float:
        """Mean squared distance of the pairs of the first pool."""
        first = self._pool(0, 0, streams)
        return first.plan.mean_cost(first.x0, first.x1)

    @cached_property
    def _pool(self) -> Callable[[int, int, Streams], PlannedPairs]:
        """The coupled pool of a number; the last one is kept."""
        return lru_cache(maxsize=1)(self._solve)

    def _solve(self, number: int, segment: int, streams: Streams) -> PlannedPairs:
        """Draw and couple the pool of that number."""
        rng = streams.numpy("pool", segment, number)
        x0 = self.source.draw(self.size, rng)
        w0 = np.full(self.size, 1 / self.size)
        return PlannedPairs(x0, self.x1, self.coupling.plan(x0, self.x1, w0, self.w1, rng))
