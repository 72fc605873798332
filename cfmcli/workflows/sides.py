"""Sides: the points at the two ends of a segment, and the results of pairing them."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmcli.data.arrays import Array
from cfmcli.data.maps import moments
from cfmcli.flows.coupling.excess import Excess
from cfmcli.flows.coupling.plans import Plan
from cfmcli.flows.coupling.resampling import systematic

SMALL = 5e-4
"""Fraction of left-out mass too small to report."""
RANDOM = "independent"
"""Name of the coupling that needs no solution."""
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Piece:
    """A plan over some points of two whole clouds.

    Args:
        plan: joint distribution, of mass 1 or less.
        rows: indices in the source of its rows, shape (n0,).
        columns: indices in the target of its columns, shape (n1,).
        share: factor of the plan's mass in the whole.
    """

    plan: Plan
    rows: Codes
    columns: Codes
    share: float = 1.0


@dataclass(frozen=True)
class PlanNote:
    """Result of a segment's coupling.

    Args:
        segment: labels of its two ends.
        scope: dataset, minibatch, pool or cells.
        coupling: the coupling actually used.
        cost: mean squared distance of its pairs in flow coordinates; NaN for minibatches.
        independent: the same for random pairs.
        seconds: time to solve it.
        left_out: fraction of the mass of either end that the plan leaves out; NaN for minibatches.
        pieces: plans over whole clouds, if any.
        excess: estimated excess cost above the exact plan, the largest over classes; None if the
            plan is exact, or if not known.
    """

    segment: tuple[str, str]
    scope: str
    coupling: str
    cost: float
    independent: float
    seconds: float
    left_out: tuple[float, float]
    pieces: tuple[Piece, ...] = ()
    excess: Excess | None = None

    def __str__(self) -> str:
        cost = "" if math.isnan(self.cost) else f", mean cost {self.cost:.4g}"
        over = f", {self.excess}" if self.excess else ""
        before, after = self.left_out
        out = f", {before:.1%} and {after:.1%} of the mass left out" if self.loss > SMALL else ""
        return (
            f"{self.ends}: {self.coupling} coupling, scope {self.scope}{cost} "
            f"(random pairs {self.independent:.4g}){over}{out}, {self.seconds:.1f} s"
        )

    @property
    def ends(self) -> str:
        """Labels of both ends."""
        return f"{self.segment[0]} -> {self.segment[1]}"

    @property
    def coupled_in_batches(self) -> bool:
        """Whether a coupling must be solved for every step."""
        return self.scope == "minibatch" and self.coupling != RANDOM

    @property
    def loss(self) -> float:
        """The larger fraction of left-out mass, 0 if not known."""
        return max(0.0, *self.left_out)

    def figures(self) -> dict[str, Any]:
        """The note as JSON values."""
        return {
            "from": self.segment[0],
            "to": self.segment[1],
            "scope": self.scope,
            "coupling": self.coupling,
            "mean_cost": _known(self.cost),
            "independent_cost": self.independent,
            "seconds": self.seconds,
            "left_out_from": _known(self.left_out[0]),
            "left_out_to": _known(self.left_out[1]),
            "excess": self.excess and self.excess.share,
            "excess_error": self.excess and self.excess.error,
            "excess_pairs": self.excess and self.excess.pairs,
        }


@dataclass(frozen=True, eq=False)
class Side:
    """The points at one end of a segment, in flow coordinates.

    Args:
        points: shape (n, D).
        weights: shape (n,), sum 1.
        condition: condition of each, shape (n, C), None without conditions of their own.
        classes: class of each, shape (n,), None without classes.
        masses: mass of each, shape (n,), None if masses are not used.
        expected: expected mass after the gap, as far as known in advance.
    """

    points: Array
    weights: Array
    condition: Array | None = None
    classes: Codes | None = None
    masses: Array | None = None
    expected: Array | None = None

    @property
    def rows(self) -> Array:
        """Points with their conditions as further columns."""
        if self.condition is None:
            return self.points
        return np.hstack((self.points, self.condition))

    def under(self, other: "Side", rng: np.random.Generator) -> "Side":
        """Complete this side with conditions drawn from another, if it has none of its own."""
        if self.condition is not None or other.condition is None:
            return self
        drawn = other.condition[systematic(other.weights, len(self.points), rng)]
        return replace(self, condition=drawn)

    def places(self, k: int) -> Codes:
        """Indices of the points of a class; all of them if the class is unknown or absent."""
        own = self.classes == k
        return np.flatnonzero(own) if np.any(own) else np.arange(len(self.points))

    def scaled(self, share: float) -> "Side":
        """Scale the masses, if any."""
        if self.masses is None or self.expected is None:
            return self
        return replace(self, masses=share * self.masses, expected=share * self.expected)

    def of_class(self, k: int) -> "Side":
        """Restrict to the points of a class; unchanged without classes."""
        if self.classes is None:
            return self
        own = self.places(k)
        condition, masses, expected = (
            None if part is None else part[own]
            for part in (self.condition, self.masses, self.expected)
        )
        weights = self.weights[own] / self.weights[own].sum()
        return Side(self.points[own], weights, condition, self.classes[own], masses, expected)


def _known(value: float) -> float | None:
    """Convert a number to JSON, NaN to None."""
    return None if math.isnan(value) else value


def independent_cost(source: Side | None, target: Side) -> float:
    """Mean squared distance of random pairs.

    Args:
        source: points at t = 0; None for N(0, I).
        target: points at t = 1.
    """
    mean1, spread1 = _moments(target)
    normal = (np.zeros_like(mean1), float(len(mean1)))
    mean0, spread0 = normal if source is None else _moments(source)
    return float(((mean0 - mean1) ** 2).sum() + spread0 + spread1)


def _moments(side: Side) -> tuple[Array, float]:
    """Weighted mean, shape (D,), and total variance."""
    mean, variance = moments(side.points, side.weights)
    return mean, float(variance.sum())
