"""Entropic transport: Sinkhorn iterations that no regularisation can overflow."""

from typing import NamedTuple

import numpy as np

from cfmcli.data.table import Array

_RELAXATION = 1.5
"""Over-relaxation of the updates: half the iterations of 1, or fewer; 2 would diverge."""

_SHRINK = 4.0
"""Each stage divides the regularisation by this, from the largest cost down to its goal."""

_STAGE = (1e-2, 50)
"""Tolerance and iterations of the stages before the last."""

_TINY, _HUGE = 1e-200, 1e50


class Entropic(NamedTuple):
    """An entropic problem.

    Args:
        cost: costs, shape (n0, n1), finite, >= 0.
        w0: masses of the rows, shape (n0,), > 0, sum 1.
        w1: masses of the columns, shape (n1,), > 0, sum 1.
    """

    cost: Array
    w0: Array
    w1: Array


class _State(NamedTuple):
    """Potentials f, g, the plan they stand for and the L1 error of its marginals."""

    f: Array
    g: Array
    plan: Array
    error: float


def solve(problem: Entropic, reg: float, tolerance: float, iterations: int) -> tuple[Array, float]:
    """The entropic plan, rounded to exact marginals.

    min over plans π with marginals w0, w1 of Σ π_ij cost_ij + reg Σ π_ij (log π_ij - 1)

    Reference: Schmitzer (2019), arXiv 1610.06519 (scaling and absorption); Thibault et al.
    (2021), arXiv 1711.01851 (over-relaxation); Altschuler et al. (2017), arXiv 1705.09634,
    algorithm 2 (rounding)

    Args:
        problem: costs and masses.
        reg: regularisation, > 0, in units of the cost.
        tolerance: L1 error of the marginals at which to stop.
        iterations: iterations after which to stop.

    Returns:
        The plan, shape (n0, n1), and the L1 error of its marginals before rounding.
    """
    state = _State(np.zeros_like(problem.w0), np.zeros_like(problem.w1), problem.cost, np.inf)
    for stage in _stages(float(problem.cost.max()), reg):
        state = _iterate(problem, stage, state, *_STAGE)
    state = _iterate(problem, reg, state, tolerance, iterations)
    return _rounded(state.plan, problem.w0, problem.w1), state.error


def _stages(largest: float, reg: float) -> list[float]:
    """Regularisations on the way from the largest cost to the goal, without it."""
    count = max(int(np.ceil(np.log(max(largest / reg, 1.0)) / np.log(_SHRINK))), 0)
    return [largest / _SHRINK**k for k in range(count)]


def _iterate(
    problem: Entropic, reg: float, state: _State, tolerance: float, iterations: int
) -> _State:
    """Iterate at one regularisation; scalings that grow large move into the potentials."""
    cost, w0, w1 = problem
    f, g, done, error = state.f, state.g, 0, np.inf
    while True:
        g = reg * np.log(w1) + _soft_minimum(cost.T - f, reg)
        f = reg * np.log(w0) + _soft_minimum(cost - g, reg)
        kernel = np.exp((f[:, None] + g - cost) / reg)
        kernel[kernel < _TINY] = 0.0  # arithmetic on subnormal numbers is slow
        u, v, columns = np.ones_like(f), np.ones_like(g), kernel.sum(0)
        while max(u.max(), v.max(), 1 / u.min(), 1 / v.min()) < _HUGE:
            v *= (w1 / (v * columns)) ** _RELAXATION
            rows = kernel @ v
            u *= (w0 / (u * rows)) ** _RELAXATION
            columns = u @ kernel
            done += 1
            error = np.abs(v * columns - w1).sum() + np.abs(u * rows - w0).sum()
            if error < tolerance or done >= iterations or not np.isfinite(error):
                plan = u[:, None] * kernel * v
                return _State(f + reg * np.log(u), g + reg * np.log(v), plan, float(error))
        f, g = f + reg * np.log(u), g + reg * np.log(v)


def _soft_minimum(cost: Array, reg: float) -> Array:
    """-reg log Σ_j exp(-cost_ij / reg), shape (n0,)."""
    least = cost.min(1)
    return np.asarray(least - reg * np.log(np.exp((least[:, None] - cost) / reg).sum(1)))


def _rounded(plan: Array, w0: Array, w1: Array) -> Array:
    """The plan with exact marginals: cut down what is too much, spread out what is missing."""
    plan = np.asarray(plan * np.minimum(w0 / plan.sum(1), 1.0)[:, None])
    plan *= np.minimum(w1 / plan.sum(0), 1.0)
    missing0, missing1 = np.maximum(w0 - plan.sum(1), 0.0), np.maximum(w1 - plan.sum(0), 0.0)
    plan += np.outer(missing0, missing1) / max(missing0.sum(), _TINY)
    return plan
