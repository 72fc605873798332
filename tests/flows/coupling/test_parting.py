"""Laws of parting: what is kept aside shares no point with what is learnt from, nor loses pairs."""

from dataclasses import replace

import numpy as np
import pytest

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.bends import Bend, BentPairs
from cfmcli.flows.coupling.cells import CellPairs
from cfmcli.flows.coupling.chains import ChainedPairs, Chains
from cfmcli.flows.coupling.couplings import Coupling, Exact, Independent, Sinkhorn
from cfmcli.flows.coupling.ends import CloudSource, NormalSource
from cfmcli.flows.coupling.following import FollowingPairs, following
from cfmcli.flows.coupling.growing import GrowingBatches, Masses, growing
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.pairing import BatchedPairs, GroupedPairs, PairSource, PlannedPairs
from cfmcli.flows.coupling.parting import parted
from cfmcli.flows.coupling.plans import PairPlan, Plan
from cfmcli.flows.coupling.pools import PooledPairs
from cfmcli.flows.objective.objectives import Velocity
from cfmcli.flows.path.interpolants import Linear
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.tasks import Task

STREAMS, N0, N1 = Streams(4), 60, 90


def cloud(n: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((n, 2)) + seed


def even(n: int) -> Array:
    return np.full(n, 1 / n)


def plan_of(coupling: Coupling, n0: int, n1: int) -> Plan:
    ends = cloud(n0, 0), cloud(n1, 1)
    return coupling.plan(*ends, even(n0), even(n1), np.random.default_rng(0))


def ends_of(plan: Plan) -> tuple[set[int], set[int]]:
    """The rows and the columns that have mass."""
    i, j, mass = plan.arrays()
    return set(i[mass > 0].tolist()), set(j[mass > 0].tolist())


def parts(plan: Plan, share: float = 0.1) -> tuple[Plan, Plan]:
    found = parted(plan, share, np.random.default_rng(2))
    assert found is not None
    return found


@pytest.mark.parametrize("sizes", [(60, 60), (60, 90), (90, 60), (40, 400), (400, 40)])
@pytest.mark.parametrize("coupling", [Exact(), Independent(), Sinkhorn(reg=0.5)], ids=str)
@pytest.mark.parametrize("share", [0.1, 1 / 3])
def test_no_point_is_in_both_parts(
    coupling: Coupling, sizes: tuple[int, int], share: float
) -> None:
    """The smaller end gives its share of the points, the other as much, and masses stay."""
    plan = plan_of(coupling, *sizes)
    whole = {(i, j): m for i, j, m in zip(*(v.tolist() for v in plan.arrays()), strict=True)}
    train, aside = parts(plan, share)
    share = round(share * min(sizes)) / min(sizes)
    for end, n in enumerate(sizes):
        seen, kept = ends_of(train)[end], ends_of(aside)[end]
        assert not seen & kept
        assert len(seen) <= n - round(share * n)
        assert len(kept) <= round(share * n)
        assert len(seen) + len(kept) > 0.9 * n
    for part in (train, aside):
        assert part.shape == sizes
        for i, j, mass in zip(*(v.tolist() for v in part.arrays()), strict=True):
            assert mass == pytest.approx(whole[i, j])


def test_pairs_one_to_one_all_stay_pairs() -> None:
    """Of a permutation no pair is lost, and each part is optimal between its own points."""
    plan = plan_of(Exact(), 80, 80)
    train, aside = parts(plan, 0.2)
    assert (train.count, aside.count) == (64, 16)
    i, j, _ = aside.arrays()
    again = Exact().plan(
        cloud(80, 0)[i], cloud(80, 1)[j], even(16), even(16), np.random.default_rng(0)
    )
    assert again.mean_cost(cloud(80, 0)[i], cloud(80, 1)[j]) == pytest.approx(
        aside.mean_cost(cloud(80, 0), cloud(80, 1))
    )


def test_few_pairs_are_lost_between_clouds_of_unlike_sizes() -> None:
    """Far fewer than where both ends are chosen at random, which leaves one pair in a hundred."""
    train, aside = parts(plan_of(Exact(), 60, 90), 0.1)
    mass = [float(part.arrays()[2].sum()) for part in (train, aside)]
    assert mass[1] > 0.05
    assert sum(mass) > 0.93


@pytest.mark.parametrize("seed", range(5))
def test_few_points_are_lost_where_weights_are_uneven(seed: int) -> None:
    """Of the other cloud as much mass is kept aside, however many points that is."""
    rng = np.random.default_rng(seed)
    weights = [w / w.sum() for w in (rng.lognormal(0, 1.5, n) for n in (200, 300))]
    whole = Exact().plan(cloud(200, 0), cloud(300, 1), weights[0], weights[1], rng)
    train, aside = parts(whole)
    seen, kept = (part.marginals() for part in (train, aside))
    assert sum(float(part[0].sum()) for part in (seen, kept)) > 0.9
    for w, learnt, other in zip(weights, seen, kept, strict=True):
        assert w[(learnt == 0) & (other == 0)].sum() < 0.05


@pytest.mark.parametrize("coupling", [Sinkhorn(reg=2), Independent(), Exact()], ids=str)
def test_no_part_of_a_cloud_is_left_without_points_to_learn_from(coupling: Coupling) -> None:
    """Along a line, either end of either part has about its share of every twentieth."""
    x0, x1 = (np.sort(cloud(2000, seed)[:, :1], axis=0) for seed in (0, 1))
    plan = coupling.plan(x0, x1, even(2000), even(2000), np.random.default_rng(0))
    for ends in zip(*map(ends_of, parts(plan, 0.2)), strict=True):
        for part, share in zip(ends, (0.8, 0.2), strict=True):
            found = np.bincount(np.array(sorted(part)) // 100, minlength=20) / 100
            assert np.abs(found - share).max() < 5 * (0.16 / 100) ** 0.5


def test_points_without_mass_are_not_kept_aside() -> None:
    """A relaxed plan leaves points alone; those kept aside are of the others."""
    i = np.arange(0, 40, 2)
    plan = PairPlan(i, i + 1, np.full(20, 1 / 20), (40, 41))
    train, aside = parts(plan)
    assert (train.count, aside.count) == (18, 2)


@pytest.mark.parametrize("pairs", [0, 1])
def test_a_single_pair_is_all_to_learn_from(pairs: int) -> None:
    k = np.arange(pairs)
    assert parted(PairPlan(k, k, np.ones(pairs), (3, 3)), 0.5, np.random.default_rng(0)) is None


def rows(x: Array | Points, points: Array) -> set[int]:
    """Which points some rows are of, by their first coordinate."""
    return set(np.abs(x[:, :1] - points[:, 0]).argmin(axis=1).tolist())


X0, X1 = cloud(N0, 0), cloud(N1, 1)
PLANNED = PlannedPairs(X0, X1, plan_of(Exact(), N0, N1))
BEND = Bend(np.array([0.5, -1.0]), np.array([0.25, 2.0]))
CHAINS = Chains((PLANNED, PlannedPairs(X1, X0, plan_of(Exact(), N1, N0))), np.arange(3.0), 2)
SOURCES: dict[str, PairSource] = {
    "planned": PLANNED,
    "batched": BatchedPairs(CloudSource(X0, even(N0)), CloudSource(X1, even(N1)), Exact(), 16),
    "pooled": PooledPairs(NormalSource(2), X1, even(N1), Exact(), 50),
    "normal": BatchedPairs(NormalSource(2), CloudSource(X1, even(N1)), Independent(), 16),
    "grouped": GroupedPairs(
        (PLANNED, replace(PLANNED, x0=X0[::-1])), np.array([0.25, 0.75]), np.array([N0, N0])
    ),
    "bent": BentPairs(PLANNED, BEND),
    "following": FollowingPairs(PLANNED, 2, following(PLANNED, 2, 0, STREAMS)),
    "chained": ChainedPairs(CHAINS, 0, PLANNED),
    "growing": GrowingBatches(
        X0, X1, Masses(np.ones(N0), np.full(N1, 2.0), 1.0), np.full(N0, 3.0), Exact(), 30
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_keeps_points_of_either_end_aside(kind: str) -> None:
    """The same points whatever is drawn, of the target a tenth; a source without end never."""
    train, aside = SOURCES[kind].parted(0.1, np.random.default_rng(3))
    assert aside is not None
    drawn = [[part.draw(block, 500, 0, STREAMS) for block in (0, 1)] for part in (train, aside)]
    ends = [[np.concatenate(end) for end in zip(*part, strict=True)] for part in drawn]
    kept = rows(ends[1][1], X1)
    assert 0 < len(kept) <= 9 * (2 if kind == "grouped" else 1)
    if kind == "grouped":  # where a point of one group may be kept aside and that of another not
        return
    assert len(rows(ends[0][1], X1)) > 75
    assert not rows(ends[0][1], X1) & kept
    if kind not in ("pooled", "normal"):
        assert not rows(ends[0][0], X0) & rows(ends[1][0], X0)


@pytest.mark.parametrize("kind", ["pooled", "cells"])
def test_the_normal_is_under_the_conditions_of_its_part(kind: str) -> None:
    """Points of N(0, I) are told the same as the targets that they may be paired with."""
    told = np.arange(30.0)[:, None]
    normal, ends = NormalSource(2, told, even(30)), (np.hstack((X1[:30], told)), even(30))
    rng = np.random.default_rng(0)
    whole: PooledPairs | CellPairs = (
        PooledPairs(normal, *ends, Exact(), 60)
        if kind == "pooled"
        else CellPairs.fitted(normal, ends, 0.1, None, rng)
    )
    for part in whole.parted(0.2, rng):
        assert part is not None
        x0, x1 = part.draw(0, 600, 0, STREAMS)
        assert set(x0[:, 2].tolist()) == set(x1[:, 2].tolist())


def test_groups_keep_their_shares_and_small_ones_stay_whole() -> None:
    """What is kept aside of the others has their shares among themselves."""
    lone = PlannedPairs(X0[:1] + 50, X1[:1] + 50, plan_of(Independent(), 1, 1))
    far = replace(PLANNED, x1=X1 + 20)
    groups = GroupedPairs((PLANNED, lone, far), np.array([0.3, 0.4, 0.3]), np.array([N0, 1, N0]))
    train, aside = groups.parted(0.1, np.random.default_rng(3))
    assert aside is not None
    assert aside.shares.tolist() == [0.5, 0.5]
    assert train.shares.tolist() == [0.3, 0.4, 0.3]
    assert train.groups[1] is lone
    only = GroupedPairs((lone,), np.ones(1), np.ones(1, dtype=int))
    assert only.parted(0.1, np.random.default_rng(3))[1] is None


def test_a_gap_that_keeps_nothing_aside_is_judged_on_all_its_pairs() -> None:
    """Those kept aside are of the other gaps; where there are none, the task is whole."""
    lone = PlannedPairs(X0[:1], X1[:1], plan_of(Independent(), 1, 1))
    train, aside = Task([lone, PLANNED], Linear(), Velocity()).parted([0.1, 0.1], STREAMS)
    assert aside is not None
    assert train.pairs[0] is aside.pairs[0] is lone
    seen, kept = (rows(part.pairs[1].draw(0, 500, 0, STREAMS)[1], X1) for part in (train, aside))
    assert kept
    assert not seen & kept
    assert Task([lone], Linear(), Velocity()).parted([0.1], STREAMS)[1] is None


@pytest.mark.parametrize(("size", "share", "aside"), [(2, 0.1, 12), (3, 0.2, 36), (20, 0.1, 120)])
def test_many_small_groups_keep_no_more_aside_than_a_share(
    size: int, share: float, aside: int
) -> None:
    """Of 60 groups of two points each six or so have one aside for a tenth, not all of them."""
    one = PlannedPairs(X0[:size], X1[:size], plan_of(Exact(), size, size))
    groups = GroupedPairs((one,) * 60, np.full(60, 1 / 60), np.full(60, size))
    train, kept = groups.parted(share, np.random.default_rng(3))
    assert kept is not None
    counts = [
        [group.plan.count for group in part.groups if isinstance(group, PlannedPairs)]
        for part in (train, kept)
    ]
    assert (sum(counts[0]), sum(counts[1])) == (60 * size - aside, aside)
    assert len(train.groups) == 60


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_of_groups_has_points_aside_where_none_is_due_any(seed: int) -> None:
    pairs = [PlannedPairs(X0[:n], X1[:n], plan_of(Exact(), n, n)) for n in (1, 3, 2)]
    groups = GroupedPairs(tuple(pairs), np.full(3, 1 / 3), np.array([1, 3, 2]))
    train, aside = groups.parted(0.01, np.random.default_rng(seed))
    assert aside is not None
    assert [part is own for part, own in zip(train.groups, pairs, strict=True)] == [1, 0, 1]


@pytest.mark.parametrize("kind", ["bent", "chained"])
def test_paths_of_a_part_go_as_those_of_the_whole(kind: str) -> None:
    """The tangents of pairs of one to one, here through one chain each, are those they had."""
    plan = PlannedPairs(X0, X0 + 1, plan_of(Exact(), N0, N0))
    chains = Chains((plan, PlannedPairs(X0 + 1, X0 - 1, plan.plan)), np.array([0.0, 1.0, 3.0]), 2)
    whole = BentPairs(plan, BEND) if kind == "bent" else ChainedPairs(chains, 0, plan)
    every = np.hstack(whole.draw(0, N0, 0, STREAMS))
    for part in whole.parted(0.2, np.random.default_rng(1)):
        assert part is not None
        drawn = np.hstack(part.draw(0, 40, 0, STREAMS))
        apart = np.abs(drawn[:, None] - every[None]).max(axis=2)
        assert float(apart.min(axis=1).max()) < 1e-5


def test_parts_of_populations_grow_as_the_whole_does() -> None:
    """Masses before and after, summed over the pairs of a part, have the ratio of the whole."""
    masses = Masses(np.full(N0, 1.0), np.full(N1, 2.0), 1.0)
    planned = PlannedPairs(*growing(X0, X1, plan_of(Exact(), N0, N1), masses))
    for whole in (planned, SOURCES["growing"]):
        for part in whole.parted(0.1, np.random.default_rng(3)):
            assert part is not None
            x0, x1 = part.draw(0, 3000, 0, STREAMS)
            mean = (x0[:, 2] + x1[:, 2]) / 2
            ratio = float((x1[:, 2] / mean).sum() / (x0[:, 2] / mean).sum())
            assert ratio == pytest.approx(2 * N1 / N0, rel=1e-3)
