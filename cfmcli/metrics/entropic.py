"""Entropic transport without its bias: a distance that few samples estimate well."""

import warnings
from typing import NamedTuple

import numpy as np

from cfmcli.errors import CfmWarning, DataError, NumericsError
from cfmcli.metrics.clouds import Array, Points, Weights, as_cloud, as_weights, checked

_SHARE = 0.5
"""The default regularisation, as a part of the reference's total variance."""

_RELAXATION = 1.5
"""Over-relaxation of the updates: half the iterations of 1, or fewer; 2 would diverge."""

_EASY, _SHRINK, _STAGE = 2.0**-8, 4.0, (1e-2, 50)
"""From that part of the largest cost down, each stage divides the regularisation; its effort."""

_TOLERANCE, _ITERATIONS, _SETTLED = 1e-5, 2000, 1e-3
"""L1 error of the marginals at which to stop, iterations at most, and the error to speak of."""

_FINEST, _TINY, _HUGE = 1e-10, 1e-200, 1e50


def sinkhorn_divergence(
    x: Points, y: Points, a: Weights = None, b: Weights = None, reg: float | None = None
) -> float:
    """Sinkhorn divergence: entropic W2 squared without its bias, so that equal clouds are at zero.

    S = OT(x, y) - OT(x, x)/2 - OT(y, y)/2,  OT = min over plans π with marginals a, b of
    Σᵢⱼ πᵢⱼ |xᵢ - yⱼ|² + reg KL(π | a ⊗ b)

    S tends to W₂² as reg falls to zero and to the squared distance of the means as it grows. It is
    a square, unlike the other distances. The larger reg, the lower its floor: in 50 dimensions the
    default brings it from the size of W₂² down to a few hundredths of that.

    Reference: Feydy et al. (2019), arXiv 1810.08278; solved in logarithms with absorption,
    Schmitzer (2019), arXiv 1610.06519, and over-relaxation, Thibault et al. (2021),
    arXiv 1711.01851.

    Use: beside W2 in many dimensions, where W2 between samples is mostly floor.

    Args:
        x, y, a, b: the clouds and their weights, as for `w1`.
        reg: regularisation > 0, in squared units of x. None takes `default_reg(y, b)`, the same
            for every cloud judged against y; with a stated reg the divergence is symmetric.

    Returns:
        S >= 0, in squared units of x.

    Raises:
        DataError: the clouds, weights or regularisation are empty, not finite, or do not fit.
        NumericsError: the regularisation is too small for numbers to hold.
    """
    clouds = checked(x, y, a, b)
    value = default_reg(clouds.y, clouds.b) if reg is None else reg
    if not (np.isfinite(value) and value > 0):
        raise DataError(
            f"Sinkhorn divergence: the regularisation must be positive, got {value}; "
            "state another reg"
        )
    ours, theirs = _supported(clouds.x, clouds.a), _supported(clouds.y, clouds.b)
    bias = _entropic_cost(ours, ours, value) + _entropic_cost(theirs, theirs, value)
    return max(_entropic_cost(ours, theirs, value) - bias / 2, 0.0)


def default_reg(y: Points, b: Weights = None) -> float:
    """The usual regularisation against a cloud: half its total variance.

    reg = Σᵢ bᵢ |yᵢ - ȳ|² / 2, a quarter of the mean squared distance between its points

    Args:
        y: cloud, shape (m, D).
        b: weights of y, shape (m,), >= 0; normalised here; None is uniform.

    Returns:
        reg, in squared units of y.

    Raises:
        DataError: all points of y are one.
    """
    cloud = as_cloud(y, "y")
    weights = as_weights(b, len(cloud), "b")
    spread = float(weights @ np.square(cloud - weights @ cloud).sum(axis=1))
    if not np.ptp(cloud[weights > 0], axis=0).any():
        raise DataError("Sinkhorn divergence: all points of y are one; state reg")
    return _SHARE * spread


class _Side(NamedTuple):
    """The points of a cloud that have weight, and their weights."""

    points: Array
    mass: Array


class _Problem(NamedTuple):
    """Costs, shape (n, m), and the masses of rows and columns, all positive."""

    cost: Array
    a: Array
    b: Array


class _State(NamedTuple):
    """Potentials, the dual value, which is the cost from below, and the L1 error of marginals."""

    f: Array
    g: Array
    value: float
    error: float


def _supported(points: Array, weights: Array) -> _Side:
    """A cloud without its weightless points."""
    return _Side(points[weights > 0], weights[weights > 0])


def _entropic_cost(x: _Side, y: _Side, reg: float) -> float:
    """The entropic cost between two clouds; says so when the iterations do not settle."""
    from scipy.spatial.distance import cdist

    problem = _Problem(cdist(x.points, y.points, "sqeuclidean"), x.mass, y.mass)
    largest = float(problem.cost.max())
    if reg < _FINEST * largest:
        raise _too_small(reg, largest)
    state = _State(np.zeros(len(x.mass)), np.zeros(len(y.mass)), 0.0, np.inf)
    with np.errstate(all="ignore"):  # what comes of it is told below
        for stage in _stages(_EASY * largest, reg):
            state = _iterate(problem, stage, state, *_STAGE)
        state = _iterate(problem, reg, state, _TOLERANCE, _ITERATIONS)
    if not np.isfinite(state.value):
        raise _too_small(reg, largest)
    if state.error > _SETTLED:
        warnings.warn(
            f"Sinkhorn divergence stopped after {_ITERATIONS} iterations with marginals off by "
            f"{state.error:.1e}: it is not exact; a larger reg settles sooner",
            CfmWarning,
            stacklevel=3,
        )
    return state.value


def _too_small(reg: float, largest: float) -> NumericsError:
    """The error for a regularisation that the costs drown."""
    return NumericsError(
        f"Sinkhorn divergence: reg = {reg:g} is too small beside the largest squared distance, "
        f"{largest:g}; state a larger reg"
    )


def _stages(easy: float, reg: float) -> list[float]:
    """Regularisations on the way from an easy one to the goal, without it."""
    count = int(np.ceil(np.log(easy / reg) / np.log(_SHRINK))) if easy > reg else 0
    return [easy / _SHRINK**k for k in range(count)]


def _iterate(
    problem: _Problem, reg: float, state: _State, tolerance: float, iterations: int
) -> _State:
    """Iterate at one regularisation; scalings that grow large move into the potentials."""
    cost, a, b = problem
    f, g, done = state.f, state.g, 0
    while True:
        g = _soft_minimum(cost.T - f, a, reg)
        f = _soft_minimum(cost - g, b, reg)
        plan = a[:, None] * np.exp((f[:, None] + g - cost) / reg) * b
        plan[plan < _TINY] = 0.0  # arithmetic on subnormal numbers is slow
        u, v, columns = np.ones_like(f), np.ones_like(g), plan.sum(axis=0)
        while max(u.max(), v.max(), 1 / u.min(), 1 / v.min()) < _HUGE:
            v *= (b / (v * columns)) ** _RELAXATION
            rows = plan @ v
            u *= (a / (u * rows)) ** _RELAXATION
            columns = u @ plan
            done += 1
            error = float(np.abs(v * columns - b).sum() + np.abs(u * rows - a).sum())
            if error < tolerance or done >= iterations or not np.isfinite(error):
                f, g = f + reg * np.log(u), g + reg * np.log(v)
                return _State(f, g, float(a @ f + b @ g - reg * (columns @ v - 1)), error)
        f, g = f + reg * np.log(u), g + reg * np.log(v)


def _soft_minimum(cost: Array, mass: Array, reg: float) -> Array:
    """-reg log Σⱼ massⱼ exp(-costᵢⱼ / reg), shape (n,)."""
    least = cost.min(axis=1)
    return np.asarray(least - reg * np.log(np.exp((least[:, None] - cost) / reg) @ mass))
