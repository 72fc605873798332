"""Laws of binding: pairs keep weights, classes, conditions and rows; each gap has its plan."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfmcli import catalog
from cfmcli.data.arrays import Array
from cfmcli.data.conditions import Conditions, fit_conditions
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import CfmWarning, ConfigError
from cfmcli.flows.coupling.couplings import Blocks, Coupling, Exact, Independent, Paired, Sinkhorn
from cfmcli.flows.coupling.pairing import PairSource
from cfmcli.flows.coupling.plans import PairPlan
from cfmcli.flows.objective.objectives import Velocity
from cfmcli.flows.path.curves import Spline
from cfmcli.flows.path.interpolants import Linear
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.tasks import Task
from cfmcli.recipe import Recipe
from cfmcli.workflows import assemble, binding, tangents
from cfmcli.workflows.binding import Binder
from cfmcli.workflows.scope import whole_cloud
from cfmcli.workflows.sides import PlanNote

N0, N1 = 24, 36


def cloud(time: float, points: Any, weights: Any = None) -> Cloud:
    """A cloud of points at a time."""
    mass = np.ones(len(points)) if weights is None else weights
    return Cloud(points, mass / mass.sum(), pd.DataFrame(index=range(len(points))), f"{time}", time)


def pair(weighted: bool = True) -> Snapshots:
    """Two clouds of unequal size on a line, each point at its own place."""
    rng = np.random.default_rng(0)
    x0 = np.stack([np.arange(N0), np.zeros(N0)], axis=1) / N0
    x1 = np.stack([np.arange(N1), np.ones(N1)], axis=1) / N1
    w0, w1 = (rng.uniform(0.2, 3, n) if weighted else np.ones(n) for n in (N0, N1))
    return Snapshots((cloud(0.0, x0, w0), cloud(1.0, x1, w1)))


def bound(recipe: Recipe, snapshots: Snapshots) -> tuple[list[PairSource], list[PlanNote]]:
    """Pairs of every segment, and what became of the plans."""
    coupling = assemble.triple(recipe).coupling
    pairs, _, notes = Binder(recipe, coupling, Conditions(), Streams(0)).segments(snapshots)
    return pairs, notes


def drawn(recipe: Recipe, snapshots: Snapshots, n: int = 16_000) -> tuple[Array, Array]:
    """Pairs of the first segment, of several blocks."""
    pairs, _ = bound(recipe, snapshots)
    blocks = [pairs[0].draw(k, n // 4, 0, Streams(0)) for k in range(4)]
    x0, x1 = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return x0, x1


def shares(x: Any, n: int) -> Any:
    """How often each point of a line was drawn."""
    return np.bincount(np.rint(x[:, 0] * n).astype(int), minlength=n) / len(x)


@pytest.mark.parametrize("coupling", ["independent", "exact", "sinkhorn:reg=0.1", "blocks:size=8"])
@pytest.mark.parametrize("scope", ["dataset", "minibatch"])
@pytest.mark.parametrize("weighted", [True, False])
def test_pairs_have_the_weights_as_marginals(coupling: str, scope: str, weighted: bool) -> None:
    """A point is drawn as often as its weight says: weight two counts as the point twice."""
    snapshots = pair(weighted)
    recipe = Recipe(coupling=coupling, scope=scope, ot_batch=64 if scope == "minibatch" else 0)
    x0, x1 = drawn(recipe, snapshots)
    for x, n, c in ((x0, N0, snapshots.clouds[0]), (x1, N1, snapshots.clouds[1])):
        np.testing.assert_allclose(shares(x, n), c.weights, atol=6 * np.sqrt(0.1 / len(x)))


def test_a_weight_is_a_repetition() -> None:
    """Pairs of a cloud with whole weights are those of the cloud with points repeated."""
    plain = pair(False)
    counts = np.arange(N0) % 3 + 1
    repeated = np.repeat(plain.clouds[0].points, counts, axis=0)
    heavy = replace(plain.clouds[0], weights=counts / counts.sum())
    recipe = Recipe(coupling="exact", scope="dataset")
    one = drawn(recipe, Snapshots((heavy, plain.clouds[1])))
    other = drawn(recipe, Snapshots((cloud(0.0, repeated), plain.clouds[1])))
    tables = [
        np.histogram2d(
            a[:, 0] * N0, b[:, 0] * N1, bins=(N0, N1), range=((-0.5, N0 - 0.5), (-0.5, N1 - 0.5))
        )[0]
        / len(a)
        for a, b in (one, other)
    ]
    assert np.abs(tables[0] - tables[1]).sum() < 0.05


def test_the_note_says_by_how_much_blocks_miss_the_exact_plan() -> None:
    rng = np.random.default_rng(1)
    snapshots = Snapshots(tuple(cloud(t, rng.normal(3 * t, 1, (300, 6))) for t in (0.0, 1.0)))
    (_, (note,)), (_, (exact,)) = (
        bound(Recipe(coupling=name, scope="dataset"), snapshots)
        for name in ("blocks:size=8,gain=0.01", "exact")
    )
    assert note.excess is not None
    ends = [np.asarray(one.points).mean(0) for one in snapshots.clouds]
    shift = float(((ends[0] - ends[1]) ** 2).sum())
    truth = (note.cost - exact.cost) / (note.cost - shift)
    assert note.excess.share == pytest.approx(truth, rel=0.9)
    assert str(note.excess) in str(note)
    told = note.figures()
    assert (told["excess"], told["excess_error"]) == (note.excess.share, note.excess.error)
    assert exact.excess is None is exact.figures()["excess"]


def test_the_note_says_what_pairing_costs() -> None:
    """The plan's cost against the optimum on a line, which is the sorted pairing."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 1)), rng.normal(size=(50, 1)) + 3
    snapshots = Snapshots((cloud(0.0, x), cloud(2.0, y)))
    _, (note,) = bound(Recipe(), snapshots)
    optimum = ((np.sort(x, axis=0) - np.sort(y, axis=0)) ** 2).mean()
    everything = ((x[:, None] - y[None]) ** 2).sum(axis=2).mean()
    assert note.cost == pytest.approx(optimum, rel=1e-9)
    assert note.independent == pytest.approx(everything, rel=1e-9)
    assert (note.scope, note.coupling) == ("dataset", "exact")
    assert "exact" in str(note)
    assert note.figures()["mean_cost"] == note.cost


def far(share: float, n: int = 20, to: float = 100.0) -> Array:
    """Points on a short line, a share of them far away."""
    x = np.arange(n)[:, None] / n
    x[: round(share * n)] += to
    return x


def test_the_note_says_what_a_plan_leaves_out() -> None:
    """As many as are outliers on either side, where that share of the mass is to stay unpaired."""
    snapshots = Snapshots((cloud(0.0, far(0.1)), cloud(1.0, far(0.1, to=-100.0))))
    _, (note,) = bound(Recipe(coupling="partial:mass=0.9"), snapshots)
    assert note.left_out == pytest.approx((0.1, 0.1))
    assert note.figures()["left_out_from"] == note.left_out[0]
    assert "10.0% and 10.0% of the mass left out" in str(note)
    _, (note,) = bound(Recipe(coupling="exact"), snapshots)
    assert note.left_out == pytest.approx((0, 0))
    assert "left out" not in str(note)
    _, (note,) = bound(Recipe(coupling="partial:mass=0.9", ot_batch=8), snapshots)
    assert note.figures()["left_out_to"] is None


def test_classes_are_left_out_by_their_shares() -> None:
    """A class whose every tenth point stays out counts as much as the class does."""
    obs = pd.DataFrame({"kind": ["a"] * 20 + ["b"] * 20})
    clouds = [
        replace(cloud(t, np.concatenate([far(0.1, to=to), far(0.0)])), obs=obs)
        for t, to in ((0.0, 100.0), (1.0, -100.0))
    ]
    recipe = Recipe(coupling="unbalanced:reg_m=10,reg=0", label_key="kind")
    told = fit_conditions("kind", (), [obs])
    coupling = assemble.triple(recipe).coupling
    _, _, (note,) = Binder(recipe, coupling, told, Streams(0)).segments(Snapshots(tuple(clouds)))
    assert note.left_out == pytest.approx((0.05, 0.05), abs=1e-3)


def test_most_of_a_cloud_left_out_is_worth_a_warning() -> None:
    """With the share, and what to raise."""
    snapshots = Snapshots((cloud(0.0, far(0.8)), cloud(1.0, far(0.0))))
    with pytest.warns(CfmWarning, match="80% of the mass at the start and .*raise reg_m"):
        bound(Recipe(coupling="unbalanced:reg=0"), snapshots)


def test_a_partition_of_unequal_clouds_says_that_it_is_none() -> None:
    """Blocks stand in, and a warning says so; equal clouds are partitioned in silence."""
    with pytest.warns(CfmWarning, match=f"bsp .* {N0} and {N1} points: blocks"):
        _, (note,) = bound(Recipe(coupling="bsp"), pair(False))
    assert note.coupling == "blocks"
    _, (note,) = bound(Recipe(coupling="bsp"), Snapshots((cloud(0.0, far(0)), cloud(1.0, far(0)))))
    assert note.coupling == "bsp"


def test_minibatches_have_no_cost_beforehand() -> None:
    """The note says so, also as JSON."""
    recipe = Recipe(ot_batch=16)
    _, (note,) = bound(recipe, pair())
    assert note.scope == "minibatch"
    assert note.figures()["mean_cost"] is None
    assert "mean cost" not in str(note)


def test_several_snapshots_have_a_plan_each() -> None:
    """Segment k couples clouds k and k + 1, and inner times fill [0, K]."""
    line = [cloud(t, np.full((10, 1), t) + np.arange(10)[:, None] * 1e-3) for t in (0.0, 1.0, 5.0)]
    pairs, notes = bound(Recipe(), Snapshots(tuple(line)))
    assert [n.segment for n in notes] == [("0.0", "1.0"), ("1.0", "5.0")]
    found = Task(pairs, Linear(), Velocity()).draw(0, 512, 128, Streams(0))
    s, draw = found.s, found.draw
    assert 0 <= float(s.min()) < 0.1
    assert 1.9 < float(s.max()) <= 2
    first = (s < 1).ravel()
    np.testing.assert_allclose(draw.x_t[first, 0], s[first, 0], atol=0.02)
    np.testing.assert_allclose(draw.x_t[~first, 0], 1 + 4 * (s[~first, 0] - 1), atol=0.02)
    np.testing.assert_allclose(draw.velocity[first], 1, atol=0.02)
    np.testing.assert_allclose(draw.velocity[~first], 4, atol=0.02)


@pytest.mark.parametrize(
    ("settings", "scope"),
    [
        ({"method": "fm"}, "minibatch"),
        ({"interpolant": "linear", "coupling": "exact"}, "pool"),
        ({"interpolant": "linear", "coupling": "exact", "ot_batch": 32}, "minibatch"),
        ({"interpolant": "linear", "coupling": "independent"}, "minibatch"),
    ],
)
def test_a_gaussian_source_is_fresh_noise(
    settings: dict[str, Any], scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources are standard normal and never repeat between blocks; targets keep their weights."""
    monkeypatch.setattr(binding, "POOL", 600)
    recipe = Recipe(source="gaussian", **settings)
    snapshots = Snapshots((pair().clouds[1],), gaussian_source=True)
    pairs, (note,) = bound(recipe, snapshots)
    assert note.scope == scope
    x0, x1 = pairs[0].draw(0, 6000, 0, Streams(0))
    np.testing.assert_allclose(x0.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(np.cov(x0.T), np.eye(2), atol=0.2)
    np.testing.assert_allclose(shares(x1, N1), snapshots.clouds[0].weights, atol=0.02)


@pytest.mark.parametrize(
    ("settings", "sizes", "expected"),
    [
        ({}, (1000, 1000), Exact()),
        ({}, (20_000, 20_000), Blocks()),
        ({"coupling": "sinkhorn"}, (1000, 1000), Sinkhorn()),
        ({"coupling": "sinkhorn"}, (20_000, 20_000), None),
        ({"scope": "minibatch"}, (10, 10), None),
        ({"ot_batch": 64}, (10, 10), None),
        ({"scope": "dataset"}, (6000, 6000), Exact()),
        ({"scope": "dataset", "coupling": "blocks"}, (10**6, 10**6), Blocks()),
    ],
    ids=str,
)
def test_the_scope_follows_the_size(
    settings: dict[str, Any], sizes: tuple[int, int], expected: object
) -> None:
    """auto: whole clouds where a plan fits, its stand-in or minibatches beyond; else as asked."""
    recipe = Recipe(**settings)
    assert whole_cloud(recipe, assemble.triple(recipe).coupling, *sizes) == expected


def test_a_plan_that_cannot_fit_is_refused() -> None:
    """With its size and both ways out."""
    recipe = Recipe(scope="dataset")
    with pytest.raises(ConfigError, match=r"GB.*--coupling blocks.*--scope minibatch"):
        whole_cloud(recipe, Exact(), 100_000, 100_000)


LABELS = np.array(["a", "b", "c"])


def labelled(time: float, classes: Any, dose: Any = None, seed: int = 0, **more: Any) -> Cloud:
    """A cloud whose points stand at their own place on a line, with classes and a dose."""
    n = len(classes)
    x = np.random.default_rng(seed).standard_normal((n, 2)) + 5 * time
    found = cloud(time, x, **more)
    notes = {"kind": classes} | ({} if dose is None else {"dose": dose})
    return replace(found, obs=pd.DataFrame(notes))


def kinds(seed: int, n: int, p: Any) -> Any:
    """Random classes."""
    return np.random.default_rng(seed).choice(LABELS, n, p=p)


SOURCE = labelled(0.0, kinds(1, 40, [0.2, 0.3, 0.5]), seed=1)
TARGET = labelled(
    1.0, kinds(2, 60, [0.5, 0.4, 0.1]), seed=2, weights=np.random.default_rng(3).random(60) + 0.1
)
KINDS = fit_conditions("kind", (), [SOURCE.obs, TARGET.obs])


def conditional(
    settings: dict[str, Any], snapshots: Snapshots, known: Conditions = KINDS, n: int = 600
) -> tuple[Array, Array, Array]:
    """Pairs of the first gap under conditions: source rows, target rows, and their conditions."""
    recipe = Recipe(batch_size=32, **settings)
    coupling = assemble.triple(recipe).coupling
    pairs, layout, _ = Binder(recipe, coupling, known, Streams(0)).segments(snapshots)
    x0, x1 = pairs[0].draw(0, n, 0, Streams(0))
    points = layout.ends(x0, x1)
    return rows_of(points[0]), rows_of(points[1]), np.asarray(layout.condition(x1), np.float64)


def rows_of(x: Any) -> Any:
    """Points as they are compared: exact in float32."""
    return np.asarray(x, np.float32)


def which(rows: Any, points: Any) -> Any:
    """The row of a cloud that each drawn point is."""
    same = (rows[:, None] == np.asarray(points, np.float32)[None]).all(axis=2)
    assert same.any(axis=1).all()
    return same.argmax(axis=1)


SCOPES = [{"scope": "dataset"}, {"scope": "minibatch"}]
each_scope = pytest.mark.parametrize("scope", SCOPES, ids=lambda s: s["scope"])


@each_scope
@pytest.mark.parametrize("coupling", ["independent", "exact", "sinkhorn:reg=0.5", "blocks:size=8"])
def test_pairs_stay_within_their_class(coupling: str, scope: dict[str, str]) -> None:
    """Source, target and condition are of one class; classes come by their share of the target."""
    found = conditional({"coupling": coupling, **scope}, Snapshots((SOURCE, TARGET)))
    x0, x1, condition = found
    start = SOURCE.obs["kind"].to_numpy()[which(x0, SOURCE.points)]
    end = TARGET.obs["kind"].to_numpy()[which(x1, TARGET.points)]
    assert (start == end).all()
    assert (condition[:, 0] == 1).all()
    assert (LABELS[condition[:, 1:].argmax(axis=1)] == end).all()
    assert (condition[:, 1:].sum(axis=1) == 1).all()
    for name in LABELS:
        own = TARGET.weights[TARGET.obs["kind"] == name].sum()
        assert abs((end == name).mean() - own) <= 1.01 / 600


@each_scope
def test_classes_keep_the_weights_inside_them(scope: dict[str, str]) -> None:
    """Each point of the target is drawn as often as its weight says."""
    settings = {"coupling": "independent", **scope}
    _, x1, _ = conditional(settings, Snapshots((SOURCE, TARGET)), n=20_000)
    counts = np.bincount(which(x1, TARGET.points), minlength=60) / 20_000
    np.testing.assert_allclose(counts, TARGET.weights, atol=4.5 * (0.04 / 20_000) ** 0.5)


@pytest.mark.parametrize(
    "settings",
    [
        {"coupling": "exact"},
        {"coupling": "exact", "ot_batch": 16},
        {"coupling": "independent"},
        {"coupling": "independent", "interpolant": "onesided-linear"},
    ],
    ids=str,
)
def test_classes_of_a_gaussian_source(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise takes on the target's classes, by their share."""
    monkeypatch.setattr(binding, "POOL", 200)
    snapshots = Snapshots((TARGET,), gaussian_source=True)
    x0, x1, condition = conditional({"source": "gaussian", **settings}, snapshots)
    end = TARGET.obs["kind"].to_numpy()[which(x1, TARGET.points)]
    assert (LABELS[condition[:, 1:].argmax(axis=1)] == end).all()
    for name in LABELS:
        own = TARGET.weights[TARGET.obs["kind"] == name].sum()
        assert abs((end == name).mean() - own) <= 1.01 / 600
    assert np.abs(x0.mean(axis=0)).max() < 0.25
    assert np.abs(np.cov(x0.T) - np.eye(2)).max() < 0.4


@each_scope
def test_an_unlabelled_source_may_become_anything(scope: dict[str, str]) -> None:
    """Its points serve every class; the conditions are the target's."""
    plain = replace(SOURCE, obs=SOURCE.obs[[]])
    settings = {"coupling": "independent", **scope}
    x0, x1, condition = conditional(settings, Snapshots((plain, TARGET)), n=3000)
    end = TARGET.obs["kind"].to_numpy()[which(x1, TARGET.points)]
    assert (LABELS[condition[:, 1:].argmax(axis=1)] == end).all()
    start = which(x0, SOURCE.points)
    for name in ("a", "b"):
        assert len(set(start[end == name])) == 40


@each_scope
def test_a_class_absent_from_the_source_is_said_and_made_of_all(scope: dict[str, str]) -> None:
    """With its name; the other classes stay apart."""
    keep = SOURCE.obs["kind"].to_numpy() != "c"
    source = SOURCE.rows(np.flatnonzero(keep))
    settings = {"coupling": "independent", **scope}
    with pytest.warns(CfmWarning, match="class 'c' is absent"):
        x0, x1, _ = conditional(settings, Snapshots((source, TARGET)), n=4000)
    start = source.obs["kind"].to_numpy()[which(x0, source.points)]
    end = TARGET.obs["kind"].to_numpy()[which(x1, TARGET.points)]
    assert set(start[end == "c"]) == {"a", "b"}
    assert (start[end != "c"] == end[end != "c"]).all()


def doses(
    cost: float, settings: dict[str, Any], snapshots: Snapshots, n: int
) -> tuple[Array, Array]:
    """Pairs under a dose, which is that of the target; what a dose weighs in the coupling."""
    known = fit_conditions("", ("dose",), [c.obs for c in snapshots.clouds])
    x0, x1, condition = conditional({"condition_cost": cost, **settings}, snapshots, known, n)
    target = snapshots.clouds[-1]
    told = condition[:, 1] * known.scale[0] + known.center[0]
    own = target.obs["dose"].to_numpy()[which(x1, target.points)]
    np.testing.assert_allclose(told, own, atol=1e-6)
    return x0, x1


def pairs(x0: Array, x1: Array) -> Array:
    """Pairs in an order of their own: a point that was drawn twice may have its partners in any."""
    found = np.hstack([x0, x1])
    return found[np.lexsort(found.T)]


@each_scope
def test_covariates_weigh_in_the_coupling(scope: dict[str, str]) -> None:
    """At a high cost each coupling sorts its pairs by dose; at none, it goes by places alone."""
    size, rng = 48, np.random.default_rng(5)
    dose = rng.integers(0, 3, size).astype(float)
    source = labelled(0.0, np.full(size, "a"), dose, seed=6)
    target = labelled(1.0, np.full(size, "a"), rng.permutation(dose), seed=7)
    settings: dict[str, Any] = {"coupling": "exact", **scope}
    if scope["scope"] == "minibatch":
        settings["ot_batch"] = size
    bare = [replace(c, obs=c.obs[[]]) for c in (source, target)]
    y0, y1, _ = conditional(settings, Snapshots(tuple(bare)), Conditions(), n=12 * size)
    for cost in (0.0, 100.0):
        x0, x1 = doses(cost, settings, Snapshots((source, target)), n=12 * size)
        own, end = (
            c.obs["dose"].to_numpy()[which(x, c.points)].reshape(-1, size)
            for c, x in ((source, x0), (target, x1))
        )
        least = np.abs(np.sort(own, axis=1) - np.sort(end, axis=1)).sum()
        assert (np.abs(own - end).sum() == least) == (cost > 0)
        assert np.array_equal(pairs(x0, x1), pairs(y0, y1)) == (cost == 0)


def test_covariates_weigh_where_the_source_is_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise gets doses as the target has them, and is paired by them."""
    monkeypatch.setattr(binding, "POOL", 60)
    dose = np.tile([0.0, 1.0, 2.0], 20)
    target = labelled(1.0, np.full(60, "a"), dose, seed=7)
    known = fit_conditions("", ("dose",), [target.obs])
    recipe = Recipe(source="gaussian", condition_cost=100.0)
    binder = Binder(recipe, Exact(), known, Streams(0))
    (pairs,), layout, _ = binder.segments(Snapshots((target,), gaussian_source=True))
    x0, x1 = pairs.draw(0, 60, 0, Streams(0))
    assert np.array_equal(layout.condition(x0), layout.condition(x1))
    assert np.array_equal(np.unique(layout.condition(x1)[:, 1], return_counts=True)[1], [20] * 3)


def test_rows_that_belong_together_stay_together() -> None:
    """`paired` joins row i to row i, whatever their classes and weights; it needs as many rows."""
    turned = replace(TARGET.rows(np.arange(40)), obs=SOURCE.obs[::-1].reset_index(drop=True))
    for source in (SOURCE, replace(SOURCE, obs=SOURCE.obs[[]])):
        for known in (KINDS, Conditions()):
            x0, x1, condition = conditional(
                {"coupling": "paired"}, Snapshots((source, turned)), known
            )
            start, end = which(x0, SOURCE.points), which(x1, turned.points)
            assert np.array_equal(start, end)
            assert set(start) == set(range(40))
            if known.width:
                own = turned.obs["kind"].to_numpy()[end]
                assert (LABELS[condition[:, 1:].argmax(axis=1)] == own).all()
    with pytest.raises(ConfigError, match="40 source and 60 target rows"):
        conditional({"coupling": "paired"}, Snapshots((SOURCE, TARGET)), Conditions())


def test_a_flow_carries_points_to_their_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs (x, where the flow takes x), under the condition that it was taken by."""
    monkeypatch.setattr(binding, "POOL", 50)

    def carry(points: Array, condition: Array | None, segment: int) -> Array:
        if condition is None:
            return 2 * points + segment
        return 2 * points + condition[:, 1:2] + 10 * condition[:, 2:3]

    for snapshots in (
        Snapshots((SOURCE, TARGET)),
        Snapshots((replace(SOURCE, obs=SOURCE.obs[[]]), TARGET)),
        Snapshots((TARGET,), gaussian_source=True),
    ):
        for known in (KINDS, Conditions()):
            recipe = Recipe(method="rf", from_run="run")
            binder = Binder(recipe, Paired(), known, Streams(0), carry)
            pairs, layout, (note,) = binder.segments(snapshots)
            x0, x1 = pairs[0].draw(0, 100, 0, Streams(0))
            told = layout.condition(x1).astype(float) if known.width else None
            moved = carry(x0[:, :2].astype(float), told, 0)
            np.testing.assert_allclose(x1[:, :2], moved, atol=1e-4)
            assert note.scope == "dataset"
            if told is not None:
                shares = [TARGET.weights[TARGET.obs["kind"] == name].sum() for name in LABELS]
                np.testing.assert_allclose(told[:, 1:].mean(axis=0), shares, atol=0.0101)


def test_conditions_do_not_change_what_pairing_costs() -> None:
    """The note's cost is that of places: the mean over classes, by their share."""
    recipe = Recipe()
    _, _, (note,) = Binder(recipe, Exact(), KINDS, Streams(0)).segments(Snapshots((SOURCE, TARGET)))
    x0, x1, _ = conditional({"coupling": "exact"}, Snapshots((SOURCE, TARGET)), n=40_000)
    drawn = ((x0.astype(float) - x1) ** 2).sum(axis=1).mean()
    assert note.cost == pytest.approx(drawn, rel=0.01)
    assert note.cost < note.independent


def test_several_gaps_have_their_own_classes() -> None:
    """Segment k joins classes of clouds k and k + 1."""
    last = labelled(2.0, kinds(4, 50, [0.1, 0.1, 0.8]), seed=9)
    recipe = Recipe(coupling="exact")
    clouds = (SOURCE, TARGET, last)
    pairs, layout, notes = Binder(recipe, Exact(), KINDS, Streams(0)).segments(Snapshots(clouds))
    assert len(pairs) == len(notes) == 2
    for k, source in enumerate(pairs):
        x0, x1, *_ = layout.ends(*source.draw(0, 100, k, Streams(0)))
        start, end = (
            c.obs["kind"].to_numpy()[which(x, c.points)]
            for c, x in zip(clouds[k : k + 2], (x0, x1), strict=True)
        )
        assert (start == end).all()


def straight(n: int, times: tuple[float, ...]) -> Snapshots:
    """Clouds that move at their own steady pace, so that sorted pairs follow them."""
    pace = np.linspace(1, 2, n)
    return Snapshots(tuple(cloud(t, (pace * (t + 1))[:, None]) for t in times))


def test_bent_paths_follow_points_through_all_snapshots() -> None:
    """On a steady course the tangent is the pace, times the gap's length on the clock."""
    times = (0.0, 1.0, 4.0, 4.5)
    binder = Binder(Recipe(interpolant="spline"), Exact(), Conditions(), Streams(0))
    pairs, layout, _ = binder.segments(straight(10, times), path=Spline())
    for k, source in enumerate(pairs):
        x0, x1, v0, v1 = layout.ends(*source.draw(0, 20, k, Streams(0)))
        pace = x0 / (times[k] + 1)
        np.testing.assert_allclose(v0, pace * (times[k + 1] - times[k]), rtol=1e-4)
        np.testing.assert_allclose(v1, v0, rtol=1e-4)
        np.testing.assert_allclose(x1 - x0, v0, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "snapshots", "known", "message"),
    [
        ({"scope": "minibatch"}, straight(10, (0.0, 1.0)), Conditions(), "--scope dataset"),
        ({}, Snapshots((SOURCE, TARGET)), KINDS, "no --label-key"),
        ({"source": "gaussian"}, Snapshots((TARGET,), True), Conditions(), "a source of points"),
    ],
)
def test_bent_paths_need_whole_plans(
    settings: dict[str, Any],
    snapshots: Snapshots,
    known: Conditions,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(binding, "POOL", 60)
    recipe = Recipe(interpolant="spline", **settings)
    binder = Binder(recipe, Exact(), known, Streams(0))
    with pytest.raises(ConfigError, match=message):
        binder.segments(snapshots, path=Spline())


def test_bent_paths_need_every_point_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans that leave points out, or are too many random pairs to follow, are refused."""

    @dataclass(frozen=True)
    class Half(Coupling):
        """Pairs for the first half of the source alone."""

        def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: Any) -> PairPlan:
            """Row i to row i."""
            rows = np.arange(len(x0) // 2)
            return PairPlan(rows, rows, w0[rows], (len(x0), len(x1)))

        def whole(self, n0: int, n1: int) -> "Half":
            """Itself."""
            return self

    monkeypatch.setattr(catalog, "name_of", lambda family, thing: "half")
    recipe, snapshots = Recipe(interpolant="spline"), straight(10, (0.0, 1.0, 2.0))
    with pytest.raises(ConfigError, match=r"leaves some out.*--coupling exact"):
        Binder(recipe, Half(), Conditions(), Streams(0)).segments(snapshots, path=Spline())
    monkeypatch.setattr(tangents, "MOST_BYTES", 1e3)
    with pytest.raises(ConfigError, match=r"10 x 10 random pairs.*--coupling exact"):
        Binder(recipe, Independent(), Conditions(), Streams(0)).segments(snapshots, path=Spline())
