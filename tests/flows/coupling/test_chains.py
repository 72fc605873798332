"""Laws of chains: points follow their plans' conditional laws, along natural splines."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.stats import chisquare

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.chains import ChainedPairs, Chains, Link
from cfmcli.flows.coupling.layout import Layout, Points
from cfmcli.flows.coupling.pairing import PlannedPairs
from cfmcli.flows.coupling.plans import PairPlan, Plan, ProductPlan
from cfmcli.flows.streams import Streams

STREAMS = Streams(9)
TIMES = np.array([0.0, 2.0, 2.5, 6.0])
N, D = 12, 2


def permuted(seed: int, n: int = N) -> tuple[PairPlan, IntArray]:
    """A plan that is a permutation, and the permutation."""
    order = np.random.default_rng(seed).permutation(n)
    return PairPlan(np.arange(n), order, np.full(n, 1 / n), (n, n)), order


def split(seed: int, n0: int, n1: int) -> tuple[PairPlan, Array]:
    """A plan with its mass spread over all pairs, and its matrix."""
    matrix = np.random.default_rng(seed).dirichlet(np.ones(n0 * n1)).reshape(n0, n1)
    return PairPlan.of_matrix(matrix), matrix


def chained(clouds: list[Array], plans: list[Plan], times: Array) -> list[ChainedPairs]:
    """Every segment of a chain of plans."""
    segments = tuple(
        PlannedPairs(x0, x1, plan)
        for x0, x1, plan in zip(clouds[:-1], clouds[1:], plans, strict=True)
    )
    chains = Chains(segments, times, D)
    return [ChainedPairs(chains, k, own) for k, own in enumerate(segments)]


def marked(sizes: list[int], extra: int = 0) -> list[Array]:
    """Clouds of points that are all different, with some further columns."""
    rng = np.random.default_rng(3)
    return [rng.standard_normal((n, D + extra)) + 3 * k for k, n in enumerate(sizes)]


def rows_in(cloud: Array, drawn: Points) -> IntArray:
    """Which row of a cloud each drawn point is."""
    gap = np.abs(cloud[None, :, :D].astype(np.float32) - drawn[:, None, :D]).sum(axis=2)
    assert (gap.min(axis=1) == 0).all()
    return np.asarray(gap.argmin(axis=1))


@pytest.mark.parametrize("extra", [0, 4])
@pytest.mark.parametrize("segment", range(3))
def test_tangents_are_those_of_the_spline_through_the_chain(segment: int, extra: int) -> None:
    """Permutations leave one chain through each point: scipy's natural spline, per gap."""
    clouds = marked([N] * 4, extra)
    plans, orders = zip(*(permuted(k) for k in range(3)), strict=True)
    followed = np.arange(N)
    chains = [clouds[0][:, :D]]
    for order, cloud in zip(orders, clouds[1:], strict=True):
        followed = order[followed]
        chains.append(cloud[followed, :D])
    curve = CubicSpline(TIMES, np.stack(chains, axis=1), axis=1, bc_type="natural")
    pairs = chained(clouds, list(plans), TIMES)[segment]
    drawn = pairs.draw(4, 40, segment, STREAMS)
    x0, x1, v0, v1 = Layout(D, extra, tangents=True).ends(*drawn)
    start = rows_in(chains[segment], x0)
    assert np.array_equal(start, rows_in(chains[segment + 1], x1))
    span = TIMES[segment + 1] - TIMES[segment]
    for tangent, time in ((v0, TIMES[segment]), (v1, TIMES[segment + 1])):
        np.testing.assert_allclose(tangent, span * curve(time, 1)[start], atol=1e-5)
    for cloud, rows in zip(clouds[segment : segment + 2], drawn, strict=True):
        np.testing.assert_allclose(
            rows[:, D : D + extra], cloud[rows_in(cloud, rows), D:], atol=1e-6
        )


def test_two_snapshots_give_the_chord() -> None:
    clouds = marked([5, 7])
    (pairs,) = chained(clouds, [split(0, 5, 7)[0]], np.array([1.0, 4.0]))
    x0, x1, v0, v1 = Layout(D, tangents=True).ends(*pairs.draw(0, 60, 0, STREAMS))
    np.testing.assert_allclose(v0, x1 - x0, atol=1e-5)
    np.testing.assert_allclose(v1, x1 - x0, atol=1e-5)


def test_a_shorter_gap_has_shorter_tangents() -> None:
    """Another unit of the clock changes nothing: tangents are per gap."""
    plans = [permuted(k)[0] for k in range(3)]
    clouds = marked([N] * 4)
    slow, fast = (chained(clouds, list(plans), c * TIMES)[1] for c in (1.0, 24.0))
    for one, other in zip(slow.draw(0, 30, 1, STREAMS), fast.draw(0, 30, 1, STREAMS), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("forward", [True, False])
def test_links_follow_the_conditional_law_of_the_plan(forward: bool) -> None:
    """Given a row, partners come by their mass in it (chi-square over each row)."""
    plan, matrix = split(1, 4, 6)
    i, j, mass = plan.arrays()
    order = np.lexsort((i, j))
    link = Link(i, j, mass) if forward else Link(j[order], i[order], mass[order])
    law = matrix if forward else matrix.T
    rng = np.random.default_rng(0)
    for row, masses in enumerate(law):
        found = link.follow(np.full(8000, row), rng)
        expected = 8000 * masses / masses.sum()
        counts = np.bincount(found, minlength=len(masses))
        assert chisquare(counts, expected).pvalue > 1e-3


def test_a_link_keeps_apart_rows_asked_together() -> None:
    """Each of many rows is followed by its own masses, in any order and repeated."""
    plan, matrix = split(2, 5, 5)
    link = Link(*plan.arrays())
    rows = np.random.default_rng(1).integers(0, 5, 60_000)
    found = link.follow(rows, np.random.default_rng(2))
    joint = np.zeros((5, 5))
    np.add.at(joint, (rows, found), 1 / len(rows))
    wanted = matrix / matrix.sum(axis=1, keepdims=True) / 5
    assert np.abs(joint - wanted).max() < 4.5 * (0.2 / len(rows)) ** 0.5


@pytest.mark.parametrize("segment", range(3))
def test_the_law_of_a_chain_is_markov(segment: int) -> None:
    """P(a, b, c, d) = G(a,b) H(b,c) K(c,d) / h(b) k(c), from whichever gap it is drawn."""
    sizes = [2, 3, 2, 3]
    parts = [matched(a, b) for a, b in pairwise(sizes)]
    plans = [PairPlan.of_matrix(matrix) for matrix in parts]
    first, second, third = parts
    joint = np.einsum(
        "ab,bc,cd->abcd", first, second / second.sum(1)[:, None], third / third.sum(1)[:, None]
    )
    clouds = [np.stack([np.arange(n), np.full(n, k)], axis=1) for k, n in enumerate(sizes)]
    chains = chained([c.astype(float) for c in clouds], list(plans), TIMES)[segment].chains
    rng = np.random.default_rng(5)
    i, j = plans[segment].draw(30_000, rng)
    rows = chains.knots(segment, i, j, rng)[:, :, 0].astype(int)
    counts = np.zeros(sizes)
    np.add.at(counts, tuple(rows.T), 1)
    assert chisquare(counts.ravel(), 30_000 * joint.ravel()).pvalue > 1e-3


def matched(n0: int, n1: int) -> Array:
    """A matrix of masses with uniform marginals, neither a product nor a permutation."""
    matrix = np.random.default_rng(n0).random((n0, n1)) + 0.2
    for _ in range(200):
        matrix /= matrix.sum(axis=1, keepdims=True) * n0
        matrix /= matrix.sum(axis=0, keepdims=True) * n1
    return np.asarray(matrix)


def test_random_pairs_make_random_chains() -> None:
    """Independent plans: the ends of a chain say nothing about each other."""
    w = np.full(N, 1 / N)
    pairs = chained(marked([N] * 3), [ProductPlan(w, w)] * 2, TIMES[:3])[0]
    i, j = pairs.chains.segments[0].plan.draw(6000, np.random.default_rng(0))
    knots = pairs.chains.knots(0, i, j, np.random.default_rng(1))
    correlation = np.corrcoef(knots[:, 0, 0], knots[:, 2, 0])[0, 1]
    assert abs(correlation) < 4.5 / 6000**0.5


def test_chains_depend_on_seed_and_block_alone() -> None:
    def pairs() -> ChainedPairs:
        plans = [split(k, 6, 6)[0] for k in range(3)]
        return chained(marked([6] * 4), list(plans), TIMES)[1]

    one = pairs()
    first = one.draw(7, 20, 1, STREAMS)
    one.draw(1, 20, 1, STREAMS)
    for a, b in zip(first, pairs().draw(7, 20, 1, STREAMS), strict=True):
        assert a.dtype == np.float32
        assert np.array_equal(a, b)
    assert not np.array_equal(first[0], one.draw(8, 20, 1, STREAMS)[0])
