"""Laws of pairing: marginals, couplings inside minibatches and pools, and independence of order."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.couplings import Coupling, Exact, Independent
from cfmcli.flows.coupling.ends import CloudSource, NormalSource
from cfmcli.flows.coupling.layout import Layout
from cfmcli.flows.coupling.pairing import BatchedPairs, GroupedPairs, PairSource, PlannedPairs
from cfmcli.flows.coupling.plans import Plan
from cfmcli.flows.coupling.pools import PLAN_LIFE, PooledPairs
from cfmcli.flows.streams import Streams

STREAMS = Streams(11)


def cloud(n: int, seed: int, shift: float = 0.0) -> Array:
    return shift + np.random.default_rng(seed).standard_normal((n, 2))


def uniform(n: int) -> Array:
    return np.full(n, 1 / n)


def weights(n: int, seed: int) -> Array:
    w = np.random.default_rng(seed).random(n) + 0.1
    return np.asarray(w / w.sum())


X0, X1 = cloud(30, 1), cloud(40, 2, shift=3.0)
W0, W1 = weights(30, 3), weights(40, 4)


def counts(points: Array, drawn: np.ndarray) -> np.ndarray:
    """How often each point was drawn; every drawn point has to be one of them."""
    found = (points[:, None].astype(np.float32) == drawn[None]).all(axis=2)
    assert found.any(axis=0).all()
    return np.asarray(found.sum(axis=1))


def assert_systematic(count: np.ndarray, n: int, w: Array) -> None:
    """Each point floor or ceil of n w times."""
    assert (np.abs(count - n * w) < 1 + 1e-9).all()
    assert count.sum() == n


def sources(coupling: Coupling) -> dict[str, PairSource]:
    """Each kind of pair source over the same target cloud."""
    plan = coupling.plan(X0, X1, W0, W1, np.random.default_rng(5))
    return {
        "planned": PlannedPairs(X0, X1, plan),
        "batched": BatchedPairs(CloudSource(X0, W0), CloudSource(X1, W1), coupling, 16),
        "pooled": PooledPairs(NormalSource(2), X1, W1, coupling, 50),
        "grouped": grouped(coupling),
    }


SPLIT = (12, 25)
SHARES = np.array([W1[: SPLIT[1]].sum(), W1[SPLIT[1] :].sum()])


def grouped(coupling: Coupling) -> GroupedPairs:
    """The clouds in two groups, the first coupled whole, the second by minibatches."""
    (a0, b0), (a1, b1), (u0, v0), (u1, v1) = (
        np.split(rows, [at]) for rows, at in zip((X0, X1, W0, W1), (*SPLIT, *SPLIT), strict=True)
    )
    plan = coupling.plan(a0, a1, u0, u1, np.random.default_rng(5))
    ends = CloudSource(b0, v0 / v0.sum()), CloudSource(b1, v1 / v1.sum())
    groups = PlannedPairs(a0, a1, plan), BatchedPairs(*ends, coupling, 16)
    return GroupedPairs(groups, SHARES, np.array([len(a0), len(b0)]))


KINDS = ("planned", "batched", "pooled", "grouped")
each_kind = pytest.mark.parametrize("kind", KINDS)
each_coupling = pytest.mark.parametrize("coupling", [Independent(), Exact()], ids=str)


@each_kind
@each_coupling
def test_pairs_depend_on_seed_segment_and_block_alone(kind: str, coupling: Coupling) -> None:
    """Whatever was drawn before, and from however many sources, the pairs are the same."""
    blocks = [0, PLAN_LIFE + 1, 1, 3 * PLAN_LIFE, 0, 1, PLAN_LIFE]
    one = sources(coupling)[kind]
    first = {block: one.draw(block, 20, 0, STREAMS) for block in blocks}
    for block in sorted(set(blocks)):
        fresh = sources(coupling)[kind].draw(block, 20, 0, STREAMS)
        assert all(np.array_equal(a, b) for a, b in zip(first[block], fresh, strict=True))
    assert not np.array_equal(first[0][1], first[1][1])
    assert not np.array_equal(first[0][1], one.draw(0, 20, 1, STREAMS)[1])
    assert not np.array_equal(first[0][1], one.draw(0, 20, 0, Streams(12))[1])


@each_kind
@pytest.mark.parametrize("n", [1, 7, 16, 33])
def test_as_many_pairs_as_asked_in_float32(kind: str, n: int) -> None:
    x0, x1 = sources(Exact())[kind].draw(2, n, 0, STREAMS)
    assert x0.shape == x1.shape == (n, 2)
    assert x0.dtype == x1.dtype == np.float32


@each_kind
@each_coupling
def test_pairs_keep_the_marginals(kind: str, coupling: Coupling) -> None:
    """Over many blocks each point comes as often as its weight says, within the noise."""
    source, n, blocks = sources(coupling)[kind], 48, 120
    drawn = [source.draw(block, n, 0, STREAMS) for block in range(blocks)]
    total = n * blocks
    target = counts(X1, np.concatenate([x1 for _, x1 in drawn])) / total
    assert float(np.abs(target - W1).max()) < 4.5 * (W1.max() / total) ** 0.5
    if kind in ("planned", "batched"):
        start = counts(X0, np.concatenate([x0 for x0, _ in drawn])) / total
        assert float(np.abs(start - W0).max()) < 4.5 * (W0.max() / total) ** 0.5


def test_batches_waste_no_points() -> None:
    """The draw of a block meets each point floor or ceil of its share, before and after pairing."""
    for coupling in (Independent(), Exact()):
        pairs = sources(coupling)["batched"].draw(0, 64, 0, STREAMS)
        for points, w, drawn in zip((X0, X1), (W0, W1), pairs, strict=True):
            assert_systematic(counts(points, drawn), 64, w)


def test_batches_are_coupled_inside_and_only_there() -> None:
    """Each minibatch of an exact coupling is monotone in one dimension; the whole draw is not."""
    line = np.sort(np.random.default_rng(0).standard_normal((200, 1)), axis=0)
    ends = CloudSource(line, uniform(200)), CloudSource(2 * line + 1, uniform(200))
    x0, x1 = BatchedPairs(*ends, Exact(), 25).draw(0, 100, 0, STREAMS)
    for rows in np.split(np.arange(100), 4):
        order = x0[rows, 0].argsort()
        assert (np.diff(x1[rows, 0][order]) >= 0).all()
    assert (np.diff(x1[x0[:, 0].argsort(), 0]) < 0).any()


def test_planned_pairs_are_those_of_the_plan() -> None:
    plan = Exact().plan(X0, X1, W0, W1, np.random.default_rng(5))
    x0, x1 = PlannedPairs(X0, X1, plan).draw(0, 500, 0, STREAMS)
    i, j, mass = plan.arrays()
    assert_systematic(counts(np.hstack((X0[i], X1[j])), np.hstack((x0, x1))), 500, mass)


@pytest.mark.parametrize("n", [1, 7, 100, 250])
def test_blocks_of_an_epoch_share_out_the_plan(n: int) -> None:
    """Together they hold each pair of 250 as often as its mass says, in an order of their own."""
    x0, x1 = cloud(250, 1), cloud(250, 2)
    plan = Exact().plan(x0, x1, uniform(250), uniform(250), np.random.default_rng(5))
    i, j, mass = plan.arrays()
    pairs, blocks = PlannedPairs(x0, x1, plan), 250 // n
    orders = []
    for epoch in range(2):
        drawn = [pairs.draw(epoch * blocks + k, n, 0, STREAMS) for k in range(blocks)]
        whole = np.hstack([np.concatenate(part) for part in zip(*drawn, strict=True)])
        assert_systematic(counts(np.hstack((x0[i], x1[j])), whole), blocks * n, mass)
        orders.append(whole)
    assert not np.array_equal(orders[0], orders[1])


def test_normal_source_is_standard_normal() -> None:
    x = NormalSource(3).draw(20_000, np.random.default_rng(0))
    assert np.abs(x.mean(axis=0)).max() < 4.5 / 20_000**0.5
    assert np.allclose(np.cov(x.T), np.eye(3), atol=0.05)


@dataclass(frozen=True)
class Watched(Coupling):
    """The exact coupling, which remembers how often it was solved."""

    solved: list[int] = field(default_factory=list)

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Solve and note it."""
        self.solved.append(len(x0))
        return Exact().plan(x0, x1, w0, w1, rng)

    def whole(self, n0: int, n1: int) -> Coupling:
        """Itself."""
        return self


def test_a_pool_serves_its_blocks_and_is_then_drawn_anew() -> None:
    coupling = Watched()
    source = PooledPairs(NormalSource(2), X1, W1, coupling, 50)
    drawn = [
        {tuple(x) for x in source.draw(block, 60, 0, STREAMS)[0].tolist()}
        for block in range(2 * PLAN_LIFE)
    ]
    first, second = set().union(*drawn[:PLAN_LIFE]), set().union(*drawn[PLAN_LIFE:])
    assert len(first) == len(second) == 50
    assert not first & second
    assert coupling.solved == [50, 50]


def test_pools_of_several_sources_do_not_crowd_each_other_out() -> None:
    """Training and validation in turn solve one plan each."""
    coupling = Watched()
    both = [PooledPairs(NormalSource(2), X1, W1, coupling, size) for size in (50, 60)]
    for block in range(5):
        for source in both:
            source.draw(block, 10, 0, STREAMS)
    assert coupling.solved == [50, 60]


def test_mean_cost_of_a_pool() -> None:
    """It is what the draws of a whole pool cost, and below that of random pairs."""
    source = PooledPairs(NormalSource(2), X1, uniform(40), Exact(), 40)
    x0, x1 = source.draw(0, 40, 0, STREAMS)
    cost = source.mean_cost(0, STREAMS, 2)
    assert cost == pytest.approx(float(((x0 - x1) ** 2).sum(axis=1).mean()), rel=1e-5)
    random = float(((x0[:, None] - x1[None]) ** 2).sum(axis=2).mean())
    assert cost < random


@each_coupling
def test_pairs_stay_within_their_group(coupling: Coupling) -> None:
    """Groups come by their shares in every draw, mixed, and keep the weights inside them."""
    n, blocks = 48, 120
    rows = []
    for block in range(blocks):
        x0, x1 = grouped(coupling).draw(block, n, 0, STREAMS)
        i, j = (
            (points[:, None].astype(np.float32) == x[None]).all(axis=2).argmax(axis=0)
            for points, x in ((X0, x0), (X1, x1))
        )
        first = j < SPLIT[1]
        assert np.array_equal(i < SPLIT[0], first)
        assert abs(first.sum() - n * SHARES[0]) < 1 + 1e-9
        assert (np.diff(first.astype(int)) != 0).sum() > 3
        rows.append(i)
    inside = np.concatenate([W0[: SPLIT[0]], W0[SPLIT[0] :]])
    for part, share in ((slice(SPLIT[0]), SHARES[0]), (slice(SPLIT[0], None), SHARES[1])):
        inside[part] *= share / inside[part].sum()
    found = np.bincount(np.concatenate(rows), minlength=len(X0)) / (n * blocks)
    assert float(np.abs(found - inside).max()) < 4.5 * (inside.max() / (n * blocks)) ** 0.5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_draw_too_small_for_all_groups_is_still_whole(n: int) -> None:
    x0, x1 = grouped(Exact()).draw(0, n, 0, STREAMS)
    assert x0.shape == x1.shape == (n, 2)


def test_groups_have_noise_of_their_own() -> None:
    """Two groups that are the same cloud are not drawn alike."""
    half = BatchedPairs(NormalSource(2), CloudSource(X1, W1), Independent(), 16)
    twice = GroupedPairs((half, half), np.array([0.5, 0.5]), np.array([len(X1)] * 2))
    x0, _ = twice.draw(0, 64, 0, STREAMS)
    assert len(np.unique(x0, axis=0)) == 64


@pytest.mark.parametrize("conditions", [0, 3])
@pytest.mark.parametrize("tangents", [False, True])
def test_a_layout_finds_each_part_of_a_row(conditions: int, tangents: bool) -> None:
    """Coordinates first, then the condition, then the tangent, of either end."""
    width = 2 + conditions + 2 * tangents
    x0, x1 = (np.arange(5 * width, dtype=np.float32).reshape(5, width) + k for k in (0, 1000))
    layout = Layout(2, conditions, tangents)
    starts = [0, 0, 2 + conditions, 2 + conditions]
    for part, rows, start in zip(layout.ends(x0, x1), (x0, x1, x0, x1), starts, strict=False):
        assert np.array_equal(part, rows[:, start : start + 2])
    assert len(layout.ends(x0, x1)) == (4 if tangents else 2)
    assert np.array_equal(layout.condition(x1), x1[:, 2 : 2 + conditions])


def test_noise_takes_conditions_by_their_weights() -> None:
    """Standard normal points, each condition floor or ceil of its share, apart from the point."""
    conditions, w = cloud(12, 3), weights(12, 4)
    rows = NormalSource(2, conditions, w).draw(6000, np.random.default_rng(0))
    place = (rows[:, None, 2:] == conditions[None]).all(axis=2).argmax(axis=1)
    assert_systematic(np.bincount(place, minlength=12), 6000, w)
    assert np.abs(rows[:, :2].mean(axis=0)).max() < 4.5 / 6000**0.5
    apart = np.cov(rows.T).reshape(4, 4)[:2, 2:] / conditions.std(axis=0)
    assert np.abs(apart).max() < 4.5 / 6000**0.5


@pytest.mark.parametrize("kind", ["batched", "pooled"])
@pytest.mark.parametrize("factor", [0.0, 1.0, 1000.0])
def test_a_ruler_says_what_columns_weigh(kind: str, factor: float) -> None:
    """Scaled by it, distances are those of the stretched points; the pairs drawn are not scaled."""
    ruler = np.array([1.0, factor])
    line = CloudSource(X1, uniform(40))
    source: PairSource = (
        BatchedPairs(CloudSource(X0, uniform(30)), line, Exact(), 30, ruler)
        if kind == "batched"
        else PooledPairs(NormalSource(2), X1, uniform(40), Exact(), 40, ruler)
    )
    x0, x1 = source.draw(0, 30 if kind == "batched" else 40, 0, STREAMS)
    counts(X1, x1)
    measured0, measured1 = (x.astype(float) * ruler for x in (x0, x1))
    n = len(x0)
    plan = Exact().plan(measured0, measured1, uniform(n), uniform(n), np.random.default_rng(0))
    drawn = ((measured0 - measured1) ** 2).sum(axis=1).mean()
    assert plan.mean_cost(measured0, measured1) == pytest.approx(drawn, rel=1e-4)
