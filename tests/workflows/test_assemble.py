from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.data.table import Array
from cfmcli.errors import ConfigError
from cfmcli.flows.couplings import Blocks, Exact, Sinkhorn
from cfmcli.flows.streams import Streams
from cfmcli.recipe import Recipe
from cfmcli.workflows import assemble

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


def drawn(recipe: Recipe, snapshots: Snapshots, n: int = 16_000) -> tuple[Array, Array]:
    """Pairs of the first segment, of several blocks."""
    task, _ = assemble.task(recipe, assemble.triple(recipe), snapshots, Streams(0))
    blocks = [task.pairs[0].draw(k, n // 4, 0, Streams(0)) for k in range(4)]
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


def test_the_note_says_what_pairing_costs() -> None:
    """The plan's cost against the optimum on a line, which is the sorted pairing."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 1)), rng.normal(size=(50, 1)) + 3
    snapshots = Snapshots((cloud(0.0, x), cloud(2.0, y)))
    _, (note,) = assemble.task(Recipe(), assemble.triple(Recipe()), snapshots, Streams(0))
    optimum = ((np.sort(x, axis=0) - np.sort(y, axis=0)) ** 2).mean()
    everything = ((x[:, None] - y[None]) ** 2).sum(axis=2).mean()
    assert note.cost == pytest.approx(optimum, rel=1e-9)
    assert note.independent == pytest.approx(everything, rel=1e-9)
    assert (note.scope, note.coupling) == ("dataset", "exact")
    assert "exact" in str(note)
    assert note.figures()["mean_cost"] == note.cost


def test_minibatches_have_no_cost_beforehand() -> None:
    """The note says so, also as JSON."""
    recipe = Recipe(ot_batch=16)
    _, (note,) = assemble.task(recipe, assemble.triple(recipe), pair(), Streams(0))
    assert note.scope == "minibatch"
    assert note.figures()["mean_cost"] is None
    assert "mean cost" not in str(note)


def test_several_snapshots_have_a_plan_each() -> None:
    """Segment k couples clouds k and k + 1, and inner times fill [0, K]."""
    line = [cloud(t, np.full((10, 1), t) + np.arange(10)[:, None] * 1e-3) for t in (0.0, 1.0, 5.0)]
    recipe = Recipe(interpolant="linear:sigma=0")
    task, notes = assemble.task(recipe, assemble.triple(recipe), Snapshots(tuple(line)), Streams(0))
    assert [n.segment for n in notes] == [("0.0", "1.0"), ("1.0", "5.0")]
    s, draw = task.draw(0, 512, 128, Streams(0))
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
    monkeypatch.setattr(assemble, "POOL", 600)
    recipe = Recipe(source="gaussian", **settings)
    snapshots = Snapshots((pair().clouds[1],), gaussian_source=True)
    task, (note,) = assemble.task(recipe, assemble.triple(recipe), snapshots, Streams(0))
    assert note.scope == scope
    x0, x1 = task.pairs[0].draw(0, 6000, 0, Streams(0))
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
    assert assemble.whole_cloud(recipe, assemble.triple(recipe).coupling, *sizes) == expected


def test_a_plan_that_cannot_fit_is_refused() -> None:
    """With its size and both ways out."""
    recipe = Recipe(scope="dataset")
    with pytest.raises(ConfigError, match=r"GB.*--coupling blocks.*--scope minibatch"):
        assemble.whole_cloud(recipe, Exact(), 100_000, 100_000)
