"""Laws of Wasserstein-Fisher-Rao plans: closed forms, rivals, limits, and masses that add up."""

import math
import warnings

import numpy as np
import pytest

from cfmcli.data.arrays import Array
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.coupling.couplings import Exact
from cfmcli.flows.coupling.growing import GrowingBatches, Masses, alone, growing
from cfmcli.flows.coupling.layout import Layout
from cfmcli.flows.coupling.plans import Plan
from cfmcli.flows.coupling.wfr import LEAST, TYPICAL, FisherRao
from cfmcli.flows.streams import Streams
from tests.flows.clouds import matrix, plain, solve, weighted

RNG = np.random.default_rng(0)


def kl(p: Array, q: Array) -> float:
    """Σ p log(p / q) - p + q."""
    kept = p > 0
    return float((p[kept] * np.log(p[kept] / q[kept])).sum() - p.sum() + q.sum())


def squared_distance(plan: Plan, x0: Array, x1: Array, m0: Array, m1: Array, delta: float) -> float:
    """WFR² by the static problem: 2 δ² times its value, at the total mass that is best."""
    i, j, mass = plan.arrays()
    angle = np.linalg.norm(x0[i] - x1[j], axis=1) / (2 * delta)
    left, right = plan.marginals()
    cost = mass @ (-2 * np.log(np.cos(angle)))
    kept0, kept1 = left > 0, right > 0
    slope = left[kept0] @ np.log(left[kept0] / m0[kept0])
    slope += right[kept1] @ np.log(right[kept1] / m1[kept1])
    total = np.exp(-(cost + slope) / 2)
    price = total * cost + kl(total * left, m0) + kl(total * right, m1)
    return 2 * delta**2 * float(price)


@pytest.mark.parametrize("delta", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("m1", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("distance", [0.0, 0.4, 1.3])
def test_two_diracs(delta: float, m1: float, distance: float) -> None:
    """WFR² = 2 δ² (m0 + m1 - 2 √(m0 m1) cos(d / 2δ)), with the cosine 0 from d = πδ on."""
    x0, x1, mass0, mass1 = np.zeros((1, 2)), np.array([[distance, 0.0]]), np.ones(1), np.array([m1])
    plan = FisherRao(delta).plan(x0, x1, mass0, mass1, RNG)
    exact = 2 * delta**2 * (1 + m1 - 2 * math.sqrt(m1) * math.cos(distance / (2 * delta)))
    found = squared_distance(plan, x0, x1, mass0, mass1, delta)
    assert found == pytest.approx(exact, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("delta", [0.4, 1.0, 5.0])
def test_rival(delta: float) -> None:
    """POT's minimiser of the same problem, by another algorithm, finds nothing better."""
    import ot

    x0, x1, m0, m1 = weighted(20, 15, 2, seed=4)
    m1 = 1.7 * m1
    angle = np.linalg.norm(x0[:, None] - x1, axis=2) / (2 * delta)
    cost = np.minimum(-2 * np.log(np.maximum(np.cos(np.minimum(angle, np.pi / 2)), 1e-13)), 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rival = ot.unbalanced.mm_unbalanced(m0, m1, cost, 1.0, div="kl", numItermax=20_000)
    theirs = (rival * cost).sum() + kl(rival.sum(1), m0) + kl(rival.sum(0), m1)
    plan = FisherRao(delta).plan(x0, x1, m0, m1, RNG)
    ours = squared_distance(plan, x0, x1, m0, m1, delta) / (2 * delta**2)
    assert ours == pytest.approx(theirs, rel=5e-3)


def test_large_delta_is_exact_transport() -> None:
    """Then moving costs next to nothing, so marginals are kept and the cheapest way is taken."""
    x0, x1 = plain(30, 2, seed=2)
    far = matrix(solve(FisherRao(1e3), x0, x1))
    assert far == pytest.approx(matrix(solve(Exact(), x0, x1)), abs=1e-4)


def test_nothing_moves_farther_than_pi_delta() -> None:
    """Two islands: each point keeps to its own, and alone it grows by the ratio of the masses."""
    x0, x1 = np.array([[0.0], [10.0]]), np.array([[0.1], [10.1]])
    m0, m1 = np.array([1.0, 1.0]), np.array([3.0, 0.5])
    plan = matrix(FisherRao(1.0).plan(x0, x1, m0, m1, RNG))
    assert plan[0, 1] == plan[1, 0] == 0
    assert np.diag(plan) == pytest.approx(np.sqrt(m0 * m1) / np.sqrt(m0 * m1).sum(), rel=1e-3)


def test_the_default_is_a_multiple_of_the_typical_displacement() -> None:
    """A cloud that moves as a whole by 3 has 3 for its typical displacement, in any unit."""
    x0 = np.random.default_rng(1).normal(size=(40, 2))
    w = np.full(40, 1 / 40)
    for unit in (1.0, 100.0):
        shift = unit * np.array([3.0, 0.0])
        found = FisherRao().lengths(unit * x0, unit * x0 + shift, w, w, RNG)
        still = TYPICAL * LEAST * unit * x0[:, 1].std()
        assert found == pytest.approx([TYPICAL * 3 * unit, still])
    assert FisherRao(0.7).lengths(x0, x0, w, w, RNG).tolist() == [0.7, 0.7]
    assert FisherRao().lengths(x0, x0, w, w, RNG) == pytest.approx(x0.std(axis=0))


def test_what_axes_are_measured_in_does_not_matter() -> None:
    """By default lengths go with the units of each axis, and the plan is the same."""
    x0, x1, m0, m1 = weighted(40, 50, 3, seed=4)
    unit = np.array([1.0, 30.0, 0.01])
    lengths, scaled = (FisherRao().lengths(c * x0, c * x1, m0, m1, RNG) for c in (np.ones(3), unit))
    assert scaled == pytest.approx(unit * lengths, rel=1e-9)
    plan, other = (FisherRao().plan(c * x0, c * x1, m0, m1, RNG) for c in (np.ones(3), unit))
    assert matrix(other) == pytest.approx(matrix(plan), abs=1e-9)


def test_lengths_by_axis_are_one_length_in_scaled_coordinates() -> None:
    """Both of the plan and of the rows that travel."""
    x0, x1, before, after = weighted(20, 25, 2, seed=5)
    lengths = np.array([0.5, 2.0])
    plan = FisherRao(1.0).plan(x0 / lengths, x1 / lengths, before, after, RNG)
    rows0, rows1, _ = growing(x0, x1, plan, Masses(before, after, lengths))
    start, end = (rows[:20].astype(np.float32) for rows in (rows0, rows1))
    told = Layout(2, masses=True).growth(start, end)
    assert (told["delta"] == lengths).all()
    assert told["m0"].shape == told["m1"].shape == (20, 1)


def test_bad_lengths_are_refused() -> None:
    for delta in (-1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="delta"):
            FisherRao(delta)
    with pytest.raises(NumericsError, match="raise delta"):
        solve(FisherRao(0.1), np.zeros((3, 1)), np.ones((3, 1)))


def drawn(x0: Array, x1: Array, plan: Plan, masses: Masses) -> tuple[Array, Array, Array]:
    """The pairs of a plan with masses: points of the source, of the target, and m0, m1."""
    rows0, rows1, whole = growing(x0, x1, plan, masses)
    i, j, mass = whole.arrays()
    m0, m1 = rows0[i, -2], rows1[j, -2]
    return rows0[i, :-2], rows1[j, :-2], (mass / ((m0 + m1) / 2) * np.stack([m0, m1])).T


@pytest.mark.parametrize("delta", [0.3, 1.0, 10.0])
def test_masses_of_pairs_add_up_to_those_of_points(delta: float) -> None:
    """Whatever the plan leaves out: each source point's pairs carry its mass, and each target's."""
    x0, x1, before, after = weighted(30, 25, 2, seed=7)
    after = 2.5 * after
    plan = FisherRao(delta).plan(x0, x1, before, after, RNG)
    start, end, mass = drawn(x0, x1, plan, Masses(before, after, delta))
    for points, ends, wanted, column in ((x0, start, before, 0), (x1, end, after, 1)):
        same = (ends[:, None] == points).all(axis=2)
        assert mass[:, column] @ same == pytest.approx(wanted, rel=1e-6)
    assert mass.sum(axis=0) == pytest.approx([before.sum(), after.sum()])


def test_points_out_of_reach_die_and_are_born_where_they_are() -> None:
    x0, x1 = np.array([[0.0], [50.0]]), np.array([[0.2], [-50.0]])
    before, after = np.array([0.6, 0.4]), np.array([1.5, 0.5])
    plan = FisherRao(1.0).plan(x0, x1, before, after, RNG)
    masses = Masses(before, after, 1.0)
    assert alone(plan, masses) == pytest.approx((0.4, 0.25))
    start, end, mass = drawn(x0, x1, plan, masses)
    found = sorted(zip(start[:, 0], end[:, 0], *mass.T, strict=True))
    assert np.array(found) == pytest.approx(
        np.array([[-50, -50, 0, 0.5], [0, 0.2, 0.6, 1.5], [50, 50, 0.4, 0]])
    )


def test_minibatches_stand_for_the_whole() -> None:
    """Their pairs have the masses of the clouds: growth of an island is that between the clouds."""
    rng = np.random.default_rng(3)
    x0 = np.concatenate([rng.normal(size=(50, 1)), 40 + rng.normal(size=(50, 1))])
    x1 = np.concatenate([rng.normal(size=(150, 1)), 40 + rng.normal(size=(50, 1))])
    masses = Masses(np.full(100, 0.01), np.full(200, 0.01), 2.0)
    batches = GrowingBatches(x0, x1, masses, masses.before, FisherRao(2.0), 64)
    start, end = batches.draw(0, 4000, 0, Streams(0))
    told = Layout(1, masses=True).growth(start, end)
    assert (told["m0"] + told["m1"]) / 2 == pytest.approx(np.ones((4000, 1)), rel=1e-6)
    assert (told["delta"] == 2.0).all()
    near = start[:, 0] < 20
    for island, ratio in ((near, 3.0), (~near, 1.0)):
        grown = told["m1"][island].sum() / told["m0"][island].sum()
        assert grown == pytest.approx(ratio, rel=0.1)


def test_rounding_along_an_axis_on_which_nothing_lies_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    flat = [np.column_stack([rng.standard_normal((40, 2)) + k, np.full(40, 0.1)]) for k in (0, 2)]
    noisy = [x + np.array([0, 0, 1e-13]) * rng.standard_normal(x.shape) for x in flat]
    even = np.full(40, 1 / 40)
    plain, rounded = (
        FisherRao().plan(x[0], x[1], even, even, np.random.default_rng(0)).mean_cost(*flat)
        for x in (flat, noisy)
    )
    assert rounded == pytest.approx(plain, rel=1e-4)
