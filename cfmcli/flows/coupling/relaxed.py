"""Relaxed couplings: plans that may leave out distant points or a share of the mass."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.errors import CfmWarning, ConfigError, NumericsError
from cfmcli.flows.coupling import costs, simplex, sinkhorn
from cfmcli.flows.coupling.couplings import Coupling, fits_exact, normalised
from cfmcli.flows.coupling.plans import DensePlan, PairPlan, Plan

_TOLERANCE, _ITERATIONS = 1e-4, 10_000

_GAP, _STEPS = 2e-4, 50
"""Relative tolerance of a plan without entropy, and the maximum number of steps."""

_BLUR, _BLURRED = 3e-4, (1e-2, 200)
"""Initial entropic plan: reg as a share of the smaller of reg_m and the mean cost, then its
tolerance and number of iterations."""

_LEAST_MASS = 1e-12
"""Transported share of the mass below which a plan is meaningless."""


@dataclass(frozen=True)
class Unbalanced(Coupling):
    """Optimal pairs that may leave far points behind: marginals are a price, not a law.

    π = argmin over π ≥ 0 of Σ π_ij c_ij + reg KL(π | q0 ⊗ q1)
    + reg_m KL(π1 | q0) + reg_m KL(πᵀ1 | q1), then divided by its total mass

    reg_m → ∞ gives `Sinkhorn` and, with reg = 0, `Exact`; pairs much dearer than 2 reg_m vanish.

    Reference: Chizat et al. (2018), arXiv 1607.05816; Séjourné et al. (2022), arXiv 2201.00730
    Use: where cells grow, die or appear in between, and for outliers on either side.

    Args:
        reg_m: price of marginals other than the weights, > 0, in the unit of the cost.
        reg: entropic regularisation, >= 0, in the unit of the cost; 0 gives few, sharp pairs.
        cost: cost c of a pair: sqeuclidean, euclidean, cosine, or another distance of SciPy.
    """

    reg_m: float = 1.0
    reg: float = 0.05
    cost: str = costs.SQUARED

    def __post_init__(self) -> None:
        if not (np.isfinite(self.reg_m) and self.reg_m > 0):
            raise ConfigError(
                f"unbalanced: reg_m is {self.reg_m}, expected a positive number; for fixed "
                "marginals use exact or sinkhorn."
            )
        if not (np.isfinite(self.reg) and self.reg >= 0):
            raise ConfigError(f"unbalanced: reg is {self.reg}, expected 0 or a positive number.")
        costs.check_metric("unbalanced", self.cost)

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute a plan of sum 1 whose marginals favour points with a near counterpart."""
        cost = costs.cost_matrix(x0, x1, self.cost)
        problem = sinkhorn.Entropic(cost, normalised(w0), normalised(w1), self.reg_m)
        if self.reg == 0:
            found = relaxed_pairs(problem)
            if found.gap > _GAP * max(found.value, _GAP * self.reg_m):
                missed = found.gap / found.value
                warnings.warn(
                    f"unbalanced: the plan may miss the optimum by {missed:.1%} after {_STEPS} "
                    f"steps with reg_m = {self.reg_m:g}; for a smoother problem set reg above 0.",
                    CfmWarning,
                    stacklevel=2,
                )
            return PairPlan(found.i, found.j, found.mass / found.mass.sum(), cost.shape)
        with np.errstate(all="ignore"):
            solution = sinkhorn.solve(problem, self.reg, _TOLERANCE, _ITERATIONS)
        _check_mass(solution.plan, problem)
        if solution.error > _TOLERANCE:
            warnings.warn(
                f"unbalanced: not converged after {_ITERATIONS} iterations with reg = "
                f"{self.reg:g} and reg_m = {self.reg_m:g}; {solution.error:.1e} of the mass is "
                "out of place. Raise reg, or use reg=0.",
                CfmWarning,
                stacklevel=2,
            )
        return DensePlan(solution.plan / solution.plan.sum())

    def whole(self, n0: int, n1: int) -> Coupling | None:
        """This coupling up to 4,000 x 4,000 points, minibatches beyond."""
        return self if fits_exact(n0, n1) else None


@dataclass(frozen=True)
class Partial(Coupling):
    """Optimal pairs of a share of the mass: the dearest points stay unpaired on both sides.

    π = argmin of Σ π_ij c_ij over π ≥ 0 with π1 ≤ q0, πᵀ1 ≤ q1 and total `mass`,
    then divided by `mass`

    Reference: Caffarelli and McCann (2010), doi 10.4007/annals.2010.171.673; Chapel et al.
    (2020), arXiv 2002.08276
    Use: where a known share of the points has no counterpart, such as outliers.

    Args:
        mass: share of the mass that is paired, above 0 and up to 1; 1 gives `Exact`.
        cost: cost c of a pair: sqeuclidean, euclidean, cosine, or another distance of SciPy.
    """

    mass: float = 0.9
    cost: str = costs.SQUARED

    def __post_init__(self) -> None:
        if not 0 < self.mass <= 1:
            raise ConfigError(
                f"partial: mass is {self.mass}, expected a number above 0 and up to 1."
            )
        costs.check_metric("partial", self.cost)

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute a plan of sum 1 whose marginals are at most the weights divided by `mass`."""
        q0, q1 = simplex.quantised(normalised(w0), normalised(w1))
        cost = costs.cost_matrix(x0, x1, self.cost)
        paired = max(np.rint(self.mass * q0.sum()), 1.0)
        i, j, quanta = _paired(q0, q1, cost, q0.sum() - paired)
        return PairPlan(i, j, quanta / paired, cost.shape)

    def whole(self, n0: int, n1: int) -> Coupling | None:
        """This coupling up to 4,000 x 4,000 points, minibatches beyond."""
        return self if fits_exact(n0, n1) else None


def _paired(q0: Array, q1: Array, cost: Array, left: float) -> tuple[IntArray, IntArray, Array]:
    """Solve partial transport with `left` unpaired quanta, by a free dummy point on each side."""
    if left == 0:
        return simplex.solve(q0, q1, cost)
    n0, n1 = cost.shape
    extended = np.zeros((n0 + 1, n1 + 1))
    extended[:n0, :n1] = cost
    extended[n0, n1] = 2 * cost.max() + 1  # no transport between the free points
    i, j, quanta = simplex.solve(np.append(q0, left), np.append(q1, left), extended)
    kept = (i < n0) & (j < n1)
    return i[kept], j[kept], quanta[kept]


class Relaxed(NamedTuple):
    """An unbalanced plan: deviations of its marginals from the weights are penalised.

    Args:
        i: rows that carry mass, shape (k,).
        j: their columns, shape (k,).
        mass: masses of the pairs, shape (k,), not normalised.
        value: dual objective value, marginal penalties included.
        gap: Frank-Wolfe gap, a bound on the distance of the value from the optimum.
    """

    i: IntArray
    j: IntArray
    mass: Array
    value: float
    gap: float


def relaxed_pairs(problem: sinkhorn.Entropic, tolerance: float = _GAP) -> Relaxed:
    """Solve unbalanced transport without entropy, as exact transport between reweighted clouds.

    The best potentials reweight the clouds to w0 exp(-f / reg_m) and w1 exp(-g / reg_m). They are
    found by steps toward the potentials of exact transport between the clouds so reweighted
    (Frank-Wolfe), from those of an entropic plan. The gap between the two bounds the error.

    Reference: Séjourné et al. (2022), arXiv 2201.00730, sec. 4

    Args:
        problem: costs, masses and a finite reg_m.
        tolerance: relative gap at which to stop; after 50 steps it may be larger.

    Returns:
        At most n0 + n1 - 1 pairs.

    Raises:
        NumericsError: hardly any mass is worth transporting.
    """
    cost, w0, w1, reg_m = problem
    f, g = _first_prices(problem)
    for _ in range(_STEPS):
        with np.errstate(all="ignore"):
            mass0, mass1 = w0 * np.exp(-f / reg_m), w1 * np.exp(-g / reg_m)
        _check_mass(mass0, problem)
        goal = simplex.solve_with_prices(*simplex.quantised(mass0, mass1), cost)
        f1, g1 = _balanced(problem, goal.f, goal.g)
        gap = mass0 @ (f1 - f) + mass1 @ (g1 - g)
        value = float(-reg_m * (w0 @ np.expm1(-f / reg_m) + w1 @ np.expm1(-g / reg_m)))
        if gap <= tolerance * max(value, _GAP * reg_m):
            break
        step = _line_search(problem, (f, g), (f1 - f, g1 - g))
        f, g = _balanced(problem, f + step * (f1 - f), g + step * (g1 - g))
    mass = goal.mass * (mass0.sum() / goal.mass.sum())
    return Relaxed(goal.i, goal.j, mass, value, float(gap))


def _first_prices(problem: sinkhorn.Entropic) -> tuple[Array, Array]:
    """Initial potentials: those of an entropic plan, made dual feasible."""
    cost, w0, _, reg_m = problem
    reg = _BLUR * min(reg_m, float(cost.mean()))
    if reg == 0:
        return np.zeros(len(w0)), np.zeros(cost.shape[1])
    with np.errstate(all="ignore"):
        f = sinkhorn.solve(problem, reg, *_BLURRED).f - reg * np.log(w0)
    f = f if np.isfinite(f).all() else np.full(len(w0), cost.min() / 2)
    g = (cost - f[:, None]).min(0)
    return _balanced(problem, (cost - g).min(1), g)


def _balanced(problem: sinkhorn.Entropic, f: Array, g: Array) -> tuple[Array, Array]:
    """Shift the potentials against each other so that both reweighted clouds have equal mass."""
    _, w0, w1, reg_m = problem
    loads = sinkhorn.log_sum(np.log(w0) - f / reg_m), sinkhorn.log_sum(np.log(w1) - g / reg_m)
    shift = reg_m / 2 * (loads[0] - loads[1])
    return f + shift, g - shift


def _line_search(
    problem: sinkhorn.Entropic, start: tuple[Array, Array], change: tuple[Array, Array]
) -> float:
    """Find the step in [0, 1] that maximises the dual value, by bisection on its slope."""
    _, w0, w1, reg_m = problem
    low, high = 0.0, 1.0
    for _ in range(40):
        step = (low + high) / 2
        with np.errstate(all="ignore"):
            slope = sum(
                (w * np.exp(-(s + step * c) / reg_m)) @ c
                for w, s, c in zip((w0, w1), start, change, strict=True)
            )
        low, high = (step, high) if slope > 0 else (low, step)
    return high


def _check_mass(masses: Array, problem: sinkhorn.Entropic) -> None:
    """Raise if the total mass is not finite or nearly zero."""
    total = float(masses.sum())
    if not (np.isfinite(total) and total > _LEAST_MASS):
        raise NumericsError(
            f"unbalanced: hardly any mass ({total:.1e} of 1) is worth transporting with reg_m = "
            f"{problem.reg_m:g} and costs from {problem.cost.min():g} to {problem.cost.max():g}; "
            "raise reg_m to about the costs, or use exact."
        )
