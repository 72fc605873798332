"""Pairing: where pairs (x0, x1) come from during training, block by block.

A block is a run of steps whose pairs are drawn at once. Pairs depend on (seed, block) alone, so a
resumed run sees the pairs that the uninterrupted one would have seen.

What is drawn are rows: the point itself, then what travels with it. `Layout` says which columns
are which.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch.quasirandom import SobolEngine

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.couplings import Coupling
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.plans import Plan
from cfmcli.flows.coupling.resampling import systematic
from cfmcli.flows.streams import Streams

PLAN_LIFE = 40
EDGE = 2.0**-32
"""Keeps points of the unit cube away from its faces, which are at infinity."""
STRIDE = 1_000_000
"""Sets the random streams of groups apart: no run has so many segments."""


class PointSource(ABC):
    """Points at one end of a segment."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """n rows in random order, shape (n, D + C)."""


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


class PairSource(ABC):
    """Pairs (x0, x1) of one segment."""

    @abstractmethod
    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """n pairs for a block of steps, each of shape (n, D)."""


@dataclass(frozen=True, eq=False)
class PlannedPairs(PairSource):
    """Pairs of one plan over whole clouds: solved once, drawn for ever.

    Args:
        x0: rows of the source cloud, shape (n0, D + C).
        x1: rows of the target cloud, shape (n1, D + C).
        plan: their coupling.
    """

    x0: Array
    x1: Array
    plan: Plan

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Pairs by their mass in the plan."""
        i, j = self.indices(block, n, segment, streams)
        return self.x0[i].astype(np.float32), self.x1[j].astype(np.float32)

    def indices(
        self, block: int, n: int, segment: int, streams: Streams
    ) -> tuple[IntArray, IntArray]:
        """The rows of such pairs: blocks share epochs, in which each pair gets its due.

        An epoch costs O(n0 + n1) and serves about as many pairs, so a pair costs O(1).
        """
        blocks = max(1, max(self.plan.shape) // max(n, 1))
        i, j = self._epoch(block // blocks, blocks * n, segment, streams)
        rows = slice(block % blocks * n, (block % blocks + 1) * n)
        return i[rows], j[rows]

    @cached_property
    def _epoch(self) -> Callable[[int, int, int, Streams], tuple[IntArray, IntArray]]:
        """The rows of all pairs of the epoch of a number; the last one is kept."""
        return lru_cache(maxsize=1)(self._drawn)

    def _drawn(
        self, epoch: int, n: int, segment: int, streams: Streams
    ) -> tuple[IntArray, IntArray]:
        """Draw an epoch of n pairs."""
        return self.plan.draw(n, streams.numpy("pairs", segment, epoch))


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
        ruler: factor of each column where distances are measured, shape (D + C,); 1 for None.
    """

    source: PointSource
    target: PointSource
    coupling: Coupling
    size: int
    ruler: Array | None = None

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Pairs of as many minibatches as n needs."""
        rng = streams.numpy("pairs", segment, block)
        count = -(-n // self.size)
        x0 = self.source.draw(count * self.size, rng)
        x1 = self.target.draw(count * self.size, rng)
        weights = np.full(self.size, 1 / self.size)
        for start in range(0, count * self.size, self.size):
            rows = slice(start, start + self.size)
            ends = measured(x0[rows], self.ruler), measured(x1[rows], self.ruler)
            i, j = self.coupling.plan(*ends, weights, weights, rng).draw(self.size, rng)
            x0[rows], x1[rows] = x0[rows][i], x1[rows][j]
        return x0[:n].astype(np.float32), x1[:n].astype(np.float32)


@dataclass(frozen=True, eq=False)
class PooledPairs(PairSource):
    """Pairs of plans between pools of fresh source points and a whole target cloud.

    For a source without end, such as N(0, I): a pool stands in for it, is coupled to the whole
    target once, serves some blocks, and is drawn anew.

    Args:
        source: points at t = 0.
        x1: rows of the target cloud, shape (n1, D + C).
        w1: its weights, shape (n1,).
        coupling: solved once a pool.
        size: points of a pool.
        ruler: factor of each column where distances are measured, shape (D + C,); 1 for None.
    """

    source: PointSource
    x1: Array
    w1: Array
    coupling: Coupling
    size: int
    ruler: Array | None = None

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Pairs by their mass in the plan of the block's pool."""
        pool = self._pool(block // PLAN_LIFE, segment, streams)
        return pool.draw(block, n, segment, streams)

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


@dataclass(frozen=True, eq=False)
class GroupedPairs(PairSource):
    """Pairs made inside groups, such as the classes of a label.

    Args:
        groups: a source of pairs for each group.
        shares: how much of the target each group is, shape (G,), sum 1.
    """

    groups: tuple[PairSource, ...]
    shares: Array

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Pairs of all groups by their shares, in random order.

        Of each group as many are drawn as any block of n may take, so that its epochs, which
        belong to a number of pairs, serve one block after another.
        """
        rng = streams.numpy("groups", segment, block)
        counts = np.bincount(systematic(self.shares, n, rng), minlength=len(self.groups))
        most = np.maximum(np.ceil(n * self.shares), counts)
        drawn = [
            [end[:count] for end in group.draw(block, int(size), segment + k * STRIDE, streams)]
            for k, (group, size, count) in enumerate(zip(self.groups, most, counts, strict=True))
        ]
        order = rng.permutation(n)
        x0, x1 = (np.concatenate(part)[order] for part in zip(*drawn, strict=True))
        return x0, x1


def measured(rows: Array, ruler: Array | None) -> Array:
    """Rows as couplings see them: each column times its factor, those without one left out."""
    return rows if ruler is None else rows[:, ruler > 0] * ruler[ruler > 0]
