from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfmcli
from cfmcli import checkpoint
from cfmcli.data.arrays import Array
from cfmcli.data.conditions import Conditions
from cfmcli.data.snapshots import Cloud
from cfmcli.errors import CfmWarning, CheckpointError, ConfigError, DataError
from cfmcli.flows.dynamics.choice import with_tolerances
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import Scoring
from cfmcli.source import Source
from cfmcli.stored import load, pack

TIGHT = with_tolerances("dopri5", 1e-9, 1e-9)


@pytest.fixture(scope="module")
def toy(toy_run: Path) -> Model:
    """The toy model."""
    return load(toy_run)


@pytest.fixture(scope="module")
def days(days_run: Path) -> Model:
    """The model of the time course."""
    return load(days_run)


def learn(x: Array, y: Array, **more: Any) -> Model:
    """A tiny model between two arrays."""
    plain = {"steps": 50, "batch_size": 64, "field": "mlp:width=16,depth=2"}
    return cfmcli.fit(x, y, device="cpu", threads=1, **{**plain, **more}).core


def test_packing_keeps_every_bit(toy: Model, days: Model, normal_run: Path, tmp_path: Path) -> None:
    """load(pack(model)) gives the same outputs, and packs to the same bytes."""
    for model in (toy, days, load(normal_run)):
        (tmp_path / checkpoint.MODEL).write_bytes(pack(model))
        again = load(tmp_path)
        assert pack(again) == pack(model)
        assert again.recipe == model.recipe
        assert again.timeline == model.timeline
        assert again.features == model.features
        x = np.random.default_rng(0).normal(size=(7, len(model.features)))
        assert np.array_equal(again.sample(9, seed=3), model.sample(9, seed=3))
        assert np.array_equal(again.transport(x), model.transport(x))
        one, other = (m.log_prob(x, solver="rk4:steps=5") for m in (model, again))
        assert np.array_equal(one.values, other.values)


def test_a_model_in_memory_is_the_one_on_disk(tmp_path: Path, samples: Path) -> None:
    """What fit returns computes what its checkpoint computes."""
    x, y = (
        np.loadtxt(samples / f, delimiter=",", skiprows=1) for f in ("source.csv", "target.csv")
    )
    model = learn(x, y)
    (tmp_path / checkpoint.MODEL).write_bytes(pack(model))
    assert np.array_equal(load(tmp_path).transport(x), model.transport(x))


def test_a_checkpoint_that_lies_is_refused(toy_run: Path, tmp_path: Path) -> None:
    """A header that promises other tensors than there are."""
    arrays, facts = checkpoint.unpack(toy_run / checkpoint.MODEL)
    for change in (
        {"heads": ["velocity", "score"]},
        {"transforms": ["pca"]},
        {"transforms": ["zscore"]},
        {"features": ["x", "y", "z"]},
        {"clouds": facts["clouds"] * 2},
        {"times": None},
    ):
        (tmp_path / checkpoint.MODEL).write_bytes(checkpoint.pack(arrays, {**facts, **change}))
        with pytest.raises(CheckpointError):
            load(tmp_path).transport(np.zeros((2, 2)))


@pytest.mark.parametrize("method", ["otcfm", "vp"])
def test_transport_there_and_back(method: str, samples: Path) -> None:
    """Backward undoes forward, between any two times."""
    x, y = (
        np.loadtxt(samples / f, delimiter=",", skiprows=1) for f in ("source.csv", "target.csv")
    )
    model = learn(x, y, method=method)
    for start, end in ((0.0, 1.0), (0.25, 0.8), (1.0, 0.3)):
        there = model.transport(x, start, end, solver=TIGHT)
        np.testing.assert_allclose(model.transport(there, end, start, solver=TIGHT), x, atol=1e-6)


def test_transport_composes(days: Model) -> None:
    """Via a time between is the same as directly, across snapshots too."""
    x = np.asarray(days.chain.inverse(np.asarray(days.kept[0].points)))[:20]
    via = days.transport(days.transport(x, 0, 3, solver=TIGHT), 3, 5, solver=TIGHT)
    np.testing.assert_allclose(via, days.transport(x, 0, 5, solver=TIGHT), atol=1e-6)


def test_interpolation_is_transport_in_any_order(days: Model) -> None:
    """Times in any order, repeated, before and after the start."""
    x = np.asarray(days.chain.inverse(np.asarray(days.kept[1].points)))[:15]
    times = [5.0, 0.0, 2.5, 1.0, 5.0, 3.3]
    found = days.interpolate(x, times, start=2.5, solver=TIGHT)
    assert found.shape == (6, 15, 30)
    for frame, time in zip(found, times, strict=True):
        np.testing.assert_allclose(frame, days.transport(x, 2.5, time, solver=TIGHT), atol=1e-6)
    np.testing.assert_allclose(found[2], x, atol=1e-9)
    np.testing.assert_array_equal(found[0], found[4])


def test_the_held_out_cloud_is_stored_and_not_used(days: Model) -> None:
    """It can be asked for, and is neither a knot of the clock nor among what is learnt from."""
    assert days.timeline.times == (0.0, 2.5, 5.0)
    assert days.cloud(1.0) is None
    stored = days.cloud(1.0, held_out=True)
    assert stored is not None
    assert len(stored) == 340
    assert [c.label for c in days.kept] == ["0", "2.5", "5"]


def gaussians(seed: int = 0, n: int = 300) -> tuple[Array, Array]:
    """Two normal clouds of different place and scale, with features of different units."""
    rng = np.random.default_rng(seed)
    unit = np.array([1.0, 40.0])
    return rng.normal(size=(n, 2)) * unit, (0.5 * rng.normal(size=(n, 2)) + 1) * unit + 3


@pytest.mark.parametrize("transform", ["standardize", "none", "pca:n=2", "standardize,pca:n=2"])
def test_densities_integrate_to_one(transform: str) -> None:
    """Over a grid in data units, whatever the transform: the change of variables is right."""
    x, y = gaussians()
    if transform in ("none", "pca:n=2"):
        x, y = x / [1, 40], y / [1, 40]
    model = learn(x, y, transform=transform)
    points = np.concatenate([x, y])
    low, high = points.min(axis=0), points.max(axis=0)
    low, high = low - 0.7 * (high - low), high + 0.7 * (high - low)
    axes = [np.linspace(a, b, 61) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    cell = np.prod((high - low) / 60)
    for time in (0.6, 1.0):
        found = model.log_prob(grid, time, scoring=Scoring(base="gaussian"), solver="rk4:steps=10")
        assert np.exp(found.values).sum() * cell == pytest.approx(1, abs=0.02)
        assert found.coordinates == "data units"


def test_densities_do_not_depend_on_units() -> None:
    """Scaling the data by a changes log p by -log |a|: the standardised flow is the same."""
    x, y = gaussians()
    scale, shift = np.array([100.0, 0.03]), np.array([5.0, -2.0])
    one, other = learn(x, y), learn(x * scale + shift, y * scale + shift)
    a = one.log_prob(y[:50], scoring=Scoring(base="gaussian")).values
    b = other.log_prob(y[:50] * scale + shift, scoring=Scoring(base="gaussian")).values
    np.testing.assert_allclose(b, a - np.log(scale).sum(), atol=0.02)


def test_standardised_and_plain_agree_on_the_density() -> None:
    """Two models of one truth, one standardised and one not, speak of the same data units."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(800, 2)), 1.5 * rng.normal(size=(800, 2)) + 1
    both = [
        learn(x, y, transform=t, steps=400, field="mlp:width=32,depth=2")
        for t in ("standardize", "none")
    ]
    a, b = (m.log_prob(y, scoring=Scoring(base="gaussian")).values for m in both)
    assert abs(a.mean() - b.mean()) < 0.1
    assert np.abs(a - b).mean() < 0.25
    truth = -0.5 * (((y - 1) / 1.5) ** 2).sum(axis=1) - np.log(2 * np.pi * 1.5**2)
    assert abs(a.mean() - truth.mean()) < 0.15


def test_the_sample_has_the_density_it_says() -> None:
    """The mean log density of samples is minus the entropy found on a grid."""
    x, y = gaussians(2)
    x, y = x / [1, 40], y / [1, 40]
    model = learn(x, y, transform="none")
    drawn = model.sample(4000, seed=1)

    def density(points: Array) -> Array:
        return model.log_prob(
            points, scoring=Scoring(base="gaussian"), solver="rk4:steps=15"
        ).values

    low, high = drawn.min(axis=0) - 2, drawn.max(axis=0) + 2
    axes = [np.linspace(a, b, 61) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    log_p = density(grid)
    entropy = -(np.exp(log_p) * log_p).sum() * np.prod((high - low) / 60)
    assert -density(drawn[:1000]).mean() == pytest.approx(entropy, abs=0.15)


def test_sources_follow_their_weights(toy: Model) -> None:
    """Systematic resampling: each point floor or ceil of n w times."""
    cloud = toy.clouds[0]
    weights = np.linspace(1, 3, len(cloud))
    weights /= weights.sum()
    weighted = replace(toy, clouds=(replace(cloud, weights=weights), *toy.clouds[1:]))
    drawn = np.asarray(weighted.source.draw(5000, Streams(0)).points)
    near = ((drawn[:, None] - np.asarray(cloud.points)[None]) ** 2).sum(axis=2).argmin(axis=1)
    counts = np.bincount(near, minlength=len(cloud))
    assert np.abs(counts - 5000 * weights).max() < 1


def test_wrong_questions_are_refused(toy: Model, normal_run: Path) -> None:
    """Counts, times, numbers of features, bases and solvers."""
    x = np.zeros((3, 2))
    with pytest.raises(ConfigError, match="at least 1"):
        toy.sample(0)
    with pytest.raises(ConfigError, match="outside"):
        toy.transport(x, 0, 2)
    with pytest.raises(DataError, match="3 features, the model expects 2"):
        toy.transport(np.zeros((3, 3)))
    with pytest.raises(ConfigError, match="dopri5"):
        toy.sample(2, solver="dorpi5")
    with pytest.raises(ConfigError, match="leave --base out"):
        load(normal_run).log_prob(x, scoring=Scoring(base="kde"))
    with pytest.raises(ConfigError, match="fixed steps"):
        with_tolerances("rk4", 1e-3, None)


def test_a_gaussian_source_has_its_exact_density(normal_run: Path) -> None:
    """At the source the density is N(0, I) in flow coordinates, in data units."""
    model = load(normal_run)
    x = np.random.default_rng(0).normal(size=(20, 2))
    y = model.encode(x)
    expected = -0.5 * (y**2).sum(axis=1) - np.log(2 * np.pi) + model.chain.log_abs_det(x)
    found = model.log_prob(x, 0.0)
    np.testing.assert_allclose(found.values, expected, rtol=1e-10)
    assert not found.stochastic
    assert not found.error.any()


def test_a_source_of_nearly_one_point_is_told() -> None:
    """By its weights, whatever the number of points; its density is that of a blur."""
    x, weights = np.random.default_rng(0).standard_normal((200, 2)), np.ones(200)
    weights[7] = 1e9
    cloud = Cloud(x, weights / weights.sum(), pd.DataFrame(index=range(200)), "d0", 0.0)
    source = Source(cloud, cloud, Conditions(), 0.0, 2)
    with pytest.warns(CfmWarning, match=r"One of the 200 points at d0 has nearly all .*weight"):
        source.densities("auto", cloud.obs, Streams(0))
    source = replace(source, cloud=replace(cloud, weights=np.full(200, 1 / 200)))
    source.densities("auto", cloud.obs, Streams(0))
