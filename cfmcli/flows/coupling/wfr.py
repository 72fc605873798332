"""Wasserstein-Fisher-Rao coupling: pairs of clouds of different mass, which grow or shrink."""

import warnings
from dataclasses import dataclass

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.maps import moments
from cfmcli.errors import CfmWarning, ConfigError, NumericsError
from cfmcli.flows.coupling import costs, simplex, sinkhorn
from cfmcli.flows.coupling.couplings import Coupling, normalised
from cfmcli.flows.coupling.plans import PairPlan, Plan
from cfmcli.flows.coupling.relaxed import relaxed_pairs
from cfmcli.flows.coupling.resampling import systematic

MOST_PAIRS = 25_000_000
"""Largest n0 n1 for which one plan takes about a minute and 1 GiB."""

TYPICAL = 2.5
"""Default delta in units of the typical displacement."""

NULL = 1e-6
"""Smallest deviation along an axis, relative to the largest; anything below is rounding error."""
LEAST = 0.1
"""Smallest typical displacement along an axis, relative to the deviation within the clouds."""

_JUDGED = 1_000
"""Number of points of each cloud used to estimate the typical displacement."""

_GAP, _WORTH = 2e-3, 5e-2
"""Relative optimality gaps: the tolerance of a plan, and the gap above which it warns."""

_FAR = 60.0
"""Cap of the cost, at which a pair has no mass; the cost is infinite at a distance of pi delta."""


@dataclass(frozen=True)
class FisherRao(Coupling):
    """Pairs that move mass where that is near, and let it grow or shrink where it is not.

    π = argmin over π ≥ 0 of Σ π_ij c_ij + KL(π1 | q0) + KL(πᵀ1 | q1) with
    c_ij = -2 log cos(min(|x0_i - x1_j| / 2δ, π/2)), then divided by its total mass

    Total masses other than 1 change nothing but that total; 2δ² times the least value is WFR².
    δ → ∞ gives `Exact` and the same growth everywhere; nothing is moved farther than πδ.

    Reference: Liero, Mielke & Savaré (2018), arXiv 1508.07941; Chizat et al. (2018),
    arXiv 1508.05216
    Use: populations that grow and die, with the path wfr and the objective velocity+growth.

    Args:
        delta: length δ in flow coordinates at which moving costs what growing does, >= 0; 0 takes
            one of each axis, a multiple of what optimal pairs typically move along it.
    """

    delta: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.delta) and self.delta >= 0):
            raise ConfigError(
                f"wfr: delta is {self.delta}, expected a positive length, or 0 for the default; "
                "for no growth in places use exact."
            )

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute a plan of sum 1 whose marginals favour points with a near counterpart."""
        lengths = self.lengths(x0, x1, w0, w1, rng)
        angles = costs.cost_matrix(x0 / lengths, x1 / lengths, "euclidean") / 2
        with np.errstate(divide="ignore"):
            cost = -2 * np.log(np.maximum(np.cos(np.minimum(angles, np.pi / 2)), 0.0))
        problem = sinkhorn.Entropic(np.minimum(cost, _FAR), normalised(w0), normalised(w1), 1.0)
        if cost.min() >= _FAR:
            raise NumericsError(
                f"wfr: with {told(lengths)} nothing is within reach, which ends at pi times "
                "delta; raise delta, or leave it at its default."
            )
        i, j, mass, value, gap = relaxed_pairs(problem, _GAP)
        if gap > _WORTH * max(value, _WORTH):
            warnings.warn(
                f"wfr: the plan may miss the optimum by {gap / value:.1%} with {told(lengths)}; "
                "a larger delta makes a smoother problem.",
                CfmWarning,
                stacklevel=2,
            )
        near = cost[i, j] < _FAR
        return PairPlan(i[near], j[near], mass[near] / mass[near].sum(), cost.shape)

    def whole(self, n0: int, n1: int) -> Coupling | None:
        """This coupling up to 5,000 x 5,000 points, minibatches beyond."""
        return self if n0 * n1 <= MOST_PAIRS else None

    def lengths(
        self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator
    ) -> Array:
        """Growth length δ of each axis, shape (D,): as given, else from the typical displacement.

        Optimal pairs of the clouds, each axis scaled by its deviation, move by Δ. An axis has
        a = median |Δ_d|, and δ_d = 5/2 a median |Δ / a|: the unit of the data does not matter,
        and a difference along an axis on which nothing moves is attributed to growth.

        Args:
            x0: source points, shape (n0, D).
            x1: target points, shape (n1, D).
            w0: masses of the source, shape (n0,), > 0.
            w1: masses of the target, shape (n1,), > 0.
            rng: source of randomness for subsampling large clouds.
        """
        if self.delta:
            return np.full(x0.shape[1], self.delta)
        (some, own), (others, theirs) = (_some(x, w, rng) for x, w in ((x0, w0), (x1, w1)))
        spread = np.sqrt((moments(some, own)[1] + moments(others, theirs)[1]) / 2)
        spread = np.maximum(spread, NULL * spread.max()) if spread.any() else np.ones_like(spread)
        q0, q1 = simplex.quantised(own, theirs)
        cost = costs.cost_matrix(some / spread, others / spread, costs.SQUARED)
        i, j, mass = simplex.solve(q0, q1, cost)
        gaps = np.abs(some[i] - others[j])
        axes = np.array([_median(gap, mass) for gap in gaps.T])
        axes = np.maximum(axes, LEAST * spread)
        typical = _median(np.sqrt(((gaps / axes) ** 2).sum(axis=1)), mass)
        return TYPICAL * typical * axes if typical else spread


def _some(x: Array, w: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Subsample a cloud, with weights of sum 1, to estimate the typical displacement."""
    if len(x) <= _JUDGED:
        return x, normalised(w)
    return x[systematic(w, _JUDGED, rng)], np.full(_JUDGED, 1 / _JUDGED)


def told(lengths: Array) -> str:
    """Describe δ in words: one value, or its range over the axes."""
    low, high = float(lengths.min()), float(lengths.max())
    return f"delta = {low:.4g}" if low == high else f"delta = {low:.4g} to {high:.4g} by axis"


def _median(values: Array, mass: Array) -> float:
    """Weighted median."""
    order = np.argsort(values)
    line = np.cumsum(mass[order])
    return float(values[order][np.searchsorted(line, line[-1] / 2)])
