"""Laws of block refinement: exact marginals, a cost that never rises, and nearly the least one."""

import numpy as np
import pytest

from cfmcli.data.table import Array
from cfmcli.flows.coupling import blocks
from cfmcli.flows.coupling.blocks import refined_plan
from cfmcli.flows.coupling.couplings import Exact
from cfmcli.flows.coupling.plans import PairPlan


def clouds(n0: int, n1: int, dim: int, weighted: bool) -> tuple[Array, Array, Array, Array]:
    """Two clouds of three clusters each, with uniform or random weights."""
    rng = np.random.default_rng(100 * dim + n0)
    x0, x1 = (
        rng.normal(size=(3, dim))[rng.integers(0, 3, n)] * 3 + rng.normal(size=(n, dim))
        for n in (n0, n1)
    )
    w0, w1 = (rng.gamma(2, size=n) if weighted else np.ones(n) for n in (n0, n1))
    return x0, x1, w0 / w0.sum(), w1 / w1.sum()


def refine(case: tuple[Array, Array, Array, Array], rounds: int = 8, size: int = 48) -> PairPlan:
    """The refined plan of a case, from one seed."""
    x0, x1, w0, w1 = case
    return refined_plan(x0, x1, (w0, w1), size, rounds, np.random.default_rng(0))


CASES = [(600, 600, 2, False), (600, 600, 10, False), (300, 500, 2, False), (500, 500, 10, True)]


@pytest.mark.parametrize("shape", CASES)
def test_cost_lies_just_above_the_least(shape: tuple[int, int, int, bool]) -> None:
    """Least cost <= cost of blocks <= least cost + 2 %."""
    x0, x1, w0, w1 = case = clouds(*shape)
    least = Exact().plan(x0, x1, w0, w1, np.random.default_rng(0)).mean_cost(x0, x1)
    cost = refine(case).mean_cost(x0, x1)
    assert least * (1 - 1e-12) <= cost <= least * 1.02


@pytest.mark.parametrize("shape", [*CASES, (1, 300, 3, True), (300, 1, 3, True), (2, 400, 1, True)])
def test_marginals_are_exact(shape: tuple[int, int, int, bool]) -> None:
    """Row and column sums are the weights to 1e-13, after all rounds."""
    _, _, w0, w1 = case = clouds(*shape)
    mass0, mass1 = refine(case).marginals()
    assert np.abs(mass0 - w0).max() < 1e-13
    assert np.abs(mass1 - w1).max() < 1e-13


@pytest.mark.parametrize("rounds", [0, 1, 8])
def test_permutation_stays_a_permutation(rounds: int) -> None:
    """Clouds of one size with equal weights: each point has exactly one partner."""
    i, j, mass = refine(clouds(700, 700, 3, False), rounds).arrays()
    assert np.array_equal(np.sort(i), np.arange(700))
    assert np.array_equal(np.sort(j), np.arange(700))
    assert np.ptp(mass) == 0


@pytest.mark.parametrize("shape", CASES)
def test_no_round_raises_the_cost(
    shape: tuple[int, int, int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost falls with every round allowed, since one seed gives one sequence of rounds."""
    monkeypatch.setattr(blocks, "TOLERANCE", 0.0)
    x0, x1, _, _ = case = clouds(*shape)
    costs = [refine(case, rounds).mean_cost(x0, x1) for rounds in range(5)]
    assert (np.diff(costs) <= 1e-12).all()
    assert costs[-1] < costs[0]


def test_small_clouds_are_solved_exactly() -> None:
    """Where every cell holds one point, the coarse plan is the optimal plan."""
    x0, x1, w0, w1 = case = clouds(60, 80, 3, True)
    least = Exact().plan(x0, x1, w0, w1, np.random.default_rng(0)).mean_cost(x0, x1)
    assert refine(case, 0, 20).mean_cost(x0, x1) == pytest.approx(least, rel=1e-12)


def test_pairs_stay_few() -> None:
    """The plan stays sparse: no more than three pairs a point."""
    assert len(refine(clouds(900, 1100, 10, True)).arrays()[0]) < 3 * 2000


@pytest.mark.parametrize("size", [2, 3, 48])
def test_same_points_cost_nothing_and_duplicates_do_no_harm(size: int) -> None:
    """One point many times over: every plan is optimal and its marginals are exact."""
    x = np.zeros((150, 2))
    w = np.full(150, 1 / 150)
    plan = refined_plan(x, x, (w, w), size, 3, np.random.default_rng(0))
    assert plan.mean_cost(x, x) == 0
    assert plan.marginals()[1] == pytest.approx(w, abs=1e-15)


def test_seed_decides() -> None:
    """Equal generators give equal plans."""
    a, b = (refine(clouds(400, 400, 2, False)).arrays() for _ in range(2))
    assert all(np.array_equal(u, v) for u, v in zip(a, b, strict=True))
