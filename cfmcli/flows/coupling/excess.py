"""Excess: estimated relative cost of a block-refined plan above the exact plan.

Exact plans inside neighbourhoods of the pairs of a plan save some of its cost, and a little more
with every doubling of a neighbourhood than with the one before, up to the whole plan.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.blocks import (
    CELLS_PER_SIZE,
    Items,
    Points,
    Problem,
    midpoints,
    solve_block,
    split,
)
from cfmcli.flows.coupling.couplings import Blocks, Coupling
from cfmcli.flows.coupling.plans import PairPlan, Plan
from cfmcli.flows.coupling.simplex import QUANTA

T = TypeVar("T")
Solved = tuple[T, tuple[Array, Array], Plan]
"""Result for a coupling, the points of both clouds it was solved on, and its plan."""

NEEDED = 8e-2
"""Acceptable excess: a better plan does not bring the ends of a flow nearer."""

REACH = 1.5
"""Ratio of excess to acceptable excess above which the next candidate would not be good enough."""

CANDIDATES = (Blocks(), Blocks(size=256))
"""Block refinements for whole clouds, from the cheapest to the most accurate."""

PART = 1 / 5
"""Share of a plan's computing time to spend on estimating its excess."""

STEEPER = 1.2
"""Growth factor of the saving from one doubling to the next, averaged over test clouds."""

COUNT = 8
"""Number of neighbourhoods examined, or all if there are fewer."""


@dataclass(frozen=True)
class Excess:
    """Estimated cost of a plan above the exact plan, as a share of the plan's cost.

    The squared distance of the means is left out of the cost, since all plans share it.
    Neighbourhoods do not see errors between distant parts of the clouds: for well-separated
    clusters, and for Gaussians in many dimensions, `share` is too low, by half or more.

    Args:
        share: excess of the whole plan, extrapolated from neighbourhoods.
        error: its standard error, from the spread of the neighbourhoods.
        pairs: number of pairs in a neighbourhood.
    """

    share: float
    error: float
    pairs: int

    def __str__(self) -> str:
        return f"about {self.share:.2%} (± {self.error:.2%}) above the exact plan, shift aside"


def excess(
    plan: PairPlan, ends: tuple[Array, Array], size: int, rng: np.random.Generator
) -> Excess:
    """Estimate a plan's excess from exact solutions of some neighbourhoods and their halves.

    Args:
        plan: the plan to judge.
        ends: points of both clouds, shapes (n0, D) and (n1, D).
        size: points in a block of the plan.
        rng: source of randomness for the neighbourhoods.
    """
    i, j, mass = plan.arrays()
    items = Items(i, j, np.rint(mass / mass.sum() * QUANTA))
    problem = Problem.between(*ends, *plan.marginals())
    points = midpoints(problem, items)
    width, count = _affordable(len(i), size, plan.rounds)
    parts = split(points, max(1, round(len(i) / width)), rng)
    chosen = [parts[k] for k in rng.permutation(len(parts))[:count]]
    whole = max(plan.mean_cost(problem.x0, problem.x1), 1e-300)
    steps = STEEPER * (STEEPER ** math.log2(len(parts)) - 1) / (STEEPER - 1)
    found = [_extrapolated(problem, items, (points, part), steps, rng) for part in chosen]
    shares = np.array(found) / whole
    error = float(shares.std(ddof=1)) / math.sqrt(len(chosen)) if len(chosen) > 1 else 0.0
    left = math.sqrt(1 - len(chosen) / len(parts))
    return Excess(min(float(shares.mean()), 1.0), error * left, len(chosen[0]))


def cheapest(
    couplings: Sequence[Blocks],
    solve: Callable[[Coupling], Solved[T]],
    rng: np.random.Generator,
) -> tuple[Blocks, T, Excess]:
    """Return the first coupling whose plan is accurate enough, with result and excess.

    If a plan is so far from it that the next candidate would not be either, that plan is taken.

    Args:
        couplings: candidates from the cheapest to the most accurate.
        solve: computes the result, the points and the plan of a coupling.
        rng: source of randomness for the neighbourhoods.
    """
    for coupling in couplings:
        found, ends, plan = solve(coupling)
        assert isinstance(plan, PairPlan)
        over = excess(plan, ends, coupling.size, rng)
        if not NEEDED < over.share + over.error <= REACH * NEEDED:
            break
    return coupling, found, over


def judged(
    coupling: Coupling,
    solve: Callable[[Coupling], Solved[T]],
    most: int,
    rng: np.random.Generator,
    *,
    stands_in: bool,
) -> tuple[Coupling, T, Excess | None]:
    """Solve a coupling and, for block refinement of large clouds, estimate the excess.

    Args:
        coupling: requested coupling.
        solve: computes the result, the points and the plan of a coupling.
        most: number of points of the larger cloud.
        rng: source of randomness for the neighbourhoods.
        stands_in: whether it replaces another coupling, so that the cheapest accurate one is taken.
    """
    if not isinstance(coupling, Blocks) or most <= CELLS_PER_SIZE * coupling.size:
        return coupling, solve(coupling)[0], None
    return cheapest(CANDIDATES if stands_in else (coupling,), solve, rng)


def _affordable(pairs: int, size: int, rounds: int) -> tuple[int, int]:
    """Choose size and number of neighbourhoods, for a share of the plan's computing time.

    A neighbourhood of k blocks and its halves take about as long as 2 k^2 blocks.
    """
    blocks = PART / 2 * max(rounds, 1) * pairs / size
    for factor in (32, 16, 8, 4):
        if blocks >= COUNT * factor**2:
            return factor * size, COUNT
    return 2 * size, COUNT


def _extrapolated(
    problem: Problem,
    items: Items,
    near: tuple[Points, IntArray],
    steps: float,
    rng: np.random.Generator,
) -> float:
    """Extrapolate the saving of the exact plan per unit of mass from one neighbourhood.

    Args:
        problem: the two clouds.
        items: the pairs of the plan.
        near: midpoints of all pairs, and the pairs of the neighbourhood.
        steps: weight of the last doubling's saving in the extrapolation to the whole plan.
        rng: source of randomness for the halves.
    """
    points, part = near
    halves = [part[half] for half in split(points[part], 2, rng)]
    whole = solve_block(problem, items, part).gain
    parted = sum(solve_block(problem, items, half).gain for half in halves)
    return (whole + steps * max(whole - parted, 0.0)) / float(items.mass[part].sum())
