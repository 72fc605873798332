"""Exact transport between weighted points, by network simplex in whole numbers."""

from typing import Any, NamedTuple

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.data.pot import pot
from cfmcli.errors import NumericsError

QUANTA = 2**48
"""The total mass is cut into about this many quanta; sums of quanta are exact in float64."""

_MAX_PIVOTS = 100_000_000


def quantised(w0: Array, w1: Array) -> tuple[Array, Array]:
    """Weights in whole numbers of quanta, of one and the same sum.

    Whole numbers keep rounding from splitting masses: equal weights stay equal, so the optimal
    plan of two clouds of one size is a permutation. A weight moves by at most two quanta.

    Args:
        w0: weights of the source, shape (n0,), >= 0, not all zero.
        w1: weights of the target, shape (n1,), likewise.

    Returns:
        The numbers of quanta, shapes (n0,) and (n1,), float64.
    """
    pairs = len(w0) * len(w1)
    total = pairs * max(QUANTA // pairs, 1)
    return _whole(w0, total), _whole(w1, total)


def _whole(w: Array, total: int) -> Array:
    """Weights rounded to whole numbers of the given sum; the heaviest points take the rest."""
    quanta: Array = np.rint(w * (total / w.sum()))
    rest = int(total - quanta.sum())
    quanta[np.argsort(-quanta, kind="stable")[: abs(rest)]] += np.sign(rest)
    return quanta


class Vertex(NamedTuple):
    """A plan of least cost, and the prices that prove it.

    Args:
        i: rows that carry mass, shape (k,).
        j: their columns, shape (k,).
        mass: masses of the pairs, shape (k,), whole numbers.
        f: prices of the rows, shape (n0,).
        g: prices of the columns, shape (n1,); f_i + g_j <= cost_ij, with equality on the plan.
    """

    i: IntArray
    j: IntArray
    mass: Array
    f: Array
    g: Array


def solve(q0: Array, q1: Array, cost: Array) -> tuple[IntArray, IntArray, Array]:
    """The plan of least cost: min over plans π ≥ 0 with marginals q0, q1 of Σ π_ij cost_ij.

    Reference: Bonneel, van de Panne, Paris and Heidrich (2011), doi 10.1145/2070781.2024192

    Args:
        q0: masses of the rows, shape (n0,), whole numbers >= 0.
        q1: masses of the columns, shape (n1,), of the same sum.
        cost: costs, shape (n0, n1).

    Returns:
        (i, j, mass) of the pairs that carry mass, at most n0 + n1 - 1 of them, sorted by i, j.

    Raises:
        NumericsError: the solver failed, as it does on costs that are not finite.
    """
    plan, _ = _solved(q0, q1, cost)
    return _pairs(plan, q0.max())


def solve_with_prices(q0: Array, q1: Array, cost: Array) -> Vertex:
    """The plan of least cost together with dual potentials of all points.

    Args:
        q0: masses of the rows, shape (n0,), whole numbers >= 0.
        q1: masses of the columns, shape (n1,), of the same sum.
        cost: costs, shape (n0, n1).

    Raises:
        NumericsError: the solver failed, as it does on costs that are not finite.
    """
    plan, log = _solved(q0, q1, cost)
    return Vertex(*_pairs(plan, q0.max()), log["u"], log["v"])


def _solved(q0: Array, q1: Array, cost: Array) -> tuple[Array, dict[str, Any]]:
    """POT's plan, in units of the largest mass, and its log."""
    unit = q0.max()
    plan, log = pot().emd(q0 / unit, q1 / unit, cost, numItermax=_MAX_PIVOTS, log=True)
    if log["warning"] is not None:
        raise NumericsError(
            f"Exact transport between {len(q0)} and {len(q1)} points failed: {log['warning']} "
            "Check the points for extreme values, or standardise them."
        )
    return plan, log


def _pairs(plan: Array, unit: float) -> tuple[IntArray, IntArray, Array]:
    """The pairs of a plan that carry mass, in quanta."""
    i, j = np.nonzero(plan)
    mass = np.rint(plan[i, j] * unit)
    kept = mass > 0
    return i[kept], j[kept], mass[kept]
