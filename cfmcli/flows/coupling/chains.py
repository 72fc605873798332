"""Chains: points traced through all snapshots by the plans between them, for curved paths."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.pairing import PairSource, PlannedPairs
from cfmcli.flows.coupling.splines import natural_tangents
from cfmcli.flows.streams import Streams


@dataclass(frozen=True, eq=False)
class Link:
    """A plan seen from one side: samples partners of given rows in proportion to mass.

    Args:
        own: rows on this side, sorted, shape (k,).
        partner: rows on the other side, shape (k,).
        mass: masses of the pairs, shape (k,).
    """

    own: IntArray
    partner: IntArray
    mass: Array

    @cached_property
    def _ends(self) -> Array:
        """Cumulative mass up to and including each pair."""
        return np.cumsum(self.mass)

    def follow(self, rows: IntArray, rng: np.random.Generator) -> IntArray:
        """Sample a partner for each row, with probability proportional to the pair's mass."""
        first = np.searchsorted(self.own, rows, side="left")
        last = np.searchsorted(self.own, rows, side="right") - 1
        ends = self._ends
        low = ends[first] - self.mass[first]
        place = low + rng.random(len(rows)) * (ends[last] - low)
        return self.partner[np.clip(np.searchsorted(ends, place, side="right"), first, last)]


@dataclass(frozen=True, eq=False)
class Chains:
    """Plans of all consecutive segments, combined into a Markov chain.

    The law of a chain is Markov: given its point in one snapshot, what comes before and what
    comes after are independent.

    Reference: Tong et al. (2024), arXiv 2302.00482 (chains of plans over several snapshots)

    Args:
        segments: pairs of each segment; the target of one is the source of the next.
        times: clock times of the snapshots, shape (K + 1,).
        dim: dimension D of the points; further columns of the rows are kept.
    """

    segments: tuple[PlannedPairs, ...]
    times: Array
    dim: int

    def knots(self, segment: int, i: IntArray, j: IntArray, rng: np.random.Generator) -> Array:
        """Sample the chains that pass through given pairs of a segment, shape (n, K + 1, D)."""
        clouds = [self.segments[0].x0, *(pairs.x1 for pairs in self.segments)]
        rows = {segment: i, segment + 1: j}
        for k in range(segment + 1, len(self.segments)):
            rows[k + 1] = self._links[k][0].follow(rows[k], rng)
        for k in range(segment, 0, -1):
            rows[k - 1] = self._links[k - 1][1].follow(rows[k], rng)
        return np.stack([clouds[k][rows[k], : self.dim] for k in range(len(clouds))], axis=1)

    @cached_property
    def _links(self) -> list[tuple[Link, Link]]:
        """For each plan, its links from source to target and from target to source."""
        found = []
        for pairs in self.segments:
            i, j, mass = pairs.plan.arrays()
            order = np.argsort(j, kind="stable")
            found.append((Link(i, j, mass), Link(j[order], i[order], mass[order])))
        return found


@dataclass(frozen=True, eq=False)
class ChainedPairs(PairSource):
    """Pairs of one segment, each with the tangents of the natural spline through its chain.

    Args:
        chains: the plans of all segments.
        segment: the one that the pairs are of.
        pairs: those of its plan that are drawn.
    """

    chains: Chains
    segment: int
    pairs: PlannedPairs

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw pairs by mass, with tangents per unit of path time in additional columns."""
        own = self.pairs
        i, j = own.indices(block, n, segment, streams)
        rng = streams.numpy("chains", segment, block)
        knots = self.chains.knots(self.segment, i, j, rng)
        span = self.chains.times[self.segment + 1] - self.chains.times[self.segment]
        tangents = natural_tangents(knots, self.chains.times) * span
        x0 = np.hstack((own.x0[i], tangents[:, self.segment]))
        x1 = np.hstack((own.x1[j], tangents[:, self.segment + 1]))
        return x0.astype(np.float32), x1.astype(np.float32)

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[ChainedPairs, ChainedPairs | None]":
        """Split the pairs into two sources; both use the same chains."""
        train, aside = self.pairs.parted(share, rng)
        return replace(self, pairs=train), replace(self, pairs=aside) if aside else None
