import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

import cfmcli
from cfmcli import recipe
from cfmcli.errors import CfmError, CfmWarning, ConfigError, DataError
from cfmcli.flows.dynamics import displacement
from cfmcli.requests import InterpolateRequest, ReportRequest, Runtime, SampleRequest
from cfmcli.stored import pack
from cfmcli.workflows import points
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.interpolate import interpolate
from cfmcli.workflows.report import report
from cfmcli.workflows.sample import sample


def plain(tiny: dict[str, Any]) -> dict[str, Any]:
    """Settings of a tiny fit in memory."""
    return {**tiny, "device": "cpu", "threads": 1}


def test_the_package_offers_its_verbs() -> None:
    """fit, Model and the version, found lazily; nothing else is promised."""
    assert set(cfmcli.__all__) == {"fit", "Model", "__version__"}
    assert callable(cfmcli.fit)
    assert cfmcli.Model.__name__ == "Model"
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = cfmcli.predict


def test_arrays_frames_and_anndata_learn_the_same_flow(samples: Path, tiny: dict[str, Any]) -> None:
    """The container does not matter, the numbers do."""
    frames = [pd.read_csv(samples / name) for name in ("source.csv", "target.csv")]
    arrays = [f.to_numpy() for f in frames]
    objects = [
        anndata.AnnData(
            f.to_numpy(),
            obs=pd.DataFrame(index=[f"c{k}" for k in range(len(f))]),
            var=pd.DataFrame(index=list(f.columns)),
        )
        for f in frames
    ]
    models = [cfmcli.fit(*data, **plain(tiny)) for data in (arrays, frames, objects)]
    assert [m.features for m in models] == [("x0", "x1"), ("x", "y"), ("x", "y")]
    first, *others = (m.transport(arrays[0]) for m in models)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-6)


def test_one_object_with_times(samples: Path, tiny: dict[str, Any]) -> None:
    """An AnnData or a frame with a column of times, settings as lists where lists are meant."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    settings = {**plain(tiny), "time_key": "day", "transform": "log1p,pca:n=3", "holdout": ["1"]}
    model = cfmcli.fit(data, **settings)
    assert model.timeline.times == (0.0, 2.5, 5.0)
    assert [len(c) for c in model.clouds] == [300, 340, 400, 460]
    assert model.sample(5).shape == (5, 30)
    assert model.clouds[0].obs["branch"].tolist() == ["progenitor"] * 300


def test_points_that_were_logged_are_not_logged_again(
    samples: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """In memory and in a file: a run of counts says that it logs its points itself."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    settings = {**plain(tiny), "time_key": "day", "transform": "log1p,pca:n=3"}
    model = cfmcli.fit(data, **settings)
    data.X = np.log1p(data.X)
    with pytest.warns(CfmWarning, match=r"logged or scaled .* log1p,pca itself"):
        model.transport(data, "own")
    data.write_h5ad(tmp_path / "logged.h5ad")
    path, said = str(tmp_path / "logged.h5ad"), r"logged\.h5ad holds .* log1p,pca itself"
    with pytest.warns(CfmWarning, match=said):
        points.read_points(model.core, path)
    found = points.open_points(model.core, path)
    with pytest.warns(CfmWarning, match=said):
        found.rows(slice(0, 9))
    found.rows(slice(9, 20))


@pytest.mark.parametrize("name", ["time", "trajectory"])
def test_features_leave_the_names_of_what_is_written(name: str, tiny: dict[str, Any]) -> None:
    """As on the command line; an AnnData has a place of its own for each, and may use them."""
    x = np.random.default_rng(0).normal(size=(40, 2))
    frame = pd.DataFrame(x, columns=["a", name], index=[f"c{k}" for k in range(40)])
    with pytest.raises(DataError, match=f"memory: '{name}' would be a feature, .*--drop {name}"):
        cfmcli.fit(frame, frame + 1, **plain(tiny))
    model = cfmcli.fit(anndata.AnnData(frame), anndata.AnnData(frame + 1), **plain(tiny))
    assert model.features == ("a", name)


def test_a_generator_of_one_array(tiny: dict[str, Any]) -> None:
    """source="gaussian" takes one cloud."""
    rng = np.random.default_rng(0)
    model = cfmcli.fit(rng.normal(size=(60, 3)), source="gaussian", method="fm", **plain(tiny))
    assert model.sample(4, seed=1).shape == (4, 3)
    assert np.isfinite(model.log_prob(rng.normal(size=(4, 3))).values).all()


def test_the_same_call_learns_the_same_model(tiny: dict[str, Any]) -> None:
    """Seeded from the first to the last draw, and blind to global generators."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(40, 2)) + 2
    np.random.seed(1)
    one = cfmcli.fit(x, y, **plain(tiny))
    np.random.seed(2)
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    other = cfmcli.fit(x, y, **plain(tiny))
    assert pack(one.core) == pack(other.core)
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]
    assert pack(cfmcli.fit(x, y, seed=1, **plain(tiny)).core) != pack(one.core)


def test_inputs_are_not_touched(tiny: dict[str, Any]) -> None:
    """The user's arrays are read, never written."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(40, 2)) + 2
    before = x.copy(), y.copy()
    model = cfmcli.fit(x, y, **plain(tiny))
    model.transport(x)
    model.log_prob(y)
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])


@pytest.mark.parametrize(
    ("data", "settings", "error"),
    [
        ((np.zeros((5, 2)),), {}, CfmError),
        ((np.eye(3), np.eye(3)), {"steps": 0}, ConfigError),
        ((np.eye(3), np.eye(3)), {"stepz": 5}, ConfigError),
        ((np.eye(3), np.eye(4)), {}, DataError),
        ((np.eye(3), np.full((3, 3), np.nan)), {}, DataError),
        ((np.eye(3), np.eye(3)[:1]), {}, DataError),
        ((np.eye(3), np.eye(3)), {"time_key": "day"}, DataError),
        ((np.eye(3), np.eye(3)), {"device": "gpu"}, ConfigError),
    ],
)
def test_the_same_errors_as_the_command_line(
    data: tuple[Any, ...], settings: dict[str, Any], error: type, tiny: dict[str, Any]
) -> None:
    """One message, of the right class."""
    with pytest.raises(error):
        cfmcli.fit(*data, **{**plain(tiny), **settings})


@pytest.fixture(scope="module")
def days(samples: Path, tiny: dict[str, Any]) -> tuple[cfmcli.Model, anndata.AnnData]:
    """A tiny fit of the time course through PCA, and its cells of day 0."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    settings = {**plain(tiny), "time_key": "day", "transform": "log1p,pca:n=3"}
    return cfmcli.fit(data, **settings), data[data.obs["day"] == 0].copy()


def test_a_frame_moves_as_its_array_does(days: tuple[cfmcli.Model, anndata.AnnData]) -> None:
    """Columns are found by name in any order; index and other columns stay."""
    model, cells = days
    frame = cells.to_df().iloc[:, ::-1].assign(branch="progenitor")
    moved = model.transport(frame, end=2.5)
    assert list(moved.columns) == list(frame.columns)
    assert moved.index.equals(frame.index)
    assert (moved["branch"] == "progenitor").all()
    plainly = model.transport(np.asarray(cells.X.todense()), end=2.5)
    np.testing.assert_allclose(moved[list(model.features)], plainly, rtol=1e-4, atol=1e-4)


def test_an_anndata_keeps_everything_and_gains_the_result(
    days: tuple[cfmcli.Model, anndata.AnnData],
) -> None:
    """Names, annotations and counts are the input's; the result stands beside them."""
    model, cells = days
    before = cells.copy()
    moved = model.transport(cells)
    assert moved.obs_names.equals(before.obs_names)
    assert moved.var_names.equals(before.var_names)
    assert moved.obs[["branch", "day_label"]].to_numpy().tolist() == (
        before.obs[["branch", "day"]].to_numpy().tolist()
    )
    assert moved.obs["day"].astype(float).tolist() == before.obs["day"].tolist()
    assert (moved.X != before.X).nnz == 0
    assert set(cells.obsm) == set(before.obsm)
    genes = model.transport(before.to_df())[list(before.var_names)]
    np.testing.assert_allclose(moved.layers["cfm"], genes, rtol=1e-5, atol=1e-5)
    decoded = model.core.chain.inverse(moved.obsm["X_cfm"])
    np.testing.assert_allclose(decoded, moved.layers["cfm"])


def test_each_point_from_its_own_time(
    days: tuple[cfmcli.Model, anndata.AnnData], samples: Path
) -> None:
    """The cells of every day are carried and scored as they are alone, whatever their order."""
    model, _ = days
    cells = anndata.read_h5ad(samples / "timecourse.h5ad")
    cells = cells[np.random.default_rng(0).permutation(cells.n_obs)[:120]].copy()
    frame = cells.to_df().assign(day=cells.obs["day"].astype(float))
    how: dict[str, Any] = {"solver": "rk4:steps=4"}
    moved, scores = model.transport(frame, "own", **how), model.log_prob(frame, "own", **how)
    beside = model.transport(cells, "own", **how)
    np.testing.assert_allclose(beside.layers["cfm"], moved[list(cells.var_names)], atol=1e-5)
    for day, rows in frame.groupby("day").indices.items():
        alone = frame.iloc[rows]
        np.testing.assert_allclose(
            moved.iloc[rows], model.transport(alone, float(day), **how), atol=1e-4
        )
        found = model.log_prob(alone, float(day), **how).values
        np.testing.assert_allclose(scores.values[rows], found, rtol=1e-5)
    with pytest.raises(ConfigError, match="no column of times"):
        model.transport(frame.drop(columns="day"), "own")
    with pytest.raises(ConfigError, match="neither a number nor a snapshot"):
        model.log_prob(frame, "owned")


def test_a_time_held_out_goes_by_its_label(tmp_path: Path, tiny: dict[str, Any]) -> None:
    """As those that were learnt do, in Python and from files."""
    rng = np.random.default_rng(0)
    cells = pd.DataFrame(rng.normal(size=(30, 2)), columns=["x", "y"])
    cells["stage"] = np.repeat(["E7", "E7.5", "E9"], 10)
    model = cfmcli.fit(cells, time_key="stage", holdout=["E7.5"], **plain(tiny))
    start = cells[cells["stage"] == "E7"]
    moved = model.transport(start, end="E7.5")
    pd.testing.assert_frame_equal(moved, model.transport(start, end=7.5))
    assert set(model.interpolate(start, ["E7.5"])["time"]) == {7.5}
    model.save(str(tmp_path / "run"))
    run, where = str(tmp_path / "run"), Runtime(device="cpu", threads=1)
    asked = SampleRequest(run, str(tmp_path / "o.csv"), 5, time="E7.5")
    assert sample(asked, where, ignore).figures["time"] == 7.5
    ways = InterpolateRequest(run, str(tmp_path / "p.csv"), times=("E7.5",), population=True)
    interpolate(ways, where, ignore)
    assert set(pd.read_csv(tmp_path / "p.csv")["time"]) == {7.5}


def test_features_may_have_any_names(tiny: dict[str, Any]) -> None:
    """Commas, outer spaces and wildcards are no lists and no patterns; columns go by name."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    odd, plainly = ["1,2-diol", " b", "c*"], ["p", "q", "r"]
    frames = [pd.DataFrame(x, columns=names) for names in (odd, plainly)]
    one, other = (cfmcli.fit(f, f + 1, **plain(tiny)) for f in frames)
    moved = one.transport(frames[0].iloc[:, ::-1].assign(note=np.nan))
    assert np.array_equal(moved[odd], other.transport(frames[1])[plainly])


def test_times_may_be_labels_and_densities_are_arrays(tiny: dict[str, Any]) -> None:
    """Of snapshots that are called by words, as the command line takes them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    frame["stage"] = np.repeat(["E6.5", "E7.25"], 30)
    model = cfmcli.fit(frame, time_key="stage", **plain(tiny))
    early = frame[frame["stage"] == "E6.5"]
    pd.testing.assert_frame_equal(
        model.transport(early, "E6.5", "E7.25"), model.transport(early, 6.5, 7.25)
    )
    assert np.array_equal(model.sample(3, "E6.5"), model.sample(3, 6.5))
    tidy = model.interpolate(early, ["E7.25"], "E6.5")
    assert tidy["time"].tolist() == [7.25] * 30
    found = model.log_prob(frame, "E7.25")
    assert (len(found), np.asarray(found).shape) == (60, (60,))
    assert np.mean(found) == found.values.mean()


def test_densities_count_as_their_values(tiny: dict[str, Any]) -> None:
    """In frames, under an index, in loops and in sums, as an array does."""
    x = np.random.default_rng(0).normal(size=(30, 2))
    found: Any = cfmcli.fit(x, x + 1, **plain(tiny)).log_prob(x + 1)
    frame = pd.DataFrame({"x": x[:, 0], "log_prob": found})
    frame["again"] = found
    assert frame["again"].equals(frame["log_prob"])
    assert frame["log_prob"].dtype == np.float64
    for one, other in (
        (frame["log_prob"], found.values),
        (pd.Series(found), found.values),
        (frame["log_prob"] - found, np.zeros(30)),
        (found - frame["log_prob"], np.zeros(30)),
        (found[:5], found.values[:5]),
        (found[found > found[3]], found.values[found.values > found.values[3]]),
        (list(found), found.values),
        (found - found, np.zeros(30)),
        (2 * found + 1, 2 * found.values + 1),
        (np.exp(found), np.exp(found.values)),
        (np.add.reduce(found), found.values.sum()),
    ):
        np.testing.assert_array_equal(one, other)
    more: Any = found
    more += 1
    np.testing.assert_array_equal(more, found.values + 1)
    cells = anndata.AnnData(x)
    cells.obs["log_prob"] = found
    assert cells.obs["log_prob"].tolist() == found.values.tolist()


def test_the_velocity_is_the_rate_of_transport(
    days: tuple[cfmcli.Model, anndata.AnnData],
) -> None:
    """obsm["velocity_pca"] is the difference quotient of obsm["X_cfm"] in the clock's unit."""
    model, cells = days
    step = 1e-3
    moved = model.transport(cells, end=step, solver="rk4:steps=1")
    quotient = (moved.obsm["X_cfm"] - moved.obsm["X_pca"]) / step
    scale = np.abs(moved.obsm["velocity_pca"]).max()
    np.testing.assert_allclose(quotient, moved.obsm["velocity_pca"], atol=0.02 * scale)


def test_trajectories_of_a_frame_are_tidy(days: tuple[cfmcli.Model, anndata.AnnData]) -> None:
    """A row for each cell and time, with the annotations of the start, in the array's order."""
    model, cells = days
    frame = cells.to_df().assign(branch=cells.obs["branch"].astype(str))
    tidy = model.interpolate(frame, [2.5, 1.0])
    assert tidy.columns[:2].tolist() == ["trajectory", "time"]
    assert tidy["time"].tolist() == [2.5] * len(frame) + [1.0] * len(frame)
    assert tidy["trajectory"].tolist() == frame.index.tolist() * 2
    assert (tidy["branch"] == "progenitor").all()
    block = model.interpolate(frame[list(model.features)].to_numpy(), [2.5, 1.0])
    np.testing.assert_allclose(tidy[list(model.features)], block.reshape(-1, 30), atol=1e-6)


def test_a_saved_model_is_a_run(days: tuple[cfmcli.Model, anndata.AnnData], tmp_path: Path) -> None:
    """It loads again, and the folder is not overwritten without leave."""
    model, _ = days
    model.save(tmp_path / "run")
    again = cfmcli.Model.load(tmp_path / "run")
    assert np.array_equal(again.sample(5, seed=3), model.sample(5, seed=3))
    with pytest.raises(CfmError, match="--force"):
        model.save(tmp_path / "run")
    model.save(tmp_path / "run", force=True)


def test_a_saved_model_says_how_many_steps_it_took(tiny: dict[str, Any], tmp_path: Path) -> None:
    """As a run of the command line does, where they were found on the way; again once loaded."""
    x = np.random.default_rng(0).normal(size=(90, 2))
    how = {**plain(tiny), "steps": "auto", "patience": 1, "lr": 1e-30}
    model = cfmcli.fit(x, x + 1, **how)
    taken = tmp_path / "taken"
    model.save(taken)
    steps = json.loads((taken / "metrics.json").read_text())["steps"]
    assert steps == model.steps
    assert 0 < steps < recipe.MOST_STEPS
    assert 'steps = "auto"' in (taken / "recipe.toml").read_text()
    cfmcli.Model.load(taken).save(tmp_path / "again")
    again = tmp_path / "again"
    assert json.loads((again / "metrics.json").read_text())["steps"] == steps
    report(ReportRequest(str(again)), Runtime(device="cpu", threads=1), ignore)
    assert f"points in all, fitted in {steps} steps by otcfm" in (again / "report.html").read_text()


def test_a_gene_called_time_has_no_column_beside_the_clock(tiny: dict[str, Any]) -> None:
    """It is carried, and interpolated in an array; a tidy frame is refused with the way out."""
    x = np.random.default_rng(0).normal(size=(40, 2))
    cells = anndata.AnnData(np.concatenate([x, x + 1]), obs={"day": np.repeat([0.0, 1.0], 40)})
    cells.var_names = ["time", "g"]
    model = cfmcli.fit(cells, time_key="day", **plain(tiny))
    assert model.transport(cells[:40].copy()).obsm["X_cfm"].shape == (40, 2)
    with pytest.raises(DataError, match=r"'time' is a feature, .* give an array"):
        model.interpolate(cells[:40].copy(), [0.5])
    assert model.interpolate(x, [0.5]).shape == (1, 40, 2)


def test_points_without_the_features_are_refused(
    days: tuple[cfmcli.Model, anndata.AnnData],
) -> None:
    """By name where there are names, by number where there are none."""
    model, cells = days
    with pytest.raises(DataError, match="Stem1"):
        model.transport(cells.to_df().drop(columns="Stem1"))
    with pytest.raises(DataError, match="30"):
        model.transport(np.zeros((4, 7)))


def test_static_pairs_that_do_not_fit_in_memory_are_refused_at_once(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pairs of random ones are; the optimal ones of the same clouds are few."""
    monkeypatch.setattr(displacement, "MOST_BYTES", 1e5)
    rng = np.random.default_rng(0)
    clouds = rng.standard_normal((60, 2)), rng.standard_normal((60, 2))
    settings = {**plain(tiny), "method": "static-ot"}
    with pytest.raises(ConfigError, match=r"3,600.*--coupling exact"):
        cfmcli.fit(*clouds, coupling="independent", **settings)
    assert cfmcli.fit(*clouds, **settings).transport(clouds[0]).shape == (60, 2)
