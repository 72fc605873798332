"""Wasserstein-Fisher-Rao: pairs between clouds of different mass that grow on the way."""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from cfmcli.data.table import Array
from cfmcli.errors import CfmWarning, ConfigError, NumericsError
from cfmcli.flows.coupling import costs, simplex, sinkhorn
from cfmcli.flows.coupling.couplings import Coupling, normalised
from cfmcli.flows.coupling.plans import PairPlan, Plan, pair_costs, systematic
from cfmcli.flows.coupling.relaxed import relaxed_pairs

MOST_PAIRS = 25_000_000
"""Largest n0 n1 at which one plan takes about a minute and 1 GiB."""

TYPICAL = 2.5
"""The default delta in units of the typical displacement."""

_JUDGED = 1_000
"""Points of each cloud that tell the typical displacement."""

_GAP, _WORTH = 2e-3, 5e-2
"""Shares of the value: by which a plan may miss the optimum, and which is worth a warning."""

_FAR = 60.0
"""Cost beyond which a pair has no mass: the cost at a distance of pi delta is infinite."""


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
            a multiple of the typical displacement, the median distance of optimal pairs.
    """

    delta: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.delta) and self.delta >= 0):
            raise ConfigError(
                f"wfr: delta is {self.delta}, expected a positive length, or 0 for the default; "
                "for no growth in places use exact."
            )

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """A plan of sum 1 whose marginals lean toward points with a near counterpart."""
        delta = self.settled(x0, x1, w0, w1, rng).delta
        angles = costs.cost_matrix(x0, x1, "euclidean") / (2 * delta)
        with np.errstate(divide="ignore"):
            cost = -2 * np.log(np.maximum(np.cos(np.minimum(angles, np.pi / 2)), 0.0))
        problem = sinkhorn.Entropic(np.minimum(cost, _FAR), normalised(w0), normalised(w1), 1.0)
        if cost.min() >= _FAR:
            raise NumericsError(
                f"wfr: with delta = {delta:g} nothing is within reach, which ends at "
                f"{np.pi * delta:g}; raise delta, or leave it at its default."
            )
        i, j, mass, value, gap = relaxed_pairs(problem, _GAP)
        if gap > _WORTH * max(value, _WORTH):
            warnings.warn(
                f"wfr: the plan may miss the optimum by {gap / value:.1%} with delta = {delta:g}; "
                "a larger delta makes a smoother problem.",
                CfmWarning,
                stacklevel=2,
            )
        near = cost[i, j] < _FAR
        return PairPlan(i[near], j[near], mass[near] / mass[near].sum(), cost.shape)

    def whole(self, n0: int, n1: int) -> Coupling | None:
        """Itself up to 5,000 x 5,000 points, minibatches beyond."""
        return self if n0 * n1 <= MOST_PAIRS else None

    def settled(
        self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator
    ) -> "FisherRao":
        """The same with a δ above 0: where it is 0, a multiple of the typical displacement.

        Args:
            x0: source points, shape (n0, D).
            x1: target points, shape (n1, D).
            w0: masses of the source, shape (n0,), > 0.
            w1: masses of the target, shape (n1,), > 0.
            rng: which points are asked, where there are many.
        """
        if self.delta:
            return self
        some, others = (
            x if len(x) <= _JUDGED else x[systematic(w, _JUDGED, rng)]
            for x, w in ((x0, w0), (x1, w1))
        )
        weights = (np.full(len(x), 1 / len(x)) for x in (some, others))
        q0, q1 = simplex.quantised(*weights)
        i, j, mass = simplex.solve(q0, q1, costs.cost_matrix(some, others, costs.SQUARED))
        typical = _median(np.sqrt(pair_costs(some, others, i, j)), mass)
        return replace(self, delta=TYPICAL * typical or 1.0)


def _median(values: Array, mass: Array) -> float:
    """The value below which half of the mass lies."""
    order = np.argsort(values)
    line = np.cumsum(mass[order])
    return float(values[order][np.searchsorted(line, line[-1] / 2)])
