"""Growing: pairs with masses, so that mass may change along the paths between them."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.couplings import Coupling
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.pairing import PairSource, measured
from cfmcli.flows.coupling.parting import some
from cfmcli.flows.coupling.plans import PairPlan, Plan, only
from cfmcli.flows.coupling.resampling import systematic
from cfmcli.flows.streams import Streams

_LEAST = 1e-9
"""Share of a point's mass below which it counts as unmatched by a plan."""


@dataclass(frozen=True)
class Masses:
    """Masses of the points at both ends of a gap, and the growth length.

    Args:
        before: mass of each source point, shape (n0,), > 0.
        after: mass of each target point, shape (n1,), > 0.
        delta: length δ at which moving costs as much as growth, above 0, infinite where moving
            costs nothing: a number, or one for each axis, shape (D,).
    """

    before: Array
    after: Array
    delta: float | Array


@dataclass(frozen=True, eq=False)
class GrowingBatches(PairSource):
    """Pairs with masses, coupled within minibatches that represent the whole clouds.

    Args:
        x0: rows of the source, shape (n0, C).
        x1: rows of the target, shape (n1, C).
        masses: of the points.
        expected: masses expected of the source by t = 1, which are coupled, shape (n0,), > 0.
        coupling: solved on each minibatch.
        size: points of a minibatch, at least 1.
        ruler: factor of each column in distances, shape (C,); None for 1 everywhere.
    """

    x0: Array
    x1: Array
    masses: Masses
    expected: Array
    coupling: Coupling
    size: int
    ruler: Array | None = None

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw pairs from as many minibatches as n requires."""
        rng = streams.numpy("pairs", segment, block)
        drawn = [self._batch(rng) for _ in range(-(-n // self.size))]
        x0, x1 = (np.concatenate(part)[:n].astype(np.float32) for part in zip(*drawn, strict=True))
        return x0, x1

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[GrowingBatches, GrowingBatches | None]":
        """Split the points of either end; each part is rescaled to the total mass."""
        (first, rows), (last, columns) = (
            some(mass, share, rng) for mass in (self.expected, self.masses.after)
        )
        if not (len(first) and len(last)):
            return self, None
        return self._between(rows, columns), self._between(first, last)

    def _between(self, rows: IntArray, columns: IntArray) -> "GrowingBatches":
        """Restrict the pairs to some points, rescaled to the total mass of all."""
        expected, after = only(self.expected, rows), only(self.masses.after, columns)
        more = self.expected.sum() / expected.sum()
        after *= self.masses.after.sum() / after.sum()
        masses = replace(self.masses, before=more * self.masses.before, after=after)
        return replace(self, masses=masses, expected=more * expected)

    def _batch(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Couple one minibatch and return its pairs."""
        i = systematic(self.expected, self.size, rng)
        j = systematic(self.masses.after, self.size, rng)
        met, after = (
            np.full(self.size, mass.sum() / self.size)
            for mass in (self.expected, self.masses.after)
        )
        ends = measured(self.x0[i], self.ruler), measured(self.x1[j], self.ruler)
        plan = self.coupling.plan(*ends, met, after, rng)
        before = met * self.masses.before[i] / self.expected[i]
        masses = Masses(before, after, self.masses.delta)
        x0, x1, whole = growing(self.x0[i], self.x1[j], plan, masses)
        rows, columns = whole.draw(self.size, rng)
        return x0[rows], x1[columns]


def growing(x0: Array, x1: Array, plan: Plan, masses: Masses) -> tuple[Array, Array, Plan]:
    """Append masses to the rows, and weight each pair by the mean mass of its ends.

    A pair of mass π_ij takes along m0 = π_ij before_i / (π1)_i and m1 = π_ij after_j / (πᵀ1)_j. So
    its ratio m1 / m0 is one number of j over one of i, and these become columns of the rows.
    Unmatched source points die where they are; unmatched targets are born where they are.

    Reference: Liero, Mielke & Savaré (2018), arXiv 1508.07941 (reduced and total masses)

    Args:
        x0: rows of the source, shape (n0, C).
        x1: rows of the target, shape (n1, C).
        plan: their coupling.
        masses: of the points.

    Returns:
        Rows of shape (n0 + births, C + 1 + k) and (n1 + deaths, C + 1 + k), whose additional
        columns hold the mass and δ, k = 1 or D, and the plan between them.
    """
    i, j, mass = plan.arrays()
    left, right = plan.marginals()
    met0, met1 = _met(left, masses.before), _met(right, masses.after)
    kept = met0[i] & met1[j]
    i, j, mass = i[kept], j[kept], mass[kept]
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = masses.before / left, masses.after / right
    dying, born = np.flatnonzero(~met0), np.flatnonzero(~met1)
    rows0 = _rows((x0, np.where(met0, a, 1.0)), (x1[born], 0.0), masses.delta)
    rows1 = _rows((x1, np.where(met1, b, 1.0)), (x0[dying], 0.0), masses.delta)
    pairs = [
        (i, j, mass * (a[i] + b[j]) / 2),
        (dying, len(x1) + np.arange(len(dying)), masses.before[dying] / 2),
        (len(x0) + np.arange(len(born)), born, masses.after[born] / 2),
    ]
    rows, columns, drawn = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return rows0, rows1, PairPlan(rows, columns, drawn, (len(rows0), len(rows1)))


def alone(plan: Plan, masses: Masses) -> tuple[float, float]:
    """Shares of source mass that dies in place and of target mass that is born in place."""
    left, right = plan.marginals()
    dead, new = ~_met(left, masses.before), ~_met(right, masses.after)
    return (
        float(masses.before[dead].sum() / masses.before.sum()),
        float(masses.after[new].sum() / masses.after.sum()),
    )


def _met(share: Array, mass: Array) -> npt.NDArray[np.bool_]:
    """Boolean mask of the points that a plan matches."""
    return np.asarray(share / share.sum() > _LEAST * mass / mass.sum())


def _rows(own: tuple[Array, Array], more: tuple[Array, float], delta: float | Array) -> Array:
    """Concatenate rows with further ones, and append columns of mass and δ."""
    points = np.concatenate([own[0], more[0]])
    mass = np.concatenate([own[1], np.full(len(more[0]), more[1])])
    lengths = np.atleast_1d(delta)
    return np.column_stack([points, mass, np.broadcast_to(lengths, (len(points), len(lengths)))])
