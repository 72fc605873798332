"""Entropic transport: Sinkhorn iterations, stabilised against overflow at any regularisation."""

from typing import NamedTuple

import numpy as np

from cfmcli.data.arrays import Array

_RELAXATION = 1.5
"""Over-relaxation factor: halves the iterations of factor 1, or better; 2 would diverge."""

_SHRINK = 4.0
"""Factor between the regularisations of successive stages, from the largest cost down."""

_STAGE = (1e-2, 50)
"""Tolerance and number of iterations of the stages before the last."""

_SEARCH = (1e-3, 2_000)
"""Tolerance and number of iterations of intermediate solutions in the search for an entropy."""

_LEAST_REG, _STEP, _ENTROPY_ERROR = 1e-7, 1e-4, 5e-4
"""Stopping criteria of the search: reg relative to the largest cost, step in log reg, and error."""

_TINY, _HUGE = 1e-200, 1e50


class Entropic(NamedTuple):
    """An entropic transport problem.

    Args:
        cost: costs, shape (n0, n1), finite, >= 0.
        w0: masses of the rows, shape (n0,), > 0, sum 1.
        w1: masses of the columns, shape (n1,), > 0, sum 1.
        reg_m: penalty of marginals other than w0 and w1, > 0, in units of the cost; inf forbids
            them.
    """

    cost: Array
    w0: Array
    w1: Array
    reg_m: float = np.inf


class Solution(NamedTuple):
    """Dual potentials, the plan they define, and its marginal error.

    Args:
        f: potentials of the rows, shape (n0,).
        g: potentials of the columns, shape (n1,).
        plan: exp((f_i + g_j - cost_ij) / reg), shape (n0, n1).
        error: L1 distance of its marginals from their targets, as a share of its mass.
    """

    f: Array
    g: Array
    plan: Array
    error: float


def solve(problem: Entropic, reg: float, tolerance: float, iterations: int) -> Solution:
    """Solve entropic transport, decreasing the regularisation in stages to the requested one.

    min over π ≥ 0 of Σ π_ij cost_ij + reg KL(π | w0 ⊗ w1) + reg_m KL(π1 | w0) + reg_m KL(πᵀ1 | w1)

    Reference: Cuturi (2013), arXiv 1306.0895; Schmitzer (2019), arXiv 1610.06519; Chizat et al.
    (2018), arXiv 1607.05816; Séjourné et al. (2022), arXiv 2201.00730 (translations)

    Args:
        problem: costs and masses.
        reg: regularisation, > 0, in units of the cost.
        tolerance: error of the marginals at which to stop.
        iterations: iterations after which to stop.

    Returns:
        The solution; where marginals are fixed, `rounded` makes them exact.
    """
    state = _blank(problem)
    for stage in _stages(float(problem.cost.max()), reg):
        state = _iterate(problem, stage, state, *_STAGE)
    return _iterate(problem, reg, state, tolerance, iterations)


def solve_to_entropy(
    problem: Entropic, entropy: float, tolerance: float, iterations: int
) -> tuple[float, Solution]:
    """Solve entropic transport for a given renormalised entropy, by bisection on log reg.

    Args:
        problem: costs and masses, the marginals fixed.
        entropy: the goal, in (0, 1).
        tolerance: error of the marginals at which to stop.
        iterations: iterations after which to stop, at the last regularisation.

    Returns:
        The regularisation and its solution; the smallest one tried if even that has more entropy
        than requested.
    """
    place, step, state = np.log(max(float(problem.cost.max()), _TINY)), np.log(_SHRINK), None
    least, sign, passed = place + np.log(_LEAST_REG), 0.0, False
    while step > _STEP and place > least:
        state = _iterate(problem, np.exp(place), state or _blank(problem), *_SEARCH)
        excess = renormalised_entropy(state.plan / state.plan.sum()) - entropy
        if not abs(excess) > _ENTROPY_ERROR:
            break
        passed = passed or sign * excess > 0
        sign = -np.sign(excess)
        step = step / 2 if passed else step
        place += sign * step
    reg = float(np.exp(place))
    return reg, _iterate(problem, reg, state or _blank(problem), tolerance, iterations)


def renormalised_entropy(plan: Array) -> float:
    """Blur of a plan: 0 for a permutation or a map, 1 for the independent coupling.

    E = 1 - (H0 + H1 - H) / min(H0, H1), with the entropies H0, H1 of the marginals and H of the
    plan; H / log n - 1 for n points of equal weight on both sides. It rises with reg.

    Reference: Zhang et al. (2025), arXiv 2506.05526, there for equal sizes and weights

    Args:
        plan: masses, shape (n0, n1), >= 0, sum 1.
    """
    smaller = min(_entropy(plan.sum(1)), _entropy(plan.sum(0)))
    information = _entropy(plan.sum(1)) + _entropy(plan.sum(0)) - _entropy(plan.ravel())
    return float(1 - information / smaller) if smaller > 0 else 1.0


def rounded(plan: Array, w0: Array, w1: Array) -> Array:
    """Round a plan to exact marginals: scale down excess, then spread out the missing mass.

    Reference: Altschuler, Weed and Rigollet (2017), arXiv 1705.09634, algorithm 2

    Args:
        plan: masses, shape (n0, n1), >= 0.
        w0: masses of the rows, shape (n0,), > 0, sum 1.
        w1: masses of the columns, shape (n1,), > 0, sum 1.
    """
    plan = np.asarray(plan * np.minimum(w0 / plan.sum(1), 1.0)[:, None])
    plan *= np.minimum(w1 / plan.sum(0), 1.0)
    missing0, missing1 = np.maximum(w0 - plan.sum(1), 0.0), np.maximum(w1 - plan.sum(0), 0.0)
    plan += np.outer(missing0, missing1) / max(missing0.sum(), _TINY)
    return plan


def _entropy(mass: Array) -> float:
    """Shannon entropy -Σ m log m of the nonzero masses."""
    kept = mass[mass > 0]
    return float(-(kept * np.log(kept)).sum())


def _blank(problem: Entropic) -> Solution:
    """Initial state of the iterations: zero potentials."""
    return Solution(np.zeros_like(problem.w0), np.zeros_like(problem.w1), problem.cost, np.inf)


def _stages(largest: float, reg: float) -> list[float]:
    """Regularisations of the stages, from the largest cost down, all above the goal."""
    count = max(int(np.ceil(np.log(max(largest / reg, 1.0)) / np.log(_SHRINK))), 0)
    return [largest / _SHRINK**k for k in range(count)]


def _iterate(
    problem: Entropic, reg: float, start: Solution, tolerance: float, iterations: int
) -> Solution:
    """Iterate at one regularisation; scalings that grow large are absorbed into the potentials."""
    cost, w0, w1, reg_m = problem
    firm, ratio = 1 / (1 + reg / reg_m), _ratio if np.isfinite(reg_m) else np.divide
    f, g, done = start.f, start.g, 0
    while True:
        g = reg * np.log(w1) + firm * _soft_minimum(cost.T - f, reg)
        f = reg * np.log(w0) + firm * _soft_minimum(cost - g, reg)
        kernel = np.exp((f[:, None] + g - cost) / reg)
        kernel[kernel < _TINY] = 0.0  # arithmetic on subnormal numbers is slow
        goal0, goal1 = w0 * np.exp(-f / (reg + reg_m)), w1 * np.exp(-g / (reg + reg_m))
        if np.isfinite(reg_m):  # points too far from all others keep their potentials
            goal0, goal1 = goal0 * kernel.any(1), goal1 * kernel.any(0)
        u, v, columns = np.ones_like(f), np.ones_like(g), kernel.sum(0)
        while max(u.max(), v.max(), 1 / u.min(), 1 / v.min()) < _HUGE:
            v *= ratio(goal1, v * columns**firm) ** _RELAXATION
            rows = kernel @ v
            u *= ratio(goal0, u * rows**firm) ** _RELAXATION
            if np.isfinite(reg_m):
                shift = _translation(problem, reg, f + reg * np.log(u), g + reg * np.log(v))
                u, v, rows = u * shift, v / shift, rows / shift
            columns = u @ kernel
            done += 1
            lack = (v * columns) @ np.abs(1 - ratio(goal1, v * columns**firm))
            lack += (u * rows) @ np.abs(1 - ratio(goal0, u * rows**firm))
            error = lack / (u @ rows)
            if error < tolerance or done >= iterations or not np.isfinite(error):
                plan = u[:, None] * kernel * v
                return Solution(f + reg * np.log(u), g + reg * np.log(v), plan, float(error))
        f, g = f + reg * np.log(u), g + reg * np.log(v)


def _ratio(goal: Array, value: Array) -> Array:
    """Elementwise goal / value, with 1 where the goal is zero."""
    return np.divide(goal, value, out=np.ones_like(goal), where=goal > 0)


def _translation(problem: Entropic, reg: float, f: Array, g: Array) -> float:
    """Factor between u and 1 / v that balances the penalties of the two relaxed marginals."""
    loads = [
        log_sum(np.log(w) - (potential - reg * np.log(w)) / problem.reg_m)
        for w, potential in ((problem.w0, f), (problem.w1, g))
    ]
    return float(np.exp(problem.reg_m / (2 * reg) * (loads[0] - loads[1])))


def log_sum(x: Array) -> float:
    """log Σ exp x, without overflow."""
    return float(x.max() + np.log(np.exp(x - x.max()).sum()))


def _soft_minimum(cost: Array, reg: float) -> Array:
    """Soft minimum over columns, -reg log Σ_j exp(-cost_ij / reg), shape (n0,)."""
    least = cost.min(1)
    return np.asarray(least - reg * np.log(np.exp((least[:, None] - cost) / reg).sum(1)))
