"""Excess: by how much a plan of blocks costs more than the exact one, told from parts of it.

Exact plans inside neighbourhoods of the pairs of a plan save some of its cost, and no more than the
exact plan of all would: that is the least that the plan is in excess. What they save grows by about
as much with every doubling of a neighbourhood, up to the whole plan.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cfmcli.data.table import Array, IntArray
from cfmcli.flows.coupling.blocks import (
    CELLS_PER_SIZE,
    Items,
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

NEEDED = 1e-2
"""Excess that is good enough: minibatches of 256 have about 3 %."""

CANDIDATES = (Blocks(), Blocks(size=256, gain=2.5e-4))
"""Block refinements for whole clouds, from the cheapest to the best."""

PART = 1 / 5
"""Share of a plan's cost that judging it may take."""

STEEPER = 1.25
"""How much more a doubling saves than the one before, on average over clouds that were tried."""

ENOUGH, MOST = 3, 8
"""Neighbourhoods that are worth their size, and the most that are taken."""


@dataclass(frozen=True)
class Excess:
    """What a plan costs beyond the exact one, as a share of its cost.

    Of clouds with structure `share` was within a third of the truth in the mean of some
    neighbourhoods; of Gaussians in many dimensions it was up to 45 % low. `least` is never high
    but by the luck of the neighbourhoods.

    Args:
        share: of the whole plan, by extrapolation from neighbourhoods.
        least: what exact plans of the neighbourhoods save.
        pairs: pairs of a neighbourhood.
    """

    share: float
    least: float
    pairs: int

    def __str__(self) -> str:
        return f"at least {self.least:.2%} and about {self.share:.2%} above the exact plan"


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
    halves = [part[half] for part in chosen for half in split(points[part], 2, rng)]
    worth = plan.mean_cost(*ends) * items.mass[np.concatenate(chosen)].sum()
    saved = [_saved(problem, items, blocks) / max(worth, 1e-300) for blocks in (halves, chosen)]
    doublings = math.log2(len(parts))
    share = saved[1] + STEEPER * max(saved[1] - saved[0], 0.0) * doublings
    return Excess(share, saved[1], len(chosen[0]))


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
        if over.share <= NEEDED:
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
    blocks = PART * max(rounds, 1) * pairs / size
    for factor in (32, 16, 8, 4):
        count = int(blocks / (2 * factor**2))
        if count >= (ENOUGH if factor > 4 else 1):
            return factor * size, min(count, MOST)
    return 2 * size, max(1, int(blocks / 8))


def _saved(problem: Problem, items: Items, blocks: Sequence[IntArray]) -> float:
    """What exact plans of blocks of pairs save."""
    return sum(solve_block(problem, items, block).gain for block in blocks)
