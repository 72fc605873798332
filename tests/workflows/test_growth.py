"""Laws of populations that grow and die: closed forms, what is known beforehand, known truths."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import cfmcli
from cfmcli import metrics
from cfmcli.data.arrays import Array
from cfmcli.data.conditions import Conditions, fit_conditions
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.flows.dynamics.choice import deterministic
from cfmcli.flows.path.growing import TravellingDirac
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.triple import Triple
from cfmcli.model import Model
from cfmcli.recipe import Recipe
from cfmcli.requests import InterpolateRequest, Runtime, Scoring
from cfmcli.stored import load, pack
from cfmcli.workflows import score
from cfmcli.workflows.binding import Binder
from cfmcli.workflows.growth import described, massive
from cfmcli.workflows.interpolate import interpolate
from sample_data.simulate import Expansion
from tests.conftest import SAMPLES

QUICK: dict[str, Any] = {"device": "cpu", "threads": 1, "transform": "none"}
SMALL: dict[str, Any] = QUICK | {"field": "mlp:width=32,depth=2", "batch_size": 128, "steps": 250}
DOPRI = deterministic("dopri5")
DAYS = (0.0, 1.0, 2.0, 3.0)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    """The sample data's growing population."""
    return pd.read_csv(SAMPLES / "growing.csv", index_col="cell")


@pytest.fixture(
    scope="module", params=["standardize", pytest.param("none", marks=pytest.mark.slow)]
)
def grown(cells: pd.DataFrame, request: pytest.FixtureRequest) -> Model:
    """A fit to it that never sees the true growth rates."""
    how: dict[str, Any] = {"method": "wfrfm", "time_key": "day", "drop": "true_growth"}
    return cfmcli.fit(cells, **QUICK | {"transform": request.param}, steps=800, **how).core


def fitted(*clouds: Array, **settings: Any) -> Model:
    """A small fit of a population that grows."""
    return cfmcli.fit(*clouds, **{**SMALL, "method": "wfrfm", **settings}).core


def carried(model: Model, times: tuple[float, ...] = (0.0, 1.0)) -> tuple[Array, Array]:
    """The first snapshot at some times: points, and the logs of what their masses became."""
    paths = model.flow.paths(np.asarray(model.clouds[0].points, float), times, DOPRI)
    assert paths.log_mass is not None
    return paths.points, paths.log_mass


# The sample data


def test_growth_rates_are_recovered(grown: Model, cells: pd.DataFrame) -> None:
    """Correlation of at least .9 with the true rates, on all days together and on each."""
    found = [grown.flow.growth(np.asarray(c.points), c.time) for c in grown.clouds]  # type: ignore[union-attr]
    truth = [cells.loc[cells["day"] == day, "true_growth"].to_numpy() for day in DAYS]
    for ours, theirs in [
        *zip(found, truth, strict=True),
        (np.concatenate(found), np.concatenate(truth)),
    ]:
        assert np.corrcoef(ours, theirs)[0, 1] >= 0.9


def test_the_population_has_the_observed_size_and_shape(grown: Model) -> None:
    """Mass within 2 % of the counts on each day, and W1 well below that of the start."""
    points, logs = carried(grown, DAYS)
    first = grown.clouds[0]
    for cloud, x, log in zip(grown.clouds[1:], points[1:], logs[1:], strict=True):
        mass = first.weights * np.exp(log)
        assert mass.sum() == pytest.approx(len(cloud) / len(first), rel=0.02)
        ours = metrics.w1(x, cloud.points, mass, cloud.weights)
        assert ours < 0.2 * metrics.w1(first.points, cloud.points)


def test_true_trajectories_are_recovered_better_than_by_static_transport(
    grown: Model, cells: pd.DataFrame
) -> None:
    """Static transport sends cells of one lineage into the other; growth has no need to."""
    start = cells.loc[cells["day"] == 0, ["x", "y"]].to_numpy()
    truth, _ = Expansion().paths(start, DAYS)
    settings: dict[str, Any] = {"method": "static-ot", "time_key": "day", "drop": "true_growth"}
    static = cfmcli.fit(cells, **QUICK, **settings).core
    errors = []
    for model in (grown, static):
        paths = model.flow.paths(model.encode(start), DAYS, DOPRI).points
        x = np.stack([model.chain.inverse(points) for points in paths])
        errors.append(np.sqrt(((x - truth) ** 2).sum(axis=2).mean()))
    assert errors[0] < 0.4 * errors[1]


def test_a_fit_says_what_the_growth_column_makes_of_points(cells: pd.DataFrame) -> None:
    """The least and the largest factor over each gap, and how many equal points that leaves."""
    days = [cells[cells["day"] == day] for day in (0.0, 1.0)]
    kept = [
        Cloud(f[["x", "y"]].to_numpy(), np.full(len(f), 1 / len(f)), f, f"{t:g}", t, mass=len(f))
        for t, f in zip((0.0, 1.0), days, strict=True)
    ]
    factor = np.exp(days[0]["true_growth"].to_numpy())
    (line,) = described(Recipe(growth_key="true_growth"), kept)
    few = factor.sum() ** 2 / (factor**2).sum()
    assert f"counts {factor.min():.3g} to {factor.max():.3g} times at 1" in line
    assert line.endswith(f"400 weigh as many as {few:.0f} equal ones")
    assert described(Recipe(), kept) == ()


# Closed forms


def test_pure_growth_moves_nothing() -> None:
    """The same cloud at twice the mass: no velocity, and growth that comes to log 2 everywhere."""
    x = RNG.standard_normal((100, 2))
    model = fitted(x, x, mass="1,2")
    points, logs = carried(model)
    assert np.abs(points[1] - points[0]).max() < 0.02
    assert logs[1] == pytest.approx(np.full(100, np.log(2)), abs=0.02)


def test_without_growth_and_at_a_large_delta_mass_is_kept() -> None:
    """Equal masses and a long delta: optimal-transport flow matching, and g = 0."""
    x, y = RNG.standard_normal((100, 2)), RNG.standard_normal((100, 2)) + 3.0
    model, plain = fitted(x, y, coupling="wfr:delta=1e4"), fitted(x, y, method="otcfm")
    points, logs = carried(model)
    assert np.abs(logs[1]).max() < 0.01
    straight = plain.flow.paths(x, (0.0, 1.0), DOPRI).points
    assert np.sqrt(((points - straight) ** 2).sum(axis=2).mean()) < 0.1


def test_a_gaussian_that_grows_exponentially_in_place() -> None:
    """N(0, 1) with g = a x becomes N(a, 1) exp(a² / 2): the prior says so, and nothing moves."""
    a, n = 0.5, 400
    x = np.quantile(RNG.standard_normal(200_000), (np.arange(n) + 0.5) / n)[:, None]
    before = pd.DataFrame({"x": x[:, 0], "rate": a * x[:, 0]})
    after = pd.DataFrame({"x": x[:, 0] + a})
    how = {"growth_key": "rate", "mass": f"1,{np.exp(a * a / 2)}", "coupling": "wfr:delta=0.5"}
    model = cfmcli.fit(before, after, **{**SMALL, "method": "wfrfm", **how}).core
    points, logs = carried(model)
    inner = np.abs(x[:, 0]) < 1.5
    assert np.corrcoef(logs[1][inner], a * x[inner, 0])[0, 1] > 0.98
    assert np.abs(logs[1] - a * x[:, 0])[inner].max() < 0.25
    assert np.abs(points[1] - points[0])[inner].max() < 0.25


def test_densities_of_what_grows_integrate_to_one() -> None:
    """And are largest where the mass is: two islands, of which one triples."""
    island = 0.3 * RNG.standard_normal((100, 1))
    x, y = np.concatenate([island, island + 4]), np.concatenate([island] * 3 + [island + 4])
    model = fitted(x, y, coupling="wfr:delta=1")
    grid = np.linspace(-2, 6, 801)[:, None]
    for time in (0.5, 1.0):
        density = np.exp(model.log_prob(grid, time).values)
        assert density.sum() * 0.01 == pytest.approx(1, abs=0.03)
        left = density[grid[:, 0] < 2].sum() / density.sum()
    assert left == pytest.approx(0.75, abs=0.03)
    back = model.log_prob(grid, 0.0, scoring=Scoring(known="target")).values
    assert np.exp(back).sum() * 0.01 == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("told", [True, False], ids=["own classes", "classes of the target"])
def test_densities_of_each_class_of_what_grows_integrate_to_one(told: bool) -> None:
    """Two islands, of which one grows ninefold: also that of points asked for at their own time."""
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame({"x": rng.normal(4 * (kind == "b"), 0.3, n), "kind": kind})
        for kind, n in (("a", 100), ("b", 100), ("a", 270), ("b", 30))
    ]
    before, after = (pd.concat(own, ignore_index=True) for own in (frames[:2], frames[2:]))
    labels = {"method": "wfrfm", "coupling": "wfr:delta=3", "label_key": "kind"}
    first = before if told else before.drop(columns="kind")
    model = cfmcli.fit(first, after, **{**SMALL, **labels}).core
    grid = np.linspace(-3, 7, 501)
    asked = np.concatenate([grid, grid])[:, None]
    obs = pd.DataFrame({"kind": np.repeat(["a", "b"], len(grid))})
    for scoring in (Scoring(), Scoring(known="target")):
        time = 0.0 if scoring.known == "target" else 1.0
        found = model.log_prob(asked, time, obs=obs, scoring=scoring).values.reshape(2, -1)
        assert np.exp(found).sum(axis=1) * 0.02 == pytest.approx([1, 1], abs=0.05)


@pytest.mark.parametrize("base", ["gaussian", "gmm:k=2", "kde"])
def test_a_base_that_blurs_a_population_is_normalised_as_it_is(base: str) -> None:
    """A tenth of the points on an island that grows tenfold, while the rest lose two thirds."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-4, 0.7, (30, 1)), rng.normal(4, 0.7, (270, 1))])
    y = np.concatenate([rng.normal(-4, 0.7, (300, 1)), rng.normal(4, 0.7, (90, 1))])
    model = fitted(x, y, coupling="wfr:delta=2")
    grid = np.linspace(-16, 16, 1601)[:, None]
    found = model.log_prob(grid, 1.0, scoring=Scoring(base=base)).values
    assert np.exp(found).sum() * 0.02 == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("known", ["source", "target"])
def test_densities_under_each_covariate_of_what_grows_integrate_to_one(known: Any) -> None:
    """Of the two values of a covariate one quarters in mass and the other stays as it is."""
    rng = np.random.default_rng(0)
    q = np.repeat([-1.0, 1.0], 150)
    before, after = (pd.DataFrame({"x": rng.normal(k, 0.3, 300), "q": q}) for k in (0, 1))
    fewer = after[(q > 0) | (np.arange(300) % 4 == 0)].reset_index(drop=True)
    how = {"method": "wfrfm", "covariates": ("q",), "coupling": "wfr:delta=3"}
    model = cfmcli.fit(before, fewer, **{**SMALL, **how}).core
    grid = np.linspace(-3, 4, 351)
    asked = np.concatenate([grid, grid])[:, None]
    obs = pd.DataFrame({"q": np.repeat([-1.0, 1.0], len(grid))})
    scoring = Scoring(known=known)
    with pytest.warns(CfmWarning, match="irrespective of q"):
        found = model.log_prob(asked, 0.5, obs=obs, scoring=scoring).values.reshape(2, -1)
    assert np.exp(found).sum(axis=1) * 0.02 == pytest.approx([1, 1], abs=0.03)


def test_densities_under_many_covariates_are_said_to_be_joint() -> None:
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"x": rng.normal(size=80), "q": np.linspace(-1, 1, 80)})
    how = {"method": "wfrfm", "covariates": ("q",)}
    model = cfmcli.fit(x, x, **{**SMALL, **how, "steps": 5}).core
    told = pytest.warns(CfmWarning, match="80 conditions")
    with told, pytest.warns(CfmWarning, match="irrespective of q"):
        found = model.log_prob(x[["x"]].to_numpy(), 1.0, obs=x[["q"]])
    assert np.isfinite(found.values).all()


def test_mass_there_and_back_is_what_it_was(grown: Model) -> None:
    x = np.asarray(grown.clouds[0].points)
    there = grown.flow.paths(x, (0.0, 1.5, 3.0), DOPRI)
    back = grown.flow.paths(there.points[-1], (3.0, 1.5, 0.0), DOPRI)
    assert there.log_mass is not None
    assert back.log_mass is not None
    assert back.log_mass[-1] + there.log_mass[-1] == pytest.approx(np.zeros(len(x)), abs=5e-3)
    assert (there.log_mass[0] == 0).all()


# What is known beforehand


def clouds(**columns: Array) -> Snapshots:
    """Two clouds on a line, 3 units of time apart, the first annotated."""
    x = np.arange(6.0)[:, None]
    first = Cloud(x, np.full(6, 1 / 6), pd.DataFrame(columns, index=range(6)), "0", 0.0)
    return Snapshots(
        (first, Cloud(x + 1, np.full(6, 1 / 6), pd.DataFrame(index=range(6)), "3", 3.0, mass=2.0))
    )


def starts(snapshots: Snapshots, **settings: Any) -> Array:
    """How often each point of the source is drawn by a coupling."""
    recipe = Recipe(**settings)
    binder = Binder(recipe, Triple.of(*recipe.triple()).coupling, Conditions(), Streams(0))
    x0, _ = binder.segments(snapshots)[0][0].draw(0, 60_000, 0, Streams(0))
    return np.bincount(np.rint(x0[:, 0]).astype(int), minlength=6) / 60_000


@pytest.mark.parametrize("scope", ["dataset", "minibatch"])
def test_known_growth_multiplies_the_source_of_a_coupling(scope: str) -> None:
    """By exp(rate x time), or in proportion to scores; in the mean, the marginals say so."""
    rate = np.linspace(-0.3, 0.3, 6)
    by_rate = starts(clouds(g=rate), growth_key="g", scope=scope, batch_size=60)
    assert by_rate == pytest.approx(np.exp(3 * rate) / np.exp(3 * rate).sum(), abs=0.01)
    score = np.arange(1.0, 7)
    how = {"growth_key": "g", "growth_kind": "score", "scope": scope, "batch_size": 60}
    assert starts(clouds(g=score), **how) == pytest.approx(score / 21, abs=0.01)


def test_what_is_expected_after_a_gap_says_nothing_of_the_gap_before() -> None:
    """The middle of three snapshots is drawn from by its growth, and led to as it was observed."""
    told = clouds(g=np.zeros(6))
    rate = np.linspace(-0.5, 0.5, 6)
    middle = replace(told.clouds[1], obs=pd.DataFrame({"g": rate}))
    last = replace(told.clouds[1], label="4", time=4.0)
    recipe = Recipe(growth_key="g")
    binder = Binder(recipe, Triple.of(*recipe.triple()).coupling, Conditions(), Streams(0))
    pairs = binder.segments(Snapshots((told.clouds[0], middle, last)))[0]
    _, arriving = pairs[0].draw(0, 6000, 0, Streams(0))
    leaving, _ = pairs[1].draw(0, 6000, 1, Streams(0))
    for x, wanted in ((arriving, np.ones(6)), (leaving, np.exp(rate))):
        share = np.bincount(np.rint(x[:, 0]).astype(int) - 1, minlength=6) / 6000
        assert share == pytest.approx(wanted / wanted.sum(), abs=0.01)


@pytest.mark.parametrize("told", [True, False], ids=["own classes", "classes of the target"])
def test_classes_of_what_grows_count_by_their_mass(told: bool) -> None:
    """Drawn by the mean mass of both ends, as pairs are; where it starts as anything, all alike."""
    rng = np.random.default_rng(0)
    ends = []
    for time, sizes in ((0.0, (100, 100)), (1.0, (900, 100))):
        x = np.concatenate([rng.normal(8 * k, 0.3, (n, 1)) for k, n in enumerate(sizes)])
        obs = pd.DataFrame({"kind": np.repeat(["a", "b"], sizes)})
        mass = sum(sizes) / 200
        ends.append(Cloud(x, np.full(len(x), 1 / len(x)), obs, f"{time:g}", time, mass=mass))
    conditions = fit_conditions("kind", (), [end.obs for end in ends])
    if not told:
        ends[0] = replace(ends[0], obs=ends[0].obs[[]])
    recipe = Recipe(method="wfrfm", label_key="kind", coupling="wfr:delta=9")
    binder = Binder(recipe, Triple.of(*recipe.triple()).coupling, conditions, Streams(0))
    pairs, layout, _ = binder.segments(Snapshots(tuple(ends)), TravellingDirac())
    x0, x1 = pairs[0].draw(0, 6000, 0, Streams(0))
    found = layout.growth(x0, x1)
    own = x1[:, 0] < 4
    assert own.mean() == pytest.approx(5 / 6 if told else 0.9, abs=0.01)
    ratio = {kind: float((found["m1"] / found["m0"])[own == kind].mean()) for kind in (True, False)}
    assert ratio[True] == pytest.approx(9 if told else 5, rel=0.02)
    assert ratio[False] == pytest.approx(1 if told else 5, rel=0.02)


def test_known_growth_leaves_the_plan_the_rest() -> None:
    """Where growth is told exactly, each pair's m1 / m0 is what was told, and mass is observed."""
    rate = np.log(2.0) / 3 + np.array([-0.2, -0.1, 0.0, 0.0, 0.1, 0.2])
    told = clouds(g=rate)
    expected = np.exp(3 * rate)
    exact = Cloud(told.clouds[0].points, expected / expected.sum(), told.clouds[1].obs, "3", 3.0)
    snapshots = Snapshots((told.clouds[0], exact))
    recipe = Recipe(method="wfrfm", growth_key="g", coupling="wfr:delta=0.2")
    binder = Binder(recipe, Triple.of(*recipe.triple()).coupling, Conditions(), Streams(0))
    pairs, layout, _ = binder.segments(snapshots, TravellingDirac())
    x0, x1 = pairs[0].draw(0, 500, 0, Streams(0))
    found = layout.growth(x0, x1)
    ratio = (found["m1"] / found["m0"])[:, 0]
    place = np.rint(x0[:, 0]).astype(int)
    assert ratio == pytest.approx(expected[place] / expected.sum() * 6, rel=1e-3)


def test_masses_are_counts_or_what_is_said() -> None:
    three = [
        Cloud(np.zeros((2, 1)), np.ones(2) / 2, pd.DataFrame(index=range(2)), "", k, mass=m)
        for k, m in enumerate((4.0, 2.0, 8.0))
    ]
    for how, wanted in (("counts", [1, 0.5, 2]), ("equal", [1, 1, 1]), ("2,3,5", [1, 1.5, 2.5])):
        assert [cloud.mass for cloud in massive(how, three)] == wanted
    for how in ("1,2", "1,2,0", "1,2,x", "some"):
        with pytest.raises(ConfigError, match="expected counts, equal, or a positive number"):
            massive(how, three)


def test_unusable_growth_is_refused() -> None:
    with pytest.raises(DataError, match="no column 'h'"):
        starts(clouds(g=np.ones(6)), growth_key="h")
    with pytest.raises(DataError, match="expected finite rates"):
        starts(clouds(g=np.array([1, 1, np.nan, 1, 1, 1])), growth_key="g")
    with pytest.raises(DataError, match="expected positive scores"):
        starts(clouds(g=np.zeros(6)), growth_key="g", growth_kind="score")
    with pytest.raises(DataError, match="no numbers"):
        starts(clouds(g=np.array(list("abcdef"))), growth_key="g")
    with pytest.raises(DataError, match="--growth-kind score"):
        starts(clouds(g=np.full(6, 1200.0)), growth_key="g")
    with pytest.raises(ConfigError, match="name the column"):
        Recipe(growth_kind="score")


def test_what_is_out_of_reach_is_said() -> None:
    x = RNG.standard_normal((50, 1))
    with pytest.warns(CfmWarning, match=r"Out of reach.*20.0% of the mass before.*Raise delta"):
        fitted(np.concatenate([x[:40], x[40:] + 90]), x, coupling="wfr:delta=1", steps=1)


# Uses


def test_a_stored_model_is_the_same(grown: Model, tmp_path: Path) -> None:
    cfmcli.Model(grown).save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert [c.mass for c in again.clouds] == [c.mass for c in grown.clouds]
    assert carried(again)[1] == pytest.approx(carried(grown)[1], abs=1e-6)
    assert pack(again) == pack(grown)


def test_transport_annotates_anndata(grown: Model, cells: pd.DataFrame) -> None:
    data = ad.AnnData(cells[["x", "y"]].to_numpy(), obs=cells[["day"]])
    data.var_names = ["x", "y"]
    moved = cfmcli.Model(grown).transport(data[data.obs["day"] == 0].copy(), 0.0, 2.0)
    frame = cfmcli.Model(grown).transport(cells[cells["day"] == 0], 0.0, 2.0)
    for name in ("growth_rate", "log_mass"):
        assert moved.obs[f"cfm_{name}"].to_numpy() == pytest.approx(frame[name].to_numpy())


def test_masses_of_times_that_differ_in_their_last_digits(
    fit_run: Callable[..., Any], tmp_path: Path
) -> None:
    """Milliseconds since 1970 are told apart, in figures as in names."""
    for k, n in enumerate((20, 40)):
        np.save(tmp_path / f"{k}.npy", RNG.standard_normal((n, 2)))
    times, run = (1.7e12, 1.7e12 + 1), tmp_path / "run"
    fit_run(run, tmp_path / "0.npy", tmp_path / "1.npy", method="wfrfm", steps=9, times=times)
    request = InterpolateRequest(str(run), str(tmp_path / "out.h5ad"), frames=2)
    found = interpolate(request, Runtime(device="cpu", threads=1), lambda _: None).figures
    names = ["1700000000000", "1700000000001"]
    assert list(found["mass"]) == list(found["observed_mass"]) == names
    assert found["mass"][names[0]] == pytest.approx(1)
    rows = ad.read_h5ad(tmp_path / "out.h5ad").obs_names
    assert rows.is_unique
    assert rows[-1].endswith(f"__t={names[1]}")


def test_a_held_out_day_is_scored_by_mass(cells: pd.DataFrame) -> None:
    """The weighted population is nearer to a day it has not seen than its points alone."""
    how = {"method": "wfrfm", "time_key": "day", "drop": "true_growth", "holdout": ("2",)}
    model = cfmcli.fit(cells, **{**SMALL, **how, "steps": 400}).core
    cloud = next(c for c in model.clouds if c.held_out)
    found = score.held_out(model, cloud, Streams(0))
    before = model.clouds[1]
    bare = model.flow.paths(np.asarray(before.points), (1.0, 2.0), DOPRI).points[-1]
    assert found["model_w1"] < 0.8 * metrics.w1(bare, cloud.points)
    assert found["observed_relative_mass"] == pytest.approx(677 / 489)
    assert found["relative_mass"] == pytest.approx(677 / 489, rel=0.25)


def test_covariates_weigh_in_the_coupling_of_what_grows() -> None:
    """The more their difference costs, the less pairs differ in them, at any lengths."""
    rng = np.random.default_rng(4)
    ends = [pd.DataFrame(rng.standard_normal((80, 2)) + k, columns=["a", "b"]) for k in (0, 1)]
    for end in ends:
        end["dose"] = rng.standard_normal(80)
    costs = []
    for weight in (0.1, 10.0):
        how: dict[str, Any] = {"covariates": ("dose",), "condition_cost": weight}
        model = cfmcli.fit(*ends, **{**SMALL, "steps": 1, "method": "wfrfm", **how}).core
        binder = Binder(model.recipe, model_coupling(model), model.conditions, Streams(0))
        notes = binder.segments(Snapshots(model.clouds), TravellingDirac())[2]
        costs.append(notes[0].cost)
    assert costs[1] > 1.05 * costs[0]


def model_coupling(model: Model) -> Any:
    """The coupling of a model's method."""
    return Triple.of(*model.recipe.triple()).coupling


def cloud(n: int, time: float) -> Cloud:
    """So many points of the plane, of mass one each."""
    x = np.random.default_rng(n).normal(size=(n, 2))
    obs = pd.DataFrame(index=[f"{time}-{k}" for k in range(n)])
    return Cloud(x, np.full(n, 1 / n), obs, f"{time:g}", time, mass=float(n))
