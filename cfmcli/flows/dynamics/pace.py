"""Pace: the cheapest fixed-step solver that is accurate enough, found on a few pilot points.

Fixed steps treat every chunk and every shard alike and reject nothing, but how many a flow needs
depends on how straight it is.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning, ConfigError, NumericsError
from cfmcli.flows.dynamics.solvers import FINEST, Adaptive, FixedStep, Solver

Carry = Callable[[Solver], Sequence[Array]]
"""End points of groups of points by a solver, shape (m, D) each, in units of their spread.

With growth, log mass is a group of its own, shape (m, 1), in nats.
"""

COSTS = {"euler": 1, "midpoint": 2, "heun3": 3, "rk4": 4}
"""Evaluations per step of the candidate methods, which equal their orders."""

SLACK = 4
"""Safety factor when errors are extrapolated to skip numbers of steps that cannot suffice."""

MOST = 64
"""Maximum number of steps tried."""

SHARE = 0.1
"""Largest error of the reference solution, as a fraction of the tolerance."""

USUAL = 1e-5
"""Default tolerance per step of dopri5."""

COVERED = 0.99
"""Fraction of the points that stay within the reported error."""


@dataclass(frozen=True)
class Auto:
    """As few fixed steps as keep the error of where points end below a tolerance.

    A few stored points are carried through each gap by Runge-Kutta steps whose number is doubled
    until two runs agree; then the cheapest method and number of steps that ends close enough to
    them carries all points. Where no number suffices, dopri5 does, a tenth of the tolerance a step.

    Reference: Hairer, Norsett & Wanner (1993), sec. II.4 (the error from N and 2N steps)

    Use: many points along straight flows; the cost and the error are told.

    Args:
        tolerance: error that 99 of 100 points keep to in a gap, root mean square over their
            dimensions, in units of the spread of the points, above 0; where mass grows, that of
            its logarithm too.

    Raises:
        ConfigError: if the tolerance is not positive, or below what float64 resolves.
    """

    tolerance: float = 1e-2

    def __post_init__(self) -> None:
        if not FINEST / SHARE <= self.tolerance < math.inf:
            raise ConfigError(
                f"auto:tolerance={self.tolerance:g}: expected a positive number of at least "
                f"{FINEST / SHARE:g}, which float64 resolves."
            )


@dataclass(frozen=True)
class Pace:
    """A solver and its error.

    Args:
        solver: the integrator.
        error: error over a gap that 99 % of the points stay within; NaN if no fixed steps sufficed.
    """

    solver: FixedStep | Adaptive
    error: float

    def __str__(self) -> str:
        method, solver = self.solver.method, self.solver
        if isinstance(solver, Adaptive):
            return f"{method}:atol={solver.atol:g},rtol={solver.rtol:g}"
        return f"{method}:steps={solver.steps}"


def paced(carry: Carry, tol: float, unit: float = 1.0, *, bf16: bool = False) -> Pace:
    """Find the cheapest fixed steps that are accurate enough, or else fall back to dopri5.

    Args:
        carry: carries the pilot points.
        tol: allowed error.
        unit: spread of the points in flow coordinates.
        bf16: whether the points are to be carried by a network in bfloat16.

    Raises:
        ConfigError: if dopri5 would be needed in bfloat16.

    Warns:
        CfmWarning: if it falls back to dopri5.
    """
    ends = cache(lambda method, steps: _ended(carry, FixedStep(method, steps)))
    best, off = _reference(ends, SHARE * tol)
    hopes = dict.fromkeys(COSTS, 0.0)
    for method, steps in _ladder() if best else []:
        if hopes[method] / steps ** COSTS[method] > tol:
            continue
        found = ends(method, steps)
        error = apart(found, best) + off if found and best else math.inf
        if error <= tol:
            return Pace(FixedStep(method, steps), error)
        hopes[method] = error * steps ** COSTS[method] / SLACK if found else 0.0
    return _adaptive(tol, unit, bf16)


def _adaptive(tol: float, unit: float, bf16: bool) -> Pace:
    """Fall back to dopri5 with tolerances from the requested one, with a warning."""
    none = f"The solver auto:tolerance={tol:g} finds no number of steps up to {MOST} that suffices"
    if bf16:
        raise ConfigError(
            f"{none}, and those of dopri5 would follow the rounding of --precision bf16: leave it "
            "out, or raise the tolerance."
        )
    own = min(USUAL, SHARE * tol)
    pace = Pace(Adaptive("dopri5", own * unit, own), math.nan)
    warnings.warn(f"{none}: {pace} carries the points.", CfmWarning, stacklevel=3)
    return pace


def apart(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """Distance that 99 % of the points in each group stay within, as RMS over dimensions.

    Args:
        ours: end points of groups of points, shape (m, D) each.
        theirs: reference end points.
    """
    far = [np.sqrt(((a - b) ** 2).mean(axis=1)) for a, b in zip(ours, theirs, strict=True)]
    return float(max((np.quantile(part, COVERED, method="higher") for part in far), default=0.0))


Ends = Callable[[str, int], Sequence[Array] | None]


def _reference(ends: Ends, tol: float) -> tuple[Sequence[Array] | None, float]:
    """Reference end points x_2N by RK4, and their error estimate |x_N - x_2N| / (2^4 - 1)."""
    steps = 1
    while steps < MOST:
        coarse, fine = ends("rk4", steps), ends("rk4", 2 * steps)
        off = math.inf if coarse is None or fine is None else apart(coarse, fine) / 15
        if off <= tol:
            return fine, off
        steps *= 2
    return None, math.inf


def _ladder() -> list[tuple[str, int]]:
    """Candidate methods and numbers of steps (1, 2, 3, 4, 6, 8, 12, ...), cheapest first."""
    counts = sorted({1, *(2**k for k in range(1, 7)), *(3 * 2**k for k in range(5))})
    tried = [(cost * n, -cost, method, n) for method, cost in COSTS.items() for n in counts]
    return [(method, n) for cost, _, method, n in sorted(tried) if cost <= COSTS["rk4"] * MOST]


def _ended(carry: Carry, solver: FixedStep) -> Sequence[Array] | None:
    """End points by a solver; None if they become non-finite."""
    try:
        return carry(solver)
    except NumericsError:
        return None
