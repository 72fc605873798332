"""Laws of displacement: pairs on straight lines are the geodesic of Wasserstein space."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import chisquare

from cfmcli.data.arrays import Array
from cfmcli.data.times import Timeline
from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.couplings import Coupling, Exact, Independent, Sinkhorn
from cfmcli.flows.coupling.plans import PairPlan, ProductPlan
from cfmcli.flows.dynamics.displacement import Displacement, Gap, check_pairs

N = 30
UNEVEN = Timeline((0.0, 2.0, 2.5, 6.0), ("a", "b", "c", "d"))


def cloud(n: int, seed: int) -> Array:
    """Normal points that lie further on, the higher the seed."""
    x = np.random.default_rng(seed).standard_normal((n, 2))
    x[:, 0] += 4.0 * seed
    return x


def uniform(n: int) -> Array:
    return np.full(n, 1 / n)


def weights(n: int) -> Array:
    return np.random.default_rng(n).dirichlet(np.full(n, 3.0))


def gap(x0: Array, x1: Array, how: Coupling | None = None, w0: Array | None = None) -> Gap:
    """A coupled gap; the target has uneven weights where the source has."""
    w1 = uniform(len(x1)) if w0 is None else weights(len(x1))
    w0 = uniform(len(x0)) if w0 is None else w0
    return Gap(x0, x1, (how or Exact()).plan(x0, x1, w0, w1, np.random.default_rng(0)))


def course(sizes: tuple[int, ...] = (N, N, N, N)) -> tuple[Displacement, list[Array]]:
    """Three gaps on an uneven clock, and their clouds."""
    clouds = [cloud(n, k) for k, n in enumerate(sizes)]
    return Displacement(tuple(gap(a, b) for a, b in pairwise(clouds)), UNEVEN), clouds


def distance(x: Array, y: Array) -> float:
    """W2 of clouds of one size, by assignment."""
    cost = cdist(x, y, "sqeuclidean")
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


def test_points_of_a_cloud_end_at_their_partners() -> None:
    """Through every snapshot: positions there are exactly its points, each once."""
    flow, clouds = course()
    found = flow.paths(clouds[0], UNEVEN.times).points
    for points, there in zip(found, clouds, strict=True):
        order = cdist(points, there).argmin(axis=1)
        assert sorted(order) == list(range(N))
        np.testing.assert_allclose(points, there[order], atol=1e-12)
    for k, (before, after) in enumerate(pairwise(found)):
        plan = flow.gaps[k].plan
        assert ((after - before) ** 2).sum(axis=1).mean() == pytest.approx(
            plan.mean_cost(clouds[k], clouds[k + 1])
        )


def test_it_is_the_geodesic_between_the_clouds() -> None:
    """W2(rho_s, rho_t) = |t - s| W2(rho_0, rho_1), for all times of a gap."""
    x0, x1 = cloud(N, 0), cloud(N, 1)
    flow = Displacement((gap(x0, x1),), Timeline((0.0, 1.0), ("a", "b")))
    times = (0.0, 0.2, 0.5, 0.9, 1.0)
    found = flow.paths(x0, times).points
    whole = distance(x0, x1)
    for i, s in enumerate(times):
        for j, t in enumerate(times):
            assert distance(found[i], found[j]) == pytest.approx(abs(t - s) * whole, abs=1e-9)


def test_there_and_back() -> None:
    """From any time to any other, where no plan splits a point."""
    flow, clouds = course()
    start = flow.paths(clouds[0], (0.0, 0.8)).points[-1]
    times = (0.8, 2.0, 2.3, 2.5, 5.0, 6.0)
    there = flow.paths(start, times)
    back = flow.paths(there.points[-1], times[::-1])
    np.testing.assert_allclose(back.points[::-1], there.points, atol=1e-9)
    np.testing.assert_allclose(back.energy, there.energy)


def test_a_path_in_parts_is_the_whole_path() -> None:
    flow, clouds = course()
    times = (0.0, 0.5, 0.5, 2.0, 2.3, 5.0)
    found = flow.paths(clouds[0], times)
    for time, points in zip(times, found.points, strict=True):
        direct = flow.paths(clouds[0], (0.0, time)).points[-1]
        np.testing.assert_allclose(points, direct, atol=1e-12)
    later = flow.paths(found.points[3], times[3:])
    np.testing.assert_allclose(later.points, found.points[3:], atol=1e-12)
    first = flow.paths(clouds[0], times[:4])
    np.testing.assert_allclose(first.energy + later.energy, found.energy)


@pytest.mark.parametrize(("start", "end"), [(0.0, 2.0), (2.2, 2.4), (6.0, 3.0), (0.0, 6.0)])
def test_energy_is_what_the_plans_cost(start: float, end: float) -> None:
    """A gap costs its plan's mean squared distance, part of a gap its share."""
    flow, clouds = course()
    at_start = flow.paths(clouds[0], (0.0, start)).points[-1]
    low, high = sorted((UNEVEN.inner(start), UNEVEN.inner(end)))
    wanted = sum(
        max(0.0, min(high, k + 1) - max(low, k)) * g.plan.mean_cost(g.x0, g.x1)
        for k, g in enumerate(flow.gaps)
    )
    found = flow.paths(at_start, (start, end))
    assert found.energy.mean() == pytest.approx(wanted)
    assert found.nfe == 0


@pytest.mark.parametrize("how", [Exact(), Independent(), Sinkhorn(2.0)], ids=str)
@pytest.mark.parametrize("backward", [False, True])
def test_masses_of_split_points_are_kept(how: Coupling, backward: bool) -> None:
    """Few heavy points against many: a point's copies end at its partners by their mass."""
    w0 = weights(3)
    x0, x1 = cloud(3, 0), cloud(120, 1)
    one = gap(x0, x1, how, w0)
    flow = Displacement((one,), Timeline((0.0, 1.0), ("a", "b")))
    i, j, mass = one.plan.arrays()
    law = np.zeros((3, 120))
    law[i, j] = mass
    n = 30_000
    if backward:
        drawn = np.random.default_rng(1).choice(120, n, p=law.sum(axis=0))
        found = flow.paths(x1[drawn], (1.0, 0.0)).points[-1]
        counts = np.bincount(cdist(found, x0).argmin(axis=1), minlength=3)
        assert chisquare(counts, n * law.sum(axis=1)).pvalue > 1e-3
    else:
        drawn = np.random.default_rng(1).choice(3, n, p=law.sum(axis=1))
        found = flow.paths(x0[drawn], (0.0, 1.0)).points[-1]
        counts = np.bincount(cdist(found, x1).argmin(axis=1), minlength=120)
        assert chisquare(counts, n * law.sum(axis=0)).pvalue > 1e-3


def test_copies_at_one_place_part_by_mass() -> None:
    """Two points of a cloud at the same place share their partners."""
    x0, x1 = np.zeros((2, 2)), np.array([[1.0, 0.0], [0.0, 1.0]])
    found = Displacement((gap(x0, x1),), Timeline((0.0, 1.0), ("a", "b")))
    ends = found.paths(np.zeros((2000, 2)), (0.0, 1.0)).points[-1]
    assert set(map(tuple, ends.tolist())) == {(1.0, 0.0), (0.0, 1.0)}
    assert abs(ends[:, 0].mean() - 0.5) < 4.5 * 0.5 / 2000**0.5


def test_other_points_move_as_their_nearest_pair() -> None:
    flow, clouds = course()
    off = clouds[0] + 1e-3
    moved = flow.paths(off, (0.0, 2.0)).points
    own = flow.paths(clouds[0], (0.0, 2.0)).points
    np.testing.assert_allclose(moved[1] - moved[0], own[1] - own[0], atol=1e-12)


@pytest.mark.parametrize("time", [0.7, 2.2, 4.0])
def test_velocity_is_the_derivative_of_paths_by_the_clock(time: float) -> None:
    flow, _ = course((5, 40, 20, 20))
    x, h = flow.paths(cloud(40, 0), (0.0, time)).points[-1], 1e-4
    later, earlier = (flow.paths(x, (time, time + d)).points[-1] for d in (h, -h))
    np.testing.assert_allclose(flow.velocity(x, time), (later - earlier) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("time", UNEVEN.times)
def test_at_a_snapshot_each_side_has_its_own_speed(time: float) -> None:
    """The gap after it, or the one before; at the ends of the clock there is only one."""
    flow, clouds = course((5, 40, 20, 20))
    x, h = clouds[UNEVEN.times.index(time)], 1e-4
    after, before = (flow.velocity(x, time, forward=forward) for forward in (True, False))
    if time < 6.0:
        step = flow.paths(x, (time, time + h)).points[-1]
        np.testing.assert_allclose((step - x) / h, after, atol=1e-8)
    if time > 0.0:
        step = flow.paths(x, (time, time - h)).points[-1]
        np.testing.assert_allclose((x - step) / h, before, atol=1e-8)
    assert np.array_equal(after, before) is (time in (0.0, 6.0))


def test_staying_costs_nothing() -> None:
    flow, clouds = course()
    found = flow.paths(clouds[1], (2.0, 2.0))
    assert np.array_equal(found.points, np.stack((clouds[1], clouds[1])))
    assert not found.energy.any()


def test_the_same_question_has_the_same_answer() -> None:
    """Split points are parted by a fixed draw; solvers and guides change nothing."""
    flow, clouds = course((3, 50, 20, 20))
    first = flow.paths(clouds[0], UNEVEN.times).points
    assert np.array_equal(first, flow.paths(clouds[0], UNEVEN.times, "dopri5", None).points)


def test_nothing_is_known_outside_the_snapshots() -> None:
    flow, clouds = course()
    for time in (-0.1, 6.1):
        with pytest.raises(ConfigError, match="outside"):
            flow.paths(clouds[0], (0.0, time))
        with pytest.raises(ConfigError, match="outside"):
            flow.velocity(clouds[0], time)


def test_more_pairs_than_fit_in_memory_are_refused() -> None:
    """A dense plan of large clouds is, a sparse one of the same clouds is not."""
    n = 20_000
    with pytest.raises(ConfigError, match=r"400,000,000.*GB: use --coupling exact"):
        check_pairs(ProductPlan(uniform(n), uniform(n)), 2)
    check_pairs(PairPlan(np.arange(n), np.arange(n), uniform(n), (n, n)), 50)
