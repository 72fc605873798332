"""Laws of relaxed couplings: optimality, closed forms, limits, and what is left behind."""

import numpy as np
import pytest

from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning, NumericsError
from cfmcli.flows.coupling import sinkhorn
from cfmcli.flows.coupling.couplings import Exact, Sinkhorn
from cfmcli.flows.coupling.plans import squared_distances
from cfmcli.flows.coupling.relaxed import Partial, Unbalanced, relaxed_pairs
from tests.flows.clouds import matrix, plain, solve, weighted


def kl(p: Array, q: Array) -> float:
    """Σ p log(p / q) - p + q."""
    kept = p > 0
    return float((p[kept] * np.log(p[kept] / q[kept])).sum() - p.sum() + q.sum())


def value(plan: Array, problem: sinkhorn.Entropic, reg: float) -> float:
    """What the unbalanced problem minimises."""
    cost, w0, w1, reg_m = problem
    blur = reg * kl(plan, np.outer(w0, w1)) if reg else 0.0
    return float((plan * cost).sum()) + blur + reg_m * (kl(plan.sum(1), w0) + kl(plan.sum(0), w1))


def raw(problem: sinkhorn.Entropic, reg: float) -> Array:
    """The unbalanced plan before it is normalised."""
    if reg:
        return sinkhorn.solve(problem, reg, 1e-10, 20_000).plan
    dense = np.zeros(problem.cost.shape)
    i, j, mass, *_ = relaxed_pairs(problem)
    dense[i, j] = mass
    return dense


# Unbalanced


@pytest.mark.parametrize("reg", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("reg_m", [0.2, 1.0, 30.0])
@pytest.mark.parametrize("distance", [0.0, 0.5, 2.0])
def test_two_diracs(reg: float, reg_m: float, distance: float) -> None:
    """One pair: c + (2 reg_m + reg) log m = 0, so m = exp(-c / (2 reg_m + reg))."""
    one = np.ones(1)
    problem = sinkhorn.Entropic(np.array([[distance**2]]), one, one, reg_m)
    mass = np.exp(-(distance**2) / (2 * reg_m + reg))
    assert raw(problem, reg).item() == pytest.approx(mass, rel=1e-6)


@pytest.mark.parametrize("reg", [0.0, 0.1])
def test_far_apart_pairs_do_not_know_each_other(reg: float) -> None:
    """Each near pair has the mass sqrt(a b) exp(-c / 2 reg_m), and far pairs have none."""
    x0, x1 = np.array([[0.0], [100.0], [200.0]]), np.array([[0.5], [101.0], [202.0]])
    w0, w1, reg_m = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6]), 1.5
    plan = matrix(solve(Unbalanced(reg_m=reg_m, reg=reg), x0, x1, w0, w1))
    exponent = 1 / (2 * reg_m + reg)
    masses = (w0 * w1) ** ((reg_m + reg) * exponent) * np.exp(-np.array([0.25, 1, 4]) * exponent)
    assert np.diag(plan) == pytest.approx(masses / masses.sum(), rel=1e-3 if reg else 0.02)
    assert plan - np.diag(np.diag(plan)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("reg_m", [0.3, 1.0, 5.0, 100.0])
def test_entropic_plans_meet_the_first_order_conditions(reg_m: float) -> None:
    """c + reg log(π / w0 w1) + reg_m log(π1 / w0) + reg_m log(πᵀ1 / w1) = 0 on every pair."""
    x0, x1, w0, w1 = weighted(15, 20, 2, seed=1)
    cost, reg = squared_distances(x0, x1), 0.5
    plan = raw(sinkhorn.Entropic(cost, w0, w1, reg_m), reg)
    slope = cost + reg * np.log(plan / np.outer(w0, w1))
    slope += reg_m * (np.log(plan.sum(1) / w0)[:, None] + np.log(plan.sum(0) / w1))
    assert slope == pytest.approx(0, abs=1e-5 * max(reg_m, 1))


@pytest.mark.parametrize("reg", [0.2, 1.0])
def test_entropic_plans_equal_those_of_pot(reg: float) -> None:
    """A rival library, where it converges."""
    import ot

    x0, x1, w0, w1 = weighted(20, 25, 2, seed=2)
    cost = squared_distances(x0, x1)
    rival = ot.unbalanced.sinkhorn_unbalanced(
        w0, w1, cost, reg, 2.0, reg_type="kl", numItermax=50_000, stopThr=1e-12
    )
    assert raw(sinkhorn.Entropic(cost, w0, w1, 2.0), reg) == pytest.approx(rival, abs=1e-8)


@pytest.mark.parametrize("reg_m", [0.3, 1.0, 10.0, 1e4])
@pytest.mark.parametrize("seed", [3, 4])
def test_sharp_plans_are_optimal(reg_m: float, seed: int) -> None:
    """No plan is cheaper than any feasible prices prove: here the plan's own, made feasible."""
    x0, x1, w0, w1 = weighted(40, 50, 2, seed)
    problem = sinkhorn.Entropic(squared_distances(x0, x1), w0, w1, reg_m)
    plan = raw(problem, 0.0)
    f = -reg_m * np.log(np.maximum(plan.sum(1), 1e-300) / w0)
    g = (problem.cost - f[:, None]).min(0)
    f = (problem.cost - g).min(1)
    bound = -reg_m * (w0 @ np.expm1(-f / reg_m) + w1 @ np.expm1(-g / reg_m))
    assert bound <= value(plan, problem, 0.0) <= bound + 5e-4 * abs(bound)
    assert len(np.flatnonzero(plan)) <= 40 + 50 - 1


def test_sharp_plans_are_no_dearer_than_pot() -> None:
    """The majorise-minimise solver approaches the same value from above."""
    import ot

    x0, x1, w0, w1 = weighted(25, 30, 2, seed=5)
    problem = sinkhorn.Entropic(squared_distances(x0, x1), w0, w1, 0.8)
    rival = ot.unbalanced.mm_unbalanced(w0, w1, problem.cost, 0.8, reg=0, numItermax=20_000)
    found = value(raw(problem, 0.0), problem, 0.0)
    assert found == pytest.approx(value(rival, problem, 0.0), rel=1e-3)


def test_dear_marginals_give_the_balanced_plans() -> None:
    """reg_m → ∞: exact without regularisation, Sinkhorn with it."""
    x0, x1, w0, _ = case = weighted(30, 40, 2, seed=6)
    sharp = solve(Unbalanced(reg_m=1e7, reg=0.0), *case)
    least = solve(Exact(), *case).mean_cost(x0, x1)
    assert sharp.mean_cost(x0, x1) == pytest.approx(least, rel=1e-5)
    assert np.abs(sharp.marginals()[0] - w0).sum() < 1e-5
    blurred = matrix(solve(Unbalanced(reg_m=1e7, reg=0.3), *case))
    assert np.abs(blurred - matrix(solve(Sinkhorn(reg=0.3), *case))).sum() < 1e-3


@pytest.mark.parametrize("reg", [0.0, 5.0])
def test_cheap_marginals_leave_far_points_behind(reg: float) -> None:
    """Outliers on either side lose their mass as reg_m falls; they keep it as reg_m grows."""
    x0, x1 = plain(40, 2, seed=7)
    x0[:4] += 30.0
    x1[:4] -= 30.0
    shares = []
    for reg_m in (1.0, 300.0, 1e6):
        mass0, mass1 = solve(Unbalanced(reg_m=reg_m, reg=reg), x0, x1).marginals()
        shares.append(mass0[:4].sum() + mass1[:4].sum())
    assert shares[0] < 1e-12
    assert 1e-6 < shares[1] < 0.19
    assert shares[2] == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("reg", [0.0, 0.05])
def test_points_out_of_reach_change_nothing(reg: float) -> None:
    """Outliers whose mass is too small for a float leave the plan of the others as it is."""
    x0, x1 = plain(40, 2, seed=7)
    far0, far1 = np.concatenate([x0, x0[:4] + 90]), np.concatenate([x1, x1[:4] - 90])
    plan = matrix(solve(Unbalanced(reg_m=1.0, reg=reg), far0, far1))
    assert plan[40:].sum() + plan[:, 40:].sum() == 0
    alone = matrix(solve(Unbalanced(reg_m=1.0, reg=reg), x0, x1))
    assert np.abs(plan[:40, :40] - alone).sum() < (1e-3 if reg else 0.05)


@pytest.mark.parametrize("reg", [0.0, 0.05])
def test_plans_of_nothing_are_refused(reg: float) -> None:
    """Where hardly any mass is worth its way, the error says what to raise."""
    x0, x1 = plain(20, 2, seed=8)
    with pytest.raises(NumericsError, match=r"hardly any mass .* raise reg_m"):
        solve(Unbalanced(reg_m=0.1, reg=reg), x0, x1 + 50)


def test_unbalanced_says_when_it_has_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan off its optimum comes with a warning and the remedy, with and without reg."""
    from cfmcli.flows.coupling import relaxed

    x0, x1 = plain(30, 2, seed=9)
    monkeypatch.setattr(relaxed, "_ITERATIONS", 3)
    with pytest.warns(CfmWarning, match="not converged after 3 iterations"):
        solve(Unbalanced(reg_m=50.0, reg=0.01), x0, x1)
    monkeypatch.setattr(relaxed, "_STEPS", 1)
    with pytest.warns(CfmWarning, match="may miss the optimum by .* set reg above 0"):
        solve(Unbalanced(reg_m=0.05, reg=0.0), x0, x1 - 1)


# Partial


@pytest.mark.parametrize("mass", [0.05, 0.37, 0.5, 0.93])
@pytest.mark.parametrize("seed", range(3))
def test_partial_equals_pot(mass: float, seed: int) -> None:
    """The same cost as POT's solver, and marginals below the weights."""
    import ot

    x0, x1, w0, w1 = weighted(15, 22, 2, seed)
    cost = squared_distances(x0, x1)
    plan = mass * matrix(solve(Partial(mass=mass), x0, x1, w0, w1))
    rival = ot.partial.partial_wasserstein(w0, w1, cost, m=mass, nb_dummies=5)
    assert (plan * cost).sum() == pytest.approx((rival * cost).sum(), rel=1e-6)
    assert plan.sum() == pytest.approx(mass, rel=1e-12)
    assert (plan.sum(1) <= w0 + 1e-12).all()
    assert (plan.sum(0) <= w1 + 1e-12).all()


def test_partial_is_brute_force() -> None:
    """Half of four points: the cheapest of all ways to pair two with two."""
    from itertools import combinations, permutations

    rng = np.random.default_rng(1)
    for _ in range(10):
        x0, x1 = rng.normal(size=(2, 4, 2))
        cost = squared_distances(x0, x1)
        least = min(
            cost[a, b].sum() for a in combinations(range(4), 2) for b in permutations(range(4), 2)
        )
        plan = solve(Partial(mass=0.5), x0, x1)
        assert plan.mean_cost(x0, x1) == pytest.approx(least / 2, rel=1e-9)
        assert len(plan.arrays()[0]) == 2


def test_partial_of_everything_is_exact() -> None:
    """mass = 1 leaves nothing out."""
    case = weighted(20, 30, 2, seed=2)
    assert np.array_equal(matrix(solve(Partial(mass=1.0), *case)), matrix(solve(Exact(), *case)))


def test_partial_leaves_outliers_out() -> None:
    """A tenth of either cloud far away: at 90 % of the mass none of it is paired or drawn."""
    x0, x1 = plain(40, 2, seed=3)
    x0[:4] += 30.0
    x1[:4] -= 30.0
    plan = solve(Partial(mass=0.9), x0, x1)
    mass0, mass1 = plan.marginals()
    assert mass0[:4].sum() + mass1[:4].sum() == 0
    assert mass0[4:] == pytest.approx(1 / 36, rel=1e-9)
    i, j = plan.draw(360, np.random.default_rng(0))
    assert np.array_equal(np.bincount(i, minlength=40), [0] * 4 + [10] * 36)
    assert np.array_equal(np.bincount(j, minlength=40), [0] * 4 + [10] * 36)


def test_partial_pairs_no_more_than_its_share() -> None:
    """Also where pairs cost nothing."""
    x = np.repeat(np.eye(3), 5, axis=0)
    plan = solve(Partial(mass=0.4), x, x)
    assert matrix(plan).sum() == pytest.approx(1, abs=1e-12)
    assert max(mass.max() for mass in plan.marginals()) <= 1 / (15 * 0.4) + 1e-12


def test_more_mass_costs_more_each() -> None:
    """The cost of the last unit of mass rises, so the cost is convex in the mass."""
    x0, x1, w0, w1 = weighted(20, 30, 2, seed=4)
    masses = np.linspace(0.1, 1.0, 10)
    costs = [m * solve(Partial(mass=m), x0, x1, w0, w1).mean_cost(x0, x1) for m in masses]
    assert (np.diff(costs, 2) > -1e-9).all()
