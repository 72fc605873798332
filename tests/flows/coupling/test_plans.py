"""Laws of plans: a draw wastes no mass, is unbiased, and mixes."""

import numpy as np
import pytest

from cfmcli.data.arrays import Array
from cfmcli.errors import NumericsError
from cfmcli.flows.coupling.plans import DensePlan, PairPlan, Plan, ProductPlan, squared_distances
from cfmcli.flows.coupling.resampling import systematic

W0 = np.array([0.1, 0.25, 0.05, 0.4, 0.2])
W1 = np.array([0.3, 0.3, 0.15, 0.25])
MATRIX = np.random.default_rng(7).dirichlet(np.full(20, 0.4)).reshape(5, 4) * (
    np.arange(20).reshape(5, 4) % 3 > 0
)
MATRIX /= MATRIX.sum()


def matrix_of(plan: Plan) -> Array:
    """The plan as its matrix."""
    i, j, mass = plan.arrays()
    matrix = np.zeros(plan.shape)
    matrix[i, j] = mass
    return matrix


def counts(plan: Plan, n: int, rng: np.random.Generator) -> Array:
    """How often each pair comes in a draw of n."""
    i, j = plan.draw(n, rng)
    table = np.zeros(plan.shape)
    np.add.at(table, (i, j), 1)
    return table


def sparse(matrix: Array) -> PairPlan:
    """The matrix as a sparse plan whose pairs come in disorder."""
    i, j = np.nonzero(matrix)
    order = np.random.default_rng(3).permutation(len(i))
    return PairPlan(i[order], j[order], matrix[i, j][order], (matrix.shape[0], matrix.shape[1]))


JOINT = [sparse(MATRIX), DensePlan(MATRIX)]
ALL = [ProductPlan(W0, W1), *JOINT]


@pytest.mark.parametrize("plan", JOINT)
@pytest.mark.parametrize("n", [1, 7, 20, 101])
def test_pairs_and_rows_come_floor_or_ceil_times(plan: Plan, n: int) -> None:
    """|count - n mass| < 1 for every pair and for every row of x0."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        table = counts(plan, n, rng)
        assert np.abs(table - n * MATRIX).max() < 1
        assert np.abs(table.sum(1) - n * MATRIX.sum(1)).max() < 1


@pytest.mark.parametrize("n", [3, 20, 101])
def test_product_marginals_come_floor_or_ceil_times(n: int) -> None:
    """The independent plan stratifies both of its marginals."""
    table = counts(ProductPlan(W0, W1), n, np.random.default_rng(0))
    assert np.abs(table.sum(1) - n * W0).max() < 1
    assert np.abs(table.sum(0) - n * W1).max() < 1


@pytest.mark.parametrize("plan", ALL)
@pytest.mark.parametrize("n", [3, 10])
def test_draws_are_unbiased(plan: Plan, n: int) -> None:
    """The mean count of a pair over many draws is n mass, within five standard errors."""
    rng, repeats = np.random.default_rng(1), 4000
    tables = np.stack([counts(plan, n, rng) for _ in range(repeats)])
    spread = np.sqrt(np.maximum(tables.var(0), 1e-3) / repeats)
    assert (np.abs(tables.mean(0) - n * matrix_of(plan)) < 5 * spread).all()


def test_product_pairs_are_independent() -> None:
    """Knowing i says nothing about j: chi-square of the pair counts given the margins."""
    rng, n, repeats = np.random.default_rng(2), 20, 1000
    total = sum(counts(ProductPlan(W0, W1), n, rng) for _ in range(repeats))
    expected = n * repeats * np.outer(W0, W1)
    assert ((total - expected) ** 2 / expected).sum() < 12 + 5 * np.sqrt(24)


@pytest.mark.parametrize("dense", [False, True])
def test_permutation_drawn_in_full_gives_each_pair_once(dense: bool) -> None:
    """n draws of a permutation of n points are that permutation, in a new order each time."""
    rng, n = np.random.default_rng(5), 500
    target = rng.permutation(n)
    matrix = np.zeros((n, n))
    matrix[np.arange(n), target] = 1 / n
    plan = DensePlan(matrix) if dense else PairPlan.of_matrix(matrix)
    orders = set()
    for _ in range(20):
        i, j = plan.draw(n, rng)
        assert np.array_equal(np.sort(i), np.arange(n))
        assert np.array_equal(j, target[i])
        orders.add(tuple(i))
    assert len(orders) == 20


def test_any_two_pairs_may_meet_in_a_batch() -> None:
    """Small draws mix: every two points of eight meet in a draw of four, about equally often."""
    rng, plan = np.random.default_rng(6), PairPlan.of_matrix(np.eye(8) / 8)
    together = np.zeros((8, 8))
    for _ in range(7000):
        i, _ = plan.draw(4, rng)
        together[np.ix_(i, i)] += 1
    met = together[~np.eye(8, dtype=bool)] / 7000
    assert np.abs(met - 4 / 8 * 3 / 7).max() < 0.03


def test_systematic_draws_every_index_its_share() -> None:
    """An unnormalised mass gives floor or ceil counts; a massless index never comes."""
    mass = np.array([0.0, 3.0, 1.0, 0.0, 2.5, 0.0])
    count = np.bincount(systematic(mass, 40, np.random.default_rng(0)), minlength=6)
    assert np.abs(count - 40 * mass / mass.sum()).max() < 1
    assert not count[mass == 0].any()


@pytest.mark.parametrize("plan", ALL)
def test_marginals_are_sums_of_the_arrays(plan: Plan) -> None:
    """Row and column sums of the stored pairs are the marginals; pairs are sorted."""
    i, j, mass = plan.arrays()
    w0, w1 = plan.marginals()
    matrix = matrix_of(plan)
    assert matrix.sum(1) == pytest.approx(w0, abs=1e-15)
    assert matrix.sum(0) == pytest.approx(w1, abs=1e-15)
    assert (np.diff(i * plan.shape[1] + j) > 0).all()
    assert (mass > 0).all()


@pytest.mark.parametrize("plan", ALL)
def test_mean_cost_is_the_mean_over_pairs(plan: Plan) -> None:
    """Σ mass |x0_i - x1_j|², by a plain loop; far from the origin, too."""
    rng = np.random.default_rng(8)
    x0, x1 = rng.normal(size=(5, 3)) + 1e4, rng.normal(size=(4, 3)) + 1e4
    loop = sum(
        m * sum((a - b) ** 2 for a, b in zip(x0[i], x1[j], strict=True))
        for i, j, m in zip(*plan.arrays(), strict=True)
    )
    assert plan.mean_cost(x0, x1) == pytest.approx(loop, rel=1e-9)


def test_pairs_named_twice_add_up() -> None:
    """A pair list with repeats is the plan of the summed masses."""
    plan = PairPlan(np.array([1, 0, 1]), np.array([0, 2, 0]), np.array([0.25, 0.5, 0.25]), (2, 3))
    i, j, mass = plan.arrays()
    assert (i.tolist(), j.tolist(), mass.tolist()) == ([0, 1], [2, 0], [0.5, 0.5])


@pytest.mark.parametrize("plan", ALL)
def test_seed_decides_and_nothing_is_a_draw(plan: Plan) -> None:
    """Equal generators draw equal pairs; a draw of none is empty."""
    a, b = (np.stack(plan.draw(30, np.random.default_rng(9))) for _ in range(2))
    assert np.array_equal(a, b)
    assert [len(k) for k in plan.draw(0, np.random.default_rng(0))] == [0, 0]


def test_distances_that_overflow_are_refused() -> None:
    """Squares beyond float64 are an error of numbers, not an infinite cost."""
    with pytest.raises(NumericsError, match="not all finite"):
        squared_distances(np.full((2, 1), 1e200), np.zeros((2, 1)))


@pytest.mark.parametrize("plan", ALL)
def test_masses_between_some_points_stay_and_others_go(plan: Plan) -> None:
    """Brute force over the matrix; rows and columns keep their places."""
    rows, columns = np.array([3, 0]), np.array([1, 2, 3])
    part = plan.between(rows, columns)
    wanted = np.zeros(plan.shape)
    for i in rows:
        for j in columns:
            wanted[i, j] = matrix_of(plan)[i, j]
    assert matrix_of(part) == pytest.approx(wanted)
    assert part.shape == plan.shape
    assert part.count == np.count_nonzero(wanted)
    drawn = counts(part, 1000, np.random.default_rng(0))
    assert not drawn[wanted == 0].any()
    assert drawn / 1000 == pytest.approx(wanted / wanted.sum(), abs=2e-3 + 1 / 30)
