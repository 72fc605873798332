"""Laws of block refinement: exact marginals, a cost that never rises, and nearly the least one."""

from itertools import islice
from unittest.mock import Mock

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmcli.data.arrays import Array
from cfmcli.flows import processes
from cfmcli.flows.coupling import blocks
from cfmcli.flows.coupling.blocks import (
    Items,
    Problem,
    Round,
    coarse_plan,
    refined_plan,
    refinements,
)
from cfmcli.flows.coupling.couplings import Exact
from cfmcli.flows.coupling.plans import PairPlan
from cfmcli.flows.coupling.simplex import quantised


def clouds(n0: int, n1: int, dim: int, weighted: bool) -> tuple[Array, Array, Array, Array]:
    """Two clouds of three clusters each, with uniform or random weights."""
    rng = np.random.default_rng(100 * dim + n0)
    x0, x1 = (
        rng.normal(size=(3, dim))[rng.integers(0, 3, n)] * 3 + rng.normal(size=(n, dim))
        for n in (n0, n1)
    )
    w0, w1 = (rng.gamma(2, size=n) if weighted else np.ones(n) for n in (n0, n1))
    return x0, x1, w0 / w0.sum(), w1 / w1.sum()


Case = tuple[Array, Array, Array, Array]
GAIN = 1e-3


def refine(case: Case, gain: float = GAIN, size: int = 48) -> PairPlan:
    """The refined plan of a case, from one seed."""
    x0, x1, w0, w1 = case
    return refined_plan(x0, x1, (w0, w1), size, gain, np.random.default_rng(0))


def rounds(case: Case, count: int, size: int = 48) -> tuple[Problem, list[Round]]:
    """The problem of a case in quanta, and its first rounds, from the seed of `refine`."""
    x0, x1, w0, w1 = case
    problem, rng = Problem.between(x0, x1, *quantised(w0, w1)), np.random.default_rng(0)
    items = coarse_plan(problem, size, rng)
    return problem, list(islice(refinements(problem, items, size, rng), count))


def cost_of(problem: Problem, plan: Items) -> float:
    """Σ mass |x0_i - x1_j|²."""
    gap = problem.x0[plan.i] - problem.x1[plan.j]
    return float(plan.mass @ (gap**2).sum(1))


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


@given(
    n0=st.integers(1, 90), n1=st.integers(1, 90), seed=st.integers(0, 99), size=st.integers(2, 9)
)
@settings(max_examples=25, deadline=None)
def test_any_sizes_and_weights_are_met(n0: int, n1: int, seed: int, size: int) -> None:
    """Also where weights span twelve orders of magnitude, and one cloud is a few points."""
    rng = np.random.default_rng(seed)
    x0, x1 = rng.normal(size=(n0, 2)), rng.normal(size=(n1, 2))
    w0, w1 = (10 ** rng.uniform(-12, 0, size=n) for n in (n0, n1))
    case = x0, x1, w0 / w0.sum(), w1 / w1.sum()
    plan = refine(case, size=size)
    for found, wanted in zip(plan.marginals(), case[2:], strict=True):
        assert np.abs(found - wanted).max() < 2e-14


@pytest.mark.parametrize("gain", [0.9, 1e-2, 1e-4])
def test_permutation_stays_a_permutation(gain: float) -> None:
    """Clouds of one size with equal weights: each point has exactly one partner."""
    i, j, mass = refine(clouds(700, 700, 3, False), gain).arrays()
    assert np.array_equal(np.sort(i), np.arange(700))
    assert np.array_equal(np.sort(j), np.arange(700))
    assert np.ptp(mass) == 0


@pytest.mark.parametrize("shape", CASES)
def test_no_round_raises_the_cost(shape: tuple[int, int, int, bool]) -> None:
    """Each round's cost is that of its plan, and lower than the last by what it says it gained."""
    problem, found = rounds(clouds(*shape), 5)
    costs = [cost_of(problem, one.items) for one in found]
    assert [one.cost for one in found] == pytest.approx(costs, rel=1e-10)
    gains = -np.diff(costs)
    assert (gains >= -1e-12 * costs[0]).all()
    assert [one.gain for one in found[1:]] == pytest.approx(gains, abs=1e-9 * costs[0])
    assert costs[-1] < costs[0]


@pytest.mark.parametrize("gain", [1e-1, 1e-2, 1e-3])
def test_the_first_round_that_gains_too_little_is_the_last(gain: float) -> None:
    case = clouds(600, 600, 10, False)
    problem, found = rounds(case, 20)
    shares = np.array([one.gain / (one.gain + one.cost) for one in found])
    last = found[int(np.argmax(shares <= gain))]
    x0, x1 = (x - x.mean(0) for x in case[:2])
    wanted = last.cost / problem.q0.sum()
    assert refine(case, gain).mean_cost(x0, x1) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("shift", [1.0, 1e6])
def test_a_translation_is_found_and_ends(shift: float) -> None:
    """The optimal plan from a cloud to its translate pairs each point with its own image."""
    x = np.random.default_rng(0).normal(size=(600, 3))
    w = np.full(600, 1 / 600)
    plan = refine((x, x + shift, w, w))
    i, j, _ = plan.arrays()
    assert np.array_equal(i, j)


@pytest.mark.parametrize("weighted", [False, True])
def test_one_block_of_everything_is_the_exact_plan(weighted: bool) -> None:
    """Where every cell of the coarse plan holds one point, and after a round of a single block."""
    x0, x1, w0, w1 = case = clouds(60, 80, 3, weighted)
    least = ot.emd2(w0, w1, ot.dist(x0, x1))
    assert refine(case, size=20).mean_cost(x0, x1) == pytest.approx(least, rel=1e-10)
    problem = Problem(x0, x1, *quantised(w0, w1))
    poor = coarse_plan(problem, 2, np.random.default_rng(0))
    one = next(refinements(problem, poor, 200, np.random.default_rng(0)))
    assert one.cost / problem.q0.sum() == pytest.approx(least, rel=1e-10)
    assert one.gain > 0


@pytest.mark.parametrize("shape", [CASES[0], CASES[3]])
def test_workers_change_nothing(
    shape: tuple[int, int, int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of workers gives the same plan to the last bit."""
    monkeypatch.setattr(blocks, "BATCH", 2)
    case = clouds(*shape)
    alone = refine(case, 0.05).arrays()
    started = Mock(wraps=processes._started)
    monkeypatch.setattr(processes, "_started", started)
    for workers in (1, 3):
        monkeypatch.setattr(processes, "_allowed", workers)
        assert all(map(np.array_equal, refine(case, 0.05).arrays(), alone))
        assert started.call_args.args[2] == workers


def test_pairs_stay_few() -> None:
    """The plan stays sparse: no more than three pairs a point."""
    assert len(refine(clouds(900, 1100, 10, True)).arrays()[0]) < 3 * 2000


@pytest.mark.parametrize("size", [2, 3, 48])
def test_same_points_cost_nothing_and_duplicates_do_no_harm(size: int) -> None:
    """One point many times over: every plan is optimal and its marginals are exact."""
    x = np.zeros((150, 2))
    w = np.full(150, 1 / 150)
    plan = refined_plan(x, x, (w, w), size, GAIN, np.random.default_rng(0))
    assert plan.mean_cost(x, x) == 0
    assert plan.marginals()[1] == pytest.approx(w, abs=1e-15)


def test_seed_decides() -> None:
    """Equal generators give equal plans."""
    a, b = (refine(clouds(400, 400, 2, False)).arrays() for _ in range(2))
    assert all(np.array_equal(u, v) for u, v in zip(a, b, strict=True))
