"""Laws of couplings: exact marginals, least costs, limits and closed forms."""

import warnings
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning, ConfigError, NumericsError
from cfmcli.flows.coupling.bijection import BinaryPartition
from cfmcli.flows.coupling.couplings import (
    Blocks,
    Coupling,
    Exact,
    Independent,
    Paired,
    Sinkhorn,
    fits_exact,
)
from cfmcli.flows.coupling.matching import Heuristic, Stable
from cfmcli.flows.coupling.plans import squared_distances
from cfmcli.flows.coupling.relaxed import Partial, Unbalanced
from cfmcli.flows.coupling.semidiscrete import SemiDiscrete
from cfmcli.flows.coupling.sinkhorn import renormalised_entropy
from cfmcli.flows.coupling.wfr import FisherRao
from tests.flows.clouds import matrix, plain, solve, weighted

BALANCED: list[Coupling] = [
    Independent(),
    Exact(),
    Exact(cost="euclidean"),
    Sinkhorn(reg=0.5),
    Sinkhorn(entropy=0.7),
    Blocks(size=4, gain=0.01),
    Stable(),
    Heuristic(),
    Partial(mass=1.0),
]
RELAXED: list[Coupling] = [
    Unbalanced(reg_m=10.0),
    Unbalanced(reg_m=10.0, reg=0.0),
    Partial(mass=0.7),
    FisherRao(),
    FisherRao(delta=2.0),
]
ONE_TO_ONE: list[Coupling] = [BinaryPartition(plans=4), SemiDiscrete()]
ALL = [*BALANCED, *RELAXED, *ONE_TO_ONE]


# Every coupling


@pytest.mark.parametrize("coupling", BALANCED)
@pytest.mark.parametrize("sizes", [(1, 1), (1, 30), (30, 1), (25, 25), (30, 50), (2, 61)])
def test_marginals_are_the_weights(coupling: Coupling, sizes: tuple[int, int]) -> None:
    """Row and column sums of the plan are w0 and w1, for any sizes and weights."""
    case = weighted(*sizes, 3, seed=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "sinkhorn: the plan has entropy", CfmWarning)
        mass0, mass1 = solve(coupling, *case).marginals()
    assert mass0 == pytest.approx(case[2], abs=1e-12)
    assert mass1 == pytest.approx(case[3], abs=1e-12)


@pytest.mark.parametrize("coupling", [*BALANCED, *ONE_TO_ONE, Paired()])
@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_marginals_of_uniform_clouds_are_uniform(coupling: Coupling, n: int) -> None:
    """Equal sizes and weights: each point has mass 1/n, also where a coupling takes no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "sinkhorn: the plan has entropy", CfmWarning)
        mass0, mass1 = solve(coupling, *plain(n, 3, seed=1)).marginals()
    assert np.stack([mass0, mass1]) == pytest.approx(1 / n, abs=1e-12)


@pytest.mark.parametrize("coupling", [*RELAXED, *BALANCED])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 9), (9, 1), (12, 7)])
def test_plans_sum_to_one(coupling: Coupling, sizes: tuple[int, int]) -> None:
    """Also where not all of the mass takes part: what takes part is all there is to draw."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "sinkhorn: the plan has entropy", CfmWarning)
        plan = solve(coupling, *weighted(*sizes, 2, seed=5))
    assert matrix(plan).sum() == pytest.approx(1, abs=1e-12)
    assert matrix(plan).min() >= 0


@pytest.mark.parametrize("coupling", [*BALANCED, *RELAXED])
def test_weights_count_relative_and_in_any_precision(coupling: Coupling) -> None:
    """Weights of any sum, and float32, are normalised."""
    x0, x1, w0, w1 = weighted(20, 30, 2, seed=2)
    single = solve(coupling, x0, x1, (5 * w0).astype(np.float32), (7 * w1).astype(np.float32))
    double = solve(coupling, x0, x1, w0, w1)
    for mass, exact in zip(single.marginals(), double.marginals(), strict=True):
        assert mass == pytest.approx(exact, abs=3e-4)
        assert mass.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("coupling", [*BALANCED, *ONE_TO_ONE, Paired()])
def test_duplicates_do_no_harm(coupling: Coupling) -> None:
    """Clouds of repeated and shared points keep their marginals."""
    x = np.repeat(np.array([[0.0, 1.0], [2.0, 3.0]]), 20, axis=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "sinkhorn: the plan has entropy", CfmWarning)
        mass0, mass1 = solve(coupling, x, x).marginals()
    assert np.stack([mass0, mass1]) == pytest.approx(1 / 40, abs=1e-12)


@pytest.mark.parametrize("coupling", [*ALL, Paired()])
def test_seed_decides(coupling: Coupling) -> None:
    """Equal generators give equal plans."""
    case = plain(40, 3, seed=3)
    first, second = (solve(coupling, *case, seed=4) for _ in range(2))
    assert np.array_equal(matrix(first), matrix(second))


@pytest.mark.parametrize("coupling", [c for c in ALL if type(c) not in (Blocks, BinaryPartition)])
def test_plans_move_with_the_points(coupling: Coupling) -> None:
    """Reordering the points of either cloud reorders the plan; moving both by a vector does not."""
    x0, x1 = plain(30, 3, seed=4)
    plan = matrix(solve(coupling, x0, x1))
    p, q = np.random.default_rng(4).permutation(30), np.random.default_rng(5).permutation(30)
    assert matrix(solve(coupling, x0[p], x1[q])) == pytest.approx(plan[np.ix_(p, q)], abs=2e-4)
    assert matrix(solve(coupling, x0 + 7, x1 + 7)) == pytest.approx(plan, abs=2e-4)


@pytest.mark.parametrize(
    "coupling",
    [Exact(), Sinkhorn(reg=0.01), Blocks(size=4), *RELAXED, Stable(), Heuristic(), *ONE_TO_ONE],
)
def test_i_is_a_row_of_x0_and_j_a_row_of_x1(coupling: Coupling) -> None:
    """A rotation by one place is found in the direction from source to target."""
    x0 = 10.0 * np.arange(6.0)[:, None]
    x1 = np.roll(x0, 1, axis=0)
    i, j = solve(coupling, x0, x1).draw(6, np.random.default_rng(0))
    assert np.array_equal(j, (i + 1) % 6)
    assert np.array_equal(x0[i], x1[j])


@pytest.mark.parametrize(
    "coupling",
    [Exact(), Exact(cost="cosine"), Blocks(size=4), Stable(), Heuristic(), *ONE_TO_ONE, Paired()],
)
def test_a_draw_of_a_permutation_takes_each_pair_once(coupling: Coupling) -> None:
    """n pairs of n points: no point is left out, none comes twice."""
    plan = solve(coupling, *plain(50, 2, seed=6))
    i, j = plan.draw(50, np.random.default_rng(1))
    assert np.array_equal(np.sort(i), np.arange(50))
    assert np.array_equal(np.sort(j), np.arange(50))
    assert not np.array_equal(i, np.arange(50))


STATED = [coupling for coupling in RELAXED if coupling != FisherRao()]
"""Those whose costs are in units of the data; a length that is found scales with them."""


@pytest.mark.parametrize(
    "coupling", [Exact(), Sinkhorn(), Blocks(), *STATED, Stable(), Heuristic(), *ONE_TO_ONE]
)
def test_overflowing_costs_are_refused(coupling: Coupling) -> None:
    """Points whose squared distances exceed float64 raise, rather than pair at random."""
    with pytest.raises(NumericsError, match="extreme values"):
        solve(coupling, np.full((5, 2), 1e160), -np.full((5, 2), 1e160))


@pytest.mark.parametrize("coupling", [*ALL, Paired()])
def test_whole_clouds_are_coupled_where_it_is_affordable(coupling: Coupling) -> None:
    """Small clouds by the coupling itself; huge ones by it, by blocks, or not at once."""
    assert coupling.whole(500, 500) == coupling
    dense = (Sinkhorn, Stable, Heuristic, Unbalanced, Partial, FisherRao)
    huge = coupling.whole(100_000, 100_000)
    if isinstance(coupling, dense):
        assert huge is None
    elif isinstance(coupling, Exact):
        assert huge == (Blocks() if coupling == Exact() else None)
    elif isinstance(coupling, SemiDiscrete):
        assert huge == Blocks()
        assert coupling.whole(100_000, 1_000) == coupling
    else:
        assert huge == coupling
    if coupling == Exact():
        assert coupling.whole(2_500, 2_500) == coupling
        assert coupling.whole(2_501, 2_500) == Blocks()
    if isinstance(coupling, BinaryPartition):
        assert coupling.whole(500, 501) == Blocks()


# Exact


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_exact_equals_brute_force(n: int) -> None:
    """The least cost over all n! permutations."""
    rng = np.random.default_rng(n)
    for _ in range(5):
        x0, x1 = rng.normal(size=(2, n, 2))
        cost = squared_distances(x0, x1)
        least = min(cost[range(n), p].mean() for p in permutations(range(n)))
        assert solve(Exact(), x0, x1).mean_cost(x0, x1) == pytest.approx(least, rel=1e-12)


def test_exact_in_one_dimension_sorts() -> None:
    """Monotone rearrangement: the k-th smallest goes to the k-th smallest."""
    rng = np.random.default_rng(0)
    x0, x1 = rng.normal(size=(300, 1)), rng.exponential(size=(300, 1))
    i, j, mass = solve(Exact(), x0, x1).arrays()
    assert np.array_equal(np.argsort(np.argsort(x0[:, 0]))[i], np.argsort(np.argsort(x1[:, 0]))[j])
    assert np.ptp(mass) == 0


@pytest.mark.parametrize("n", [50, 333])
def test_exact_is_a_permutation_of_equal_clouds(n: int) -> None:
    """Each point once on either side, all masses the same."""
    rng = np.random.default_rng(n)
    i, j, mass = solve(Exact(), *rng.normal(size=(2, n, 5))).arrays()
    assert np.array_equal(np.sort(i), np.arange(n))
    assert np.array_equal(np.sort(j), np.arange(n))
    assert np.ptp(mass) == 0


@pytest.mark.parametrize("seed", range(5))
def test_exact_equals_linear_programming(seed: int) -> None:
    """Unequal sizes and weights: the cost of the transport polytope's best vertex."""
    from scipy.optimize import linprog

    x0, x1, w0, w1 = weighted(7, 11, 2, seed)
    sums = np.vstack([np.kron(np.eye(7), np.ones(11)), np.tile(np.eye(11), 7)])
    program = linprog(squared_distances(x0, x1).ravel(), A_eq=sums, b_eq=np.concatenate([w0, w1]))
    plan = solve(Exact(), x0, x1, w0, w1)
    assert plan.mean_cost(x0, x1) == pytest.approx(program.fun, rel=1e-8)
    assert len(plan.arrays()[0]) <= 7 + 11 - 1


def test_exact_of_uniform_clouds_splits_evenly() -> None:
    """With 2n targets a source and 2n masses of 1/(2n), every target keeps a single source."""
    rng = np.random.default_rng(6)
    _, j, mass = solve(Exact(), rng.normal(size=(60, 2)), rng.normal(size=(120, 2))).arrays()
    assert np.array_equal(np.sort(j), np.arange(120))
    assert mass == pytest.approx(1 / 120, rel=1e-12)


# Sinkhorn


def entropic_reference(cost: Array, w0: Array, w1: Array, reg: float) -> Array:
    """The entropic plan by plain log-domain iterations, many of them."""
    from scipy.special import logsumexp

    f = np.zeros(len(w0))
    for _ in range(5000):
        g = np.log(w1) - logsumexp(f[:, None] - cost / reg, axis=0)
        f = np.log(w0) - logsumexp(g - cost / reg, axis=1)
    return np.asarray(np.exp(f[:, None] + g - cost / reg))


@pytest.mark.parametrize("reg", [0.05, 0.3, 2.0, 50.0])
def test_sinkhorn_equals_plain_iterations(reg: float) -> None:
    """Scaling, absorption, relaxation and rounding leave the solution alone."""
    x0, x1, w0, w1 = weighted(15, 20, 2, seed=7)
    reference = entropic_reference(squared_distances(x0, x1), w0, w1, reg)
    assert np.abs(matrix(solve(Sinkhorn(reg), x0, x1, w0, w1)) - reference).sum() < 5e-3


def test_sinkhorn_runs_from_exact_to_independent() -> None:
    """The cost rises with reg, from the least cost to the cost of independence."""
    x0, x1, w0, w1 = case = weighted(40, 60, 2, seed=8)
    costs = [solve(Sinkhorn(reg), *case).mean_cost(x0, x1) for reg in (0.01, 0.1, 1.0, 10.0, 1e4)]
    least = solve(Exact(), *case).mean_cost(x0, x1)
    assert (np.diff(costs) > 0).all()
    assert least < costs[0] < least * 1.01
    assert np.abs(matrix(solve(Sinkhorn(1e4), *case)) - np.outer(w0, w1)).sum() < 1e-3


def test_sinkhorn_is_the_gaussian_schroedinger_bridge() -> None:
    """N(-a, I) to N(a, I) at reg = 2 σ²: cov(x0, x1) = (√(4 + σ⁴) - σ²)/2, here by quantiles."""
    from scipy.stats import norm

    x = norm.ppf((np.arange(600) + 0.5) / 600)[:, None]
    for sigma in (0.5, 1.0, 2.0):
        plan = matrix(solve(Sinkhorn(2 * sigma**2), x - 0.1, x + 0.1))
        covariance = float((x.T @ plan @ x).item())
        assert covariance == pytest.approx((np.sqrt(4 + sigma**4) - sigma**2) / 2, abs=0.01)


def test_sinkhorn_factorises_over_dimensions() -> None:
    """The same closed form in two dimensions, diagonal, within sampling error."""
    rng = np.random.default_rng(9)
    x0, x1 = rng.normal(size=(2, 1500, 2))
    x0, x1 = ((x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T for x in (x0, x1))
    plan = matrix(solve(Sinkhorn(2.0), x0 - 0.1, x1 + 0.1))
    assert x0.T @ plan @ x1 == pytest.approx(np.eye(2) * (np.sqrt(5) - 1) / 2, abs=0.05)


@pytest.mark.parametrize("reg", [1e-2, 1e-4, 1e-8])
@pytest.mark.filterwarnings("ignore::cfmcli.errors.CfmWarning")
def test_sinkhorn_with_little_regularisation_stays_finite(reg: float) -> None:
    """No reg makes a NaN or an empty row, however far apart the points are."""
    x0, x1, w0, w1 = weighted(30, 40, 2, seed=10)
    plan = solve(Sinkhorn(reg), x0, x1 * 30, w0, w1)
    assert np.isfinite(matrix(plan)).all()
    assert plan.marginals()[0] == pytest.approx(w0, abs=1e-12)
    least = solve(Exact(), x0, x1 * 30, w0, w1).mean_cost(x0, x1 * 30)
    assert plan.mean_cost(x0, x1 * 30) < 1.01 * least


def test_sinkhorn_says_when_it_has_not_converged() -> None:
    """A plan that is not yet entropic comes with a warning that names the error."""
    x = np.arange(60.0)[:, None]
    w1 = np.random.default_rng(0).dirichlet(np.full(60, 0.3)) + 1e-4
    with pytest.warns(CfmWarning, match=r"not converged after .* off by"):
        plan = solve(Sinkhorn(1e-3), x, x + 0.5, np.ones(60), w1)
    assert plan.marginals()[1] == pytest.approx(w1 / w1.sum(), abs=1e-12)


def test_sinkhorn_refuses_a_plan_of_noise() -> None:
    """A reg below the resolution of the costs is an error, with what to do."""
    x0, x1, w0, w1 = weighted(30, 40, 2, seed=12)
    with pytest.raises(NumericsError, match="raise reg or use exact"):
        solve(Sinkhorn(1e-300), x0, x1 * 1e3, w0, w1)


@pytest.mark.parametrize("goal", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
def test_sinkhorn_meets_an_entropy(goal: float, cost: str) -> None:
    """Equal sizes and weights: H(π)/log n - 1 is what was asked for, whatever the scale."""
    x0, x1 = plain(120, 2, seed=13)
    for scale in (1e-3, 1.0, 1e3):
        plan = matrix(solve(Sinkhorn(entropy=goal, cost=cost), scale * x0, scale * x1))
        kept = plan[plan > 0]
        assert -(kept * np.log(kept)).sum() / np.log(120) - 1 == pytest.approx(goal, abs=5e-3)


def test_sinkhorn_meets_an_entropy_of_unequal_clouds() -> None:
    """The share of the smaller marginal's entropy that the other point does not tell."""
    x0, x1, w0, w1 = weighted(80, 200, 3, seed=14)
    plan = matrix(solve(Sinkhorn(entropy=0.4), x0, x1, w0, w1))
    kept = plan > 0
    told = (plan[kept] * np.log(plan[kept] / np.outer(w0, w1)[kept])).sum()
    assert told / -(w0 * np.log(w0)).sum() == pytest.approx(1 - 0.4, abs=5e-3)


def test_entropy_of_a_plan_runs_from_maps_to_random_pairs() -> None:
    """0 for a permutation and for a map of weighted points, 1 for products, rising with reg."""
    x0, x1, w0, w1 = weighted(30, 40, 2, seed=15)
    assert renormalised_entropy(np.eye(7) / 7) == pytest.approx(0, abs=1e-12)
    assert renormalised_entropy(np.diag(w0)) == pytest.approx(0, abs=1e-12)
    gathered = np.zeros((30, 3))
    gathered[np.arange(30), np.arange(30) % 3] = w0
    assert renormalised_entropy(gathered) == pytest.approx(0, abs=1e-12)
    assert renormalised_entropy(np.outer(w0, w1)) == pytest.approx(1, abs=1e-12)
    assert renormalised_entropy(np.ones((1, 5)) / 5) == 1
    plans = [matrix(solve(Sinkhorn(reg), x0, x1, w0, w1)) for reg in (0.1, 0.4, 2.0, 10.0)]
    found = [renormalised_entropy(plan) for plan in plans]
    assert (np.diff([0, *found, 1]) > 0).all()


def test_sinkhorn_says_when_no_plan_has_so_little_entropy() -> None:
    """Coinciding points share their mass at any reg."""
    x = np.repeat(np.array([[0.0, 1.0], [2.0, 3.0]]), 20, axis=0)
    with pytest.warns(CfmWarning, match=r"entropy 0\.8\d\d with reg = .*not 0\.2"):
        solve(Sinkhorn(entropy=0.2), x, x)


def test_sinkhorn_takes_reg_or_entropy() -> None:
    """Both at once is a question without an answer."""
    with pytest.raises(ConfigError, match=r"entropy = 0\.2 finds reg, and reg = 1 is given too"):
        Sinkhorn(reg=1.0, entropy=0.2)


# Paired


def test_paired_rows_stay_together() -> None:
    """Row i with row i, by the masses of the source; other sizes are refused."""
    x0, x1 = plain(9, 2, seed=0)
    w0 = np.arange(1.0, 10.0)
    assert np.array_equal(matrix(solve(Paired(), x0, x1, w0, w0)), np.diag(w0 / 45))
    with pytest.raises(ConfigError, match="9 source and 8 target rows"):
        solve(Paired(), x0, x1[:8])


# Options and limits


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sinkhorn(reg=0.0),
        lambda: Sinkhorn(reg=-1.0),
        lambda: Sinkhorn(reg=float("nan")),
        lambda: Sinkhorn(reg=float("inf")),
        lambda: Sinkhorn(entropy=1.0),
        lambda: Sinkhorn(entropy=-0.1),
        lambda: Sinkhorn(entropy=float("nan")),
        lambda: Unbalanced(reg_m=0.0),
        lambda: Unbalanced(reg_m=float("inf")),
        lambda: Unbalanced(reg=-0.1),
        lambda: Unbalanced(reg=float("nan")),
        lambda: Partial(mass=0.0),
        lambda: Partial(mass=1.1),
        lambda: BinaryPartition(plans=0),
        lambda: SemiDiscrete(tolerance=0.0),
        lambda: SemiDiscrete(tolerance=1.0),
        lambda: Blocks(size=1),
        lambda: Blocks(gain=0.0),
        lambda: Blocks(gain=1.0),
    ],
)
def test_options_that_cannot_work_are_refused(make: Callable[[], Coupling]) -> None:
    """The message names the option, its value and what is expected."""
    with pytest.raises(
        ConfigError, match=r"(reg|reg_m|entropy|mass|plans|tolerance|size|gain) is .*expected"
    ):
        make()


def test_size_limit_of_exact_plans() -> None:
    """4,000 x 4,000 is the last that fits; one large cloud may be balanced by a small one."""
    assert fits_exact(4000, 4000)
    assert fits_exact(100_000, 100)
    assert not fits_exact(4001, 4000)
