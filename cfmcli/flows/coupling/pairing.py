"""Pairing: sources of pairs (x0, x1) for training, drawn block by block.

A block is a run of steps whose pairs are drawn at once. Pairs depend on (seed, block) alone, so a
resumed run sees the pairs that the uninterrupted one would have seen.

Sources draw rows: the point itself, then the columns that accompany it; see `Layout`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.couplings import Coupling
from cfmcli.flows.coupling.ends import PointSource
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.parting import parted
from cfmcli.flows.coupling.plans import Plan
from cfmcli.flows.coupling.resampling import systematic
from cfmcli.flows.streams import Streams

STRIDE = 1_000_000
"""Offset between the segment numbers of groups, above those of any run: streams stay separate."""


class PairSource(ABC):
    """Base class of sources of pairs (x0, x1) for one segment."""

    @abstractmethod
    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw n pairs for a block of steps, as rows of x0 and of x1."""

    @abstractmethod
    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[PairSource, PairSource | None]":
        """Split into pairs to train on and held-out pairs that share no point with them.

        Groups are split one by one, so a source point of several groups may be in both parts.

        Args:
            share: fraction of the points to hold out, between 0 and 1.
            rng: source of randomness.

        Returns:
            Training pairs and held-out pairs; all pairs and None if there are too few points.
        """


@dataclass(frozen=True, eq=False)
class PlannedPairs(PairSource):
    """Pairs from one plan over whole clouds, solved once.

    Args:
        x0: rows of the source cloud, shape (n0, D + C).
        x1: rows of the target cloud, shape (n1, D + C).
        plan: their coupling.
    """

    x0: Array
    x1: Array
    plan: Plan

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw pairs in proportion to their mass in the plan."""
        i, j = self.indices(block, n, segment, streams)
        return self.x0[i].astype(np.float32), self.x1[j].astype(np.float32)

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[PlannedPairs, PlannedPairs | None]":
        """Split the plan itself; the pairs remain as they are."""
        found = parted(self.plan, share, rng)
        if found is None:
            return self, None
        train, aside = found
        return replace(self, plan=train), replace(self, plan=aside)

    def indices(
        self, block: int, n: int, segment: int, streams: Streams
    ) -> tuple[IntArray, IntArray]:
        """Row indices of the pairs of a block; blocks share epochs of systematic resampling.

        An epoch costs O(n0 + n1) and serves about as many pairs, so a pair costs O(1).
        """
        blocks = max(1, max(self.plan.shape) // max(n, 1))
        i, j = self._epoch(block // blocks, blocks * n, segment, streams)
        rows = slice(block % blocks * n, (block % blocks + 1) * n)
        return i[rows], j[rows]

    @cached_property
    def _epoch(self) -> Callable[[int, int, int, Streams], tuple[IntArray, IntArray]]:
        """Cached function that returns the row indices of an epoch; the last one is kept."""
        return lru_cache(maxsize=1)(self._drawn)

    def _drawn(
        self, epoch: int, n: int, segment: int, streams: Streams
    ) -> tuple[IntArray, IntArray]:
        """Draw an epoch of n pairs."""
        return self.plan.draw(n, streams.numpy("pairs", segment, epoch))


@dataclass(frozen=True)
class BatchedPairs(PairSource):
    """Pairs coupled within minibatches of fresh points.

    Reference: Tong et al. (2024), arXiv 2302.00482, sec. 3.2; Pooladian et al. (2023),
        arXiv 2304.14772, sec. 4

    Args:
        source: points at t = 0.
        target: points at t = 1.
        coupling: solved on each minibatch.
        size: points per minibatch, at least 1.
        ruler: factor of each column in distances, shape (D + C,); None for 1 everywhere.
    """

    source: PointSource
    target: PointSource
    coupling: Coupling
    size: int
    ruler: Array | None = None

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw pairs from as many minibatches as n requires."""
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

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[BatchedPairs, BatchedPairs | None]":
        """Split the points of either end; each part is coupled in minibatches of its own."""
        (source, first), (target, last) = (
            end.parted(share, rng) for end in (self.source, self.target)
        )
        if first is None or last is None:
            return self, None
        return (
            replace(self, source=source, target=target),
            replace(self, source=first, target=last),
        )


@dataclass(frozen=True, eq=False)
class GroupedPairs(PairSource):
    """Pairs coupled within groups, such as the classes of a label.

    Args:
        groups: a source of pairs for each group.
        shares: share of the target in each group, shape (G,), sum 1.
        sizes: number of points at the smaller end of each group, shape (G,).
    """

    groups: tuple[PairSource, ...]
    shares: Array
    sizes: IntArray

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw pairs of all groups by their shares, in random order.

        Each group draws as many pairs as it may need in any block of n, so that its epochs, which
        depend on that number, can serve successive blocks.
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

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[GroupedPairs, GroupedPairs | None]":
        """Split each group; of those too small, only as many as keep the total share right."""
        due = np.cumsum(share * np.where(self.sizes > 1, self.sizes, 0)) + rng.random()
        asked = np.diff(np.floor(due), prepend=0) > 0
        asked[np.argmax(self.sizes)] |= not asked.any()
        parts = [
            group.parted(share, rng) if own else (group, None)
            for group, own in zip(self.groups, asked, strict=True)
        ]
        train = replace(self, groups=tuple(part for part, _ in parts))
        kept = [k for k, (_, part) in enumerate(parts) if part is not None]
        if not kept:
            return train, None
        found, shares = tuple(part for _, part in parts if part is not None), self.shares[kept]
        return train, GroupedPairs(found, shares / shares.sum(), self.sizes[kept])


def measured(rows: Array, ruler: Array | None) -> Array:
    """Rows as the coupling sees them: columns scaled by their factor, those of factor 0 dropped."""
    return rows if ruler is None else rows[:, ruler > 0] * ruler[ruler > 0]
