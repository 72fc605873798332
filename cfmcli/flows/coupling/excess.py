"""Excess: by how much a plan of blocks costs more than the exact one, told from parts of it.

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
"""What comes of a coupling, the points of both clouds that it saw, and its plan."""

NEEDED = 3e-2
"""Excess that is good enough: that of minibatches of 256; less brings no ends of flows nearer."""

CANDIDATES = (Blocks(), Blocks(size=256))
"""Block refinements for whole clouds, from the cheapest to the best."""

PART = 1 / 5
"""Share of a plan's cost that judging it may take."""

STEEPER = 1.2
"""How much more a doubling saves than the one before, on average over clouds that were tried."""

COUNT = 8
"""Neighbourhoods that are looked at, or all if there are fewer."""


@dataclass(frozen=True)
class Excess:
    """What a plan costs beyond the exact one, as a share of its cost.

    What is wrong between far parts of the clouds no neighbourhood sees: of clusters apart from each
    other, and of Gaussians in many dimensions, `share` is too low, by half or more.

    Args:
        share: of the whole plan, by extrapolation from neighbourhoods.
        error: its standard error, by the spread of the neighbourhoods.
        pairs: pairs of a neighbourhood.
    """

    share: float
    error: float
    pairs: int

    def __str__(self) -> str:
        return f"about {self.share:.2%} (± {self.error:.2%}) of it above the exact plan"


def excess(
    plan: PairPlan, ends: tuple[Array, Array], size: int, rng: np.random.Generator
) -> Excess:
    """Solve some neighbourhoods of a plan exactly, and their halves, and extrapolate to all of it.

    Args:
        plan: what is judged.
        ends: points of both clouds, shapes (n0, D) and (n1, D).
        size: points in a block of the plan.
        rng: source of the neighbourhoods.
    """
    i, j, mass = plan.arrays()
    items = Items(i, j, np.rint(mass / mass.sum() * QUANTA))
    x0, x1 = (np.asarray(x, np.float64) for x in ends)
    problem = Problem(x0, x1, *plan.marginals())
    points = midpoints(problem, items)
    width, count = _affordable(len(i), size, plan.rounds)
    parts = split(points, max(1, round(len(i) / width)), rng)
    chosen = [parts[k] for k in rng.permutation(len(parts))[:count]]
    whole = max(plan.mean_cost(*ends), 1e-300)
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
    """The first coupling whose plan is good enough, or the last, with what became of it.

    Args:
        couplings: from the cheapest to the best.
        solve: what comes of a coupling.
        rng: source of the neighbourhoods.
    """
    for coupling in couplings:
        found, ends, plan = solve(coupling)
        assert isinstance(plan, PairPlan)
        over = excess(plan, ends, coupling.size, rng)
        if over.share + over.error <= NEEDED:
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
    """What comes of a coupling, and its excess where that is block refinement.

    Args:
        coupling: what is asked for.
        solve: what comes of a coupling.
        most: points of the larger cloud.
        rng: source of the neighbourhoods.
        stands_in: whether it stands in for another, so that the cheapest that will do is taken.
    """
    if not isinstance(coupling, Blocks) or most <= CELLS_PER_SIZE * coupling.size:
        return coupling, solve(coupling)[0], None
    return cheapest(CANDIDATES if stands_in else (coupling,), solve, rng)


def _affordable(pairs: int, size: int, rounds: int) -> tuple[int, int]:
    """How large neighbourhoods may be, and how many, at a part of what the plan has cost.

    A neighbourhood of k blocks and its halves cost about as much as 2 k^2 blocks.
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
    """What the exact plan saves of a unit of mass, by one neighbourhood.

    Args:
        problem: the clouds.
        items: the plan.
        near: midpoints of all pairs, and the pairs of the neighbourhood.
        steps: how often what its last doubling saved is still to come.
        rng: source of its halves.
    """
    points, part = near
    halves = [part[half] for half in split(points[part], 2, rng)]
    whole = solve_block(problem, items, part).gain
    parted = sum(solve_block(problem, items, half).gain for half in halves)
    return (whole + steps * max(whole - parted, 0.0)) / float(items.mass[part].sum())
