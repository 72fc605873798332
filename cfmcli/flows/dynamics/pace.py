"""Pace: the fewest fixed steps that bring paths to where they belong, found on a few points.

A fixed step does the same for every chunk and every shard, and rejects nothing; but how many a flow
needs depends on how straight it is.
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
"""Where groups of points end by a solver, shape (m, D) each, in units of their spread.

Where mass grows, its logarithm is a group of its own, shape (m, 1), in nats.
"""

COSTS = {"euler": 1, "midpoint": 2, "heun3": 3, "rk4": 4}
"""Evaluations a step of the methods to choose from, and their orders, which are the same."""

SLACK = 4
"""How much faster than by its order an error may fall before what it would skip is missed."""

MOST = 64
"""Steps of the longest run that is tried."""

SHARE = 0.1
"""Share of the tolerance that the reference itself may be off."""

USUAL = 1e-5
"""Tolerance of a step of dopri5 where steps are not chosen."""

COVERED = 0.99
"""Share of the points that keep to the error that is told."""


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
    """A solver, and how far it ends from where points belong.

    Args:
        solver: the integrator.
        error: what 99 of 100 points keep to in a gap; NaN where no fixed steps sufficed.
    """

    solver: FixedStep | Adaptive
    error: float

    def __str__(self) -> str:
        method, solver = self.solver.method, self.solver
        if isinstance(solver, Adaptive):
            return f"{method}:atol={solver.atol:g},rtol={solver.rtol:g}"
        return f"{method}:steps={solver.steps}"


def paced(carry: Carry, tol: float, unit: float = 1.0, *, bf16: bool = False) -> Pace:
    """The cheapest fixed steps that are close enough, or dopri5 where none are.

    Args:
        carry: carries the points of the pilot.
        tol: the error that is allowed.
        unit: spread of the points in flow coordinates.
        bf16: all points are to be carried by a network in bfloat16.

    Raises:
        ConfigError: where it were dopri5 in bfloat16.

    Warns:
        CfmWarning: where it is dopri5.
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
    """Dopri5 by tolerances that follow the one that is asked for, said aloud."""
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
    """The distance that 99 of 100 points of each group keep to, root mean square over dimensions.

    Args:
        ours: places of groups of points, shape (m, D) each.
        theirs: where they belong.
    """
    far = [np.sqrt(((a - b) ** 2).mean(axis=1)) for a, b in zip(ours, theirs, strict=True)]
    return float(max((np.quantile(part, COVERED, method="higher") for part in far), default=0.0))


Ends = Callable[[str, int], Sequence[Array] | None]


def _reference(ends: Ends, tol: float) -> tuple[Sequence[Array] | None, float]:
    """Ends that are right, and by how much they may be off: |x_N - x_2N| / (2^4 - 1) for x_2N."""
    steps = 1
    while steps < MOST:
        coarse, fine = ends("rk4", steps), ends("rk4", 2 * steps)
        off = math.inf if coarse is None or fine is None else apart(coarse, fine) / 15
        if off <= tol:
            return fine, off
        steps *= 2
    return None, math.inf


def _ladder() -> list[tuple[str, int]]:
    """Methods and numbers of steps, from the cheapest: 1, 2, 3, 4, 6, 8, 12, ..."""
    counts = sorted({1, *(2**k for k in range(1, 7)), *(3 * 2**k for k in range(5))})
    tried = [(cost * n, -cost, method, n) for method, cost in COSTS.items() for n in counts]
    return [(method, n) for cost, _, method, n in sorted(tried) if cost <= COSTS["rk4"] * MOST]


def _ended(carry: Carry, solver: FixedStep) -> Sequence[Array] | None:
    """Where points end; None where they leave the finite numbers."""
    try:
        return carry(solver)
    except NumericsError:
        return None
