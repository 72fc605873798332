"""Block refinement: a nearly optimal plan of whole clouds, in linear time and memory.

First, a coarse plan between cells of points. Each round then splits the pairs of the plan into
blocks of neighbouring pairs and solves transport exactly within every block. Marginals stay exact,
the cost never rises, and a permutation stays a permutation.
"""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows import processes
from cfmcli.flows.coupling.costs import aligned, relative_costs
from cfmcli.flows.coupling.plans import ROWS, PairPlan, merge_pairs, pair_costs, summed
from cfmcli.flows.coupling.simplex import quantised, solve

Points = npt.NDArray[np.float32]

CELLS_PER_SIZE = 4
"""Number of cells of the coarse plan, as a multiple of the block size."""

BATCH = 16
"""Number of blocks that a worker solves at a time."""

WORTH_SHARING = 2
"""Number of batches of blocks above which starting workers pays off."""


class Problem(NamedTuple):
    """Two weighted clouds.

    Args:
        x0: source points, shape (n0, D).
        x1: target points, shape (n1, D).
        q0: masses of the source in whole quanta, shape (n0,), >= 0.
        q1: masses of the target in whole quanta, shape (n1,), of the same sum.
    """

    x0: Array
    x1: Array
    q0: Array
    q1: Array

    @property
    def shape(self) -> tuple[int, int]:
        """The sizes (n0, n1) of the clouds."""
        return len(self.x0), len(self.x1)

    @staticmethod
    def between(x0: Array, x1: Array, q0: Array, q1: Array) -> "Problem":
        """The problem of two clouds once they are aligned.

        Shares of the cost then mean the same wherever the clouds lie.
        """
        return Problem(*aligned(x0, x1, q0, q1), q0, q1)


class Items(NamedTuple):
    """Pairs (i, j) with their masses in quanta, shape (k,) each."""

    i: IntArray
    j: IntArray
    mass: Array


class _Cells(NamedTuple):
    """A cloud split into cells: point indices cell by cell, and mass and mean of each cell."""

    order: IntArray
    mass: Array
    mean: Array


class Round(NamedTuple):
    """The result of a round.

    Args:
        items: the plan.
        cost: total cost of the plan, in quanta.
        gain: decrease of the cost in this round, >= 0.
    """

    items: Items
    cost: float
    gain: float


def refined_plan(
    x0: Array,
    x1: Array,
    weights: tuple[Array, Array],
    size: int,
    gain: float,
    rng: np.random.Generator,
) -> PairPlan:
    """Compute a plan close to the optimal one for the squared distance.

    Args:
        x0: source points, shape (n0, D).
        x1: target points, shape (n1, D).
        weights: weights of both clouds, shapes (n0,) and (n1,), > 0.
        size: points of the larger cloud in a block, >= 2; a block holds at most 2 `size` pairs.
        gain: share of the cost between aligned clouds, > 0; the first round that lowers it by no
            more is the last.
        rng: source of the random splits.

    Returns:
        A sparse plan whose marginals are the weights; translating a cloud does not change it. It
        is optimal if neither cloud has more than 4 `size` points.
    """
    problem = Problem.between(x0, x1, *quantised(*weights))
    items, rounds = coarse_plan(problem, size, rng), 0
    if max(problem.shape) > CELLS_PER_SIZE * size:
        for found in refinements(problem, items, size, rng):
            items, rounds = found.items, rounds + 1
            if found.gain <= gain * (found.cost + found.gain):
                break
    return PairPlan(items.i, items.j, items.mass / problem.q0.sum(), problem.shape, rounds)


def refinements(
    problem: Problem, items: Items, size: int, rng: np.random.Generator
) -> Iterator[Round]:
    """Yield rounds of exact transport within blocks of neighbouring pairs, without end.

    Args:
        problem: the clouds.
        items: a plan to start from.
        size: points of the larger cloud in a block, >= 2.
        rng: source of the random splits.
    """
    while True:
        count = -(-max(*problem.shape, len(items.i) // 2) // size)
        blocks = split(midpoints(problem, items), count, rng)
        solved = _solved(problem, items, blocks)
        i, j, mass = (np.concatenate([getattr(s.items, k) for s in solved]) for k in Items._fields)
        items = Items(*merge_pairs(i, j, mass, problem.shape))
        yield Round(items, sum(s.cost for s in solved), sum(s.gain for s in solved))


def _solved(problem: Problem, items: Items, blocks: list[IntArray]) -> list[Round]:
    """Solve each block separately, in order, in worker processes if allowed and worthwhile."""
    parts = [blocks[k : k + BATCH] for k in range(0, len(blocks), BATCH)]
    workers = processes.allowed() if len(parts) >= WORTH_SHARING else 0

    def solved(part: int) -> list[Round]:
        """Solve the blocks of a part."""
        return [solve_block(problem, items, block) for block in parts[part]]

    with processes.in_order(solved, len(parts), workers) as found:
        return list(chain.from_iterable(found))


def solve_block(problem: Problem, items: Items, block: IntArray) -> Round:
    """Solve transport between the marginals of a block of items.

    Args:
        problem: the clouds.
        items: a plan.
        block: indices of its items in the block, shape (b,).
    """
    rows, row = np.unique(items.i[block], return_inverse=True)
    columns, column = np.unique(items.j[block], return_inverse=True)
    mass = items.mass[block]
    x0, x1 = problem.x0[rows], problem.x1[columns]
    i, j, best = solve(summed(row, mass), summed(column, mass), relative_costs(x0, x1))
    before = float(mass @ pair_costs(x0, x1, row, column))
    after = float(best @ pair_costs(x0, x1, i, j))
    return Round(Items(rows[i], columns[j], best), after, max(before - after, 0.0))


def midpoints(problem: Problem, items: Items) -> Points:
    """Compute twice the midpoints of pairs, shape (k, D), in float32 to save memory.

    They are taken from the mean of the source, so that far from the origin no digits are lost.

    Args:
        problem: the clouds.
        items: the pairs.
    """
    found = np.empty((len(items.i), problem.x0.shape[1]), np.float32)
    centre = 2 * problem.x0.mean(0)
    for start in range(0, len(found), ROWS):
        rows = slice(start, start + ROWS)
        found[rows] = problem.x0[items.i[rows]] + problem.x1[items.j[rows]] - centre
    return found


def split(points: Array | Points, count: int, rng: np.random.Generator) -> list[IntArray]:
    """Split points into blocks of equal size, by halving along differences of random members.

    Args:
        points: shape (k, D).
        count: number of blocks.
        rng: source of the random members.
    """
    blocks, stack = [], [(np.arange(len(points)), count)]
    while stack:
        block, count = stack.pop()
        if count == 1:
            blocks.append(block)
            continue
        a, b = rng.choice(len(block), 2, replace=False)
        step = points[block[a]] - points[block[b]]
        parts = (block[k : k + ROWS] for k in range(0, len(block), ROWS))
        along = np.concatenate([points[part] @ step for part in parts])
        cut = len(block) * (count // 2) // count
        order = np.argpartition(along, cut)
        stack.append((block[order[cut:]], count - count // 2))
        stack.append((block[order[:cut]], count // 2))
    return blocks


def coarse_plan(problem: Problem, size: int, rng: np.random.Generator) -> Items:
    """Solve transport between 4 `size` cells, and distribute its flows over the points of each."""
    x0, x1, q0, q1 = problem
    cells = CELLS_PER_SIZE * size
    source, target = _cells(x0, q0, cells, rng), _cells(x1, q1, cells, rng)
    p, q, flow = solve(source.mass, target.mass, relative_costs(source.mean, target.mean))
    # A flow from cell p to cell q is a piece of p's mass and a piece of q's: cut both clouds
    # into their pieces, put the pieces in one order, and match piece with piece.
    i, _, mass0 = _north_west(q0[source.order], flow)
    by_target = np.lexsort((p, q))
    j, piece, mass1 = _north_west(q1[target.order], flow[by_target])
    line = np.argsort(by_target[piece], kind="stable")
    left, right, mass = _north_west(mass0, mass1[line])
    return Items(source.order[i[left]], target.order[j[line[right]]], mass)


def _cells(x: Array, quanta: Array, count: int, rng: np.random.Generator) -> _Cells:
    """Split a cloud into cells of equal size."""
    blocks = split(x, min(count, len(x)), rng)
    order = np.concatenate(blocks)
    starts = np.cumsum([0, *(len(block) for block in blocks[:-1])])
    mass = np.add.reduceat(quanta[order], starts)
    moment = np.stack([quanta[block] @ x[block] for block in blocks])
    return _Cells(order, mass, moment / np.maximum(mass, 1.0)[:, None])


def _north_west(mass0: Array, mass1: Array) -> tuple[IntArray, IntArray, Array]:
    """North-west corner rule for two sequences of masses: both positions and the mass matched."""
    ends0, ends1 = np.cumsum(mass0), np.cumsum(mass1)
    ends = np.union1d(ends0, ends1)
    ends = ends[ends > 0]
    mass = np.diff(ends, prepend=0.0)
    return np.searchsorted(ends0, ends), np.searchsorted(ends1, ends), mass
