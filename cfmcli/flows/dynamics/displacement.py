"""Displacement: optimal pairs moved along straight lines, which needs no training."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.data.snapshots import Cloud
from cfmcli.data.times import Timeline
from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.couplings import Coupling
from cfmcli.flows.coupling.plans import PairPlan, Plan
from cfmcli.flows.dynamics.flow import Flow
from cfmcli.flows.dynamics.known import Gains, Known
from cfmcli.flows.dynamics.legs import journey
from cfmcli.flows.dynamics.paths import Paths

MOST_BYTES, PAIR_BYTES, PLACE_BYTES = 4e9, 64, 40
"""Memory limit for the pairs of a gap; bytes per pair, and bytes per pair and dimension."""
SAME = 1e-9
"""Relative and absolute distance below which pairs count as coincident."""


@dataclass(frozen=True, eq=False)
class Gap:
    """The pairs of one gap.

    Args:
        x0: source cloud, shape (n0, D).
        x1: target cloud, shape (n1, D).
        plan: their coupling.
        gains: known growth of the sources, if any.

    Raises:
        ConfigError: if the plan joins so many pairs that they do not fit in memory.
    """

    x0: Array
    x1: Array
    plan: Plan
    gains: Gains | None = None

    def __post_init__(self) -> None:
        check_pairs(self.plan, self.x0.shape[1])

    def moves(self, x: Array, t: float, rng: np.random.Generator) -> Array:
        """Displacement of the pair nearest to each point at path time t, shape (n, D).

        Among coincident pairs, one is drawn in proportion to mass.
        """
        from scipy.spatial import cKDTree

        i, j, mass = self._pairs
        start, end = self.x0[i], self.x1[j]
        tree = cKDTree(start + t * (end - start))
        nearest, _ = tree.query(x)
        found = tree.query_ball_point(x, nearest * (1 + SAME) + SAME)
        pair = _one_of_each(found, mass, rng)
        return np.asarray(end[pair] - start[pair])

    def at(self, t: float) -> tuple[IntArray, Array, Array]:
        """Pairs at path time t: their source indices, (k,), positions, (k, D), and masses, (k,)."""
        i, j, _ = self._pairs
        return i, self.x0[i] + t * (self.x1[j] - self.x0[i]), self._masses(t)

    def then(self, t: float) -> Plan:
        """The plan with the masses that its pairs have at path time t."""
        if self.gains is None:
            return self.plan
        i, j, _ = self._pairs
        return PairPlan(i, j, self._masses(t), self.plan.shape)

    def _masses(self, t: float) -> Array:
        """Masses of the pairs at path time t, shape (k,)."""
        i, _, mass = self._pairs
        if self.gains is None:
            return mass
        return np.asarray(mass * np.exp(self.gains.at(t) - self.gains.at(1))[i])

    @cached_property
    def _pairs(self) -> tuple[IntArray, IntArray, Array]:
        """The pairs that carry mass."""
        return self.plan.arrays()


@dataclass(frozen=True, eq=False)
class Displacement:
    """Displacement interpolation: x0 + t (x1 - x0) for the pairs (x0, x1) of a plan.

    Points of the clouds move with their pair; any other point moves as the nearest pair does.

    Reference: McCann (1997), doi 10.1006/aima.1997.1634

    Args:
        gaps: the pairs between each two snapshots.
        timeline: the clock tau of the snapshots.
        known: prior knowledge of growth.
    """

    gaps: tuple[Gap, ...]
    timeline: Timeline
    known: Known | None = None
    grows: ClassVar[bool] = False

    @classmethod
    def between(
        cls,
        clouds: Sequence[Cloud],
        timeline: Timeline,
        coupling: Coupling,
        rng: np.random.Generator,
        known: Known | None = None,
    ) -> "Displacement":
        """Couple each two consecutive snapshots, with points rounded to float32 as in checkpoints.

        Args:
            clouds: the snapshots, in flow coordinates, in time order.
            timeline: clock of the snapshots.
            coupling: plan rule for consecutive snapshots.
            rng: source of randomness for the plans.
            known: prior knowledge of growth: weights of the sources are multiplied by it.
        """
        gaps = []
        for k, (before, after) in enumerate(pairwise(clouds)):
            stored = (np.asarray(c.points, dtype=np.float32) for c in (before, after))
            x0, x1 = (points.astype(np.float64) for points in stored)
            whole = coupling.whole(len(x0), len(x1)) or coupling
            gains = known.gaps[k] if known else None
            weights = before.weights * np.exp(gains.at(1)) if gains else before.weights
            plan = whole.plan(x0, x1, weights, after.weights, rng)
            gaps.append(Gap(x0, x1, plan, gains))
        return cls(tuple(gaps), timeline, known)

    @property
    def varies(self) -> bool:
        """Whether masses of points change along paths, by known growth."""
        return self.known is not None

    def paths(self, x: Array, times: Sequence[float], *unused: Any) -> Paths:
        """Carry points through clock times, forward or backward, without integration.

        Args:
            x: points at the first time, shape (n, D).
            times: clock times, at least one, in either direction, repeats allowed.
            unused: solver and condition, which other flows take.

        Raises:
            ConfigError: if a time lies outside the snapshots.
        """
        inner = [self.timeline.inner(time) for time in times]
        found = {inner[0]: np.asarray(x, dtype=np.float64)}
        energy = np.zeros(len(x))
        rng = np.random.default_rng(0)
        place = found[inner[0]]
        for leg in journey(inner, self.timeline.segments):
            first = leg.times[0]
            move = self.gaps[leg.segment].moves(place, first - leg.segment, rng)
            start = place
            for s in leg.times[1:]:
                place = start + (s - first) * move
                found[s] = place
            energy += (move**2).sum(axis=1) * abs(leg.times[-1] - first)
        return Paths(np.stack([found[s] for s in inner]), energy, 0)

    def velocity(self, x: Array, time: float, *, forward: bool = True, guide: Any = None) -> Array:
        """Velocity dx/dtau of the nearest pair, per unit of the clock, shape (n, D).

        Args:
            x: points, shape (n, D).
            time: clock time.
            forward: whether a snapshot belongs to the gap after it, if any, or to the one before.
            guide: unused: there are no conditions.
        """
        s = self.timeline.inner(time)
        segment = min(int(s), self.timeline.segments - 1)
        if not forward and s == segment and segment > 0:
            segment -= 1
        moves = self.gaps[segment].moves(x, s - segment, np.random.default_rng(0))
        return moves / self.timeline.span(segment)


def learnt(flow: Flow | Displacement) -> Flow:
    """Return the flow if it was learnt, else raise.

    Raises:
        ConfigError: if nothing was learnt.
    """
    if isinstance(flow, Displacement):
        raise ConfigError(
            "static-ot moves the observed points and has no density: fit with --method otcfm "
            "for likelihoods."
        )
    return flow


def check_pairs(plan: Plan, dim: int) -> None:
    """Raise if the pairs of a plan would not fit in memory.

    Args:
        plan: coupling of a gap.
        dim: dimension D.

    Raises:
        ConfigError: if it has too many pairs.
    """
    need = plan.count * (PAIR_BYTES + PLACE_BYTES * dim)
    if need > MOST_BYTES:
        raise ConfigError(
            f"Displacement moves every pair of a plan, and this one joins {plan.count:,}, which "
            f"take {need * 1e-9:.0f} GB: use --coupling exact, or blocks for many points."
        )


def _one_of_each(
    groups: Sequence[Sequence[int]], mass: Array, rng: np.random.Generator
) -> IntArray:
    """Sample one member of each group in proportion to mass."""
    ends = np.cumsum([len(group) for group in groups])
    members = np.concatenate([np.sort(np.asarray(group, dtype=np.intp)) for group in groups])
    line = np.cumsum(mass[members])
    last = line[ends - 1]
    first = np.concatenate([[0.0], last[:-1]])
    place = np.searchsorted(line, first + rng.random(len(groups)) * (last - first), side="right")
    starts = np.concatenate([[0], ends[:-1]])
    return np.asarray(members[np.clip(place, starts, ends - 1)])
