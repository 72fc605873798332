"""Laws of matchings: stability and swaps by brute force, and costs in their order."""

from itertools import combinations

import numpy as np
import pytest

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.costs import cost_matrix
from cfmcli.flows.coupling.couplings import Exact
from cfmcli.flows.coupling.matching import Heuristic, Stable
from cfmcli.flows.coupling.plans import Plan
from tests.flows.clouds import matrix, plain, solve, weighted


def blocking_pairs(plan: Plan, cost: Array) -> list[tuple[int, int]]:
    """Pairs (i, j) that would both rather have each other than some of what they have."""
    mass = matrix(plan)
    return [
        (i, j)
        for i, j in np.ndindex(cost.shape)
        if (mass[i][cost[i] > cost[i, j]] > 0).any()
        and (mass[:, j][cost[:, j] > cost[i, j]] > 0).any()
    ]


def greedy(cost: Array) -> list[int]:
    """The closest pair of all that are left, over and over."""
    left, match = cost.copy(), np.zeros(len(cost), int)
    for _ in range(len(cost)):
        i, j = np.unravel_index(left.argmin(), cost.shape)
        match[i], left[i], left[:, j] = j, np.inf, np.inf
    return match.tolist()


@pytest.mark.parametrize("cost", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("sizes", [(1, 1), (12, 12), (9, 17), (20, 6)])
def test_nobody_would_rather_change(sizes: tuple[int, int], cost: str) -> None:
    """No blocking pair in a stable plan of any sizes and weights; the optimum has some."""
    for seed in range(5):
        x0, x1, w0, w1 = weighted(*sizes, 2, seed)
        costs = cost_matrix(x0, x1, cost)
        assert blocking_pairs(solve(Stable(cost), x0, x1, w0, w1), costs) == []
    if min(sizes) > 1:
        assert blocking_pairs(solve(Exact(cost), x0, x1, w0, w1), costs)


@pytest.mark.parametrize("n", [2, 5, 30, 101])
def test_stable_is_greedy(n: int) -> None:
    """Both sides rank by one cost, so the closest pair is in the plan, then the next."""
    x0, x1 = plain(n, 2, seed=n)
    assert solve(Stable(), x0, x1).arrays()[1].tolist() == greedy(cost_matrix(x0, x1, "euclidean"))


def test_stable_depends_on_ranks_alone() -> None:
    """Any increasing function of the cost gives the same plan, unlike the optimum."""
    x0, x1, w0, w1 = weighted(25, 35, 3, seed=1)
    plans = {
        name: [matrix(solve(make(cost), x0, x1, w0, w1)) for cost in ("euclidean", "sqeuclidean")]
        for name, make in (("stable", Stable), ("exact", Exact))
    }
    assert np.array_equal(plans["stable"][0], plans["stable"][1])
    assert not np.array_equal(plans["exact"][0], plans["exact"][1])


def test_stable_of_a_far_cloud_joins_the_inner_rims_first() -> None:
    """On a line, from left to right: the rightmost source to the leftmost target, and outward."""
    rng = np.random.default_rng(2)
    x0, x1 = rng.random((200, 1)), 10 + rng.random((200, 1))
    i, j, _ = solve(Stable(), x0, x1).arrays()
    order0, order1 = np.argsort(-x0[:, 0]), np.argsort(x1[:, 0])
    assert np.array_equal(j[order0], order1)
    assert np.array_equal(i, np.arange(200))


def test_stable_weights_are_repetitions() -> None:
    """A point of weight three is three points in one place."""
    x0, x1 = plain(12, 2, seed=3)
    counts = np.array([3, 1, 2] * 4)
    heavy = matrix(solve(Stable(), x0, x1, counts / 24, np.full(12, 1 / 12)))
    repeated = matrix(solve(Stable(), np.repeat(x0, counts, axis=0), x1))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    assert heavy == pytest.approx(np.add.reduceat(repeated, starts, axis=0), abs=1e-12)


@pytest.mark.parametrize("sizes", [(10, 10), (8, 13), (40, 40), (30, 55)])
@pytest.mark.parametrize("uniform", [True, False])
def test_no_swap_of_a_heuristic_plan_pays(sizes: tuple[int, int], uniform: bool) -> None:
    """c_ij + c_kl <= c_il + c_kj for all pairs (i, j), (k, l) of the plan: brute force."""
    for seed in range(3):
        x0, x1, *weights = weighted(*sizes, 2, seed)
        cost = cost_matrix(x0, x1, "sqeuclidean")
        plan = solve(Heuristic(), x0, x1, *([] if uniform else weights))
        i, j, mass = plan.arrays()
        least = 1e-5 * plan.mean_cost(x0, x1)
        for p, q in combinations(range(len(i)), 2):
            gain = cost[i[p], j[p]] + cost[i[q], j[q]] - cost[i[p], j[q]] - cost[i[q], j[p]]
            assert gain * min(mass[p], mass[q]) <= least


@pytest.mark.parametrize("dim", [1, 2, 10])
@pytest.mark.parametrize("seed", range(3))
def test_heuristic_lies_between_stable_and_exact(dim: int, seed: int) -> None:
    """Never dearer than stable, never cheaper than exact, and near the latter."""
    for case in (plain(150, dim, seed), weighted(60, 90, dim, seed)):
        least, found, most = (
            solve(c, *case).mean_cost(case[0], case[1]) for c in (Exact(), Heuristic(), Stable())
        )
        assert least * (1 - 1e-9) <= found <= most
        assert found - least < 0.35 * (most - least)
    assert most > 1.1 * least


def test_heuristic_on_a_line_is_exact() -> None:
    """In one dimension two-cycles are enough: the pairs are sorted."""
    x0, x1 = plain(200, 1, seed=4)
    i, j, _ = solve(Heuristic(), x0, x1).arrays()
    assert np.array_equal(np.argsort(np.argsort(x0[:, 0]))[i], np.argsort(np.argsort(x1[:, 0]))[j])
