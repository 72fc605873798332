"""Laws of conditional flows, from files to files."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

import cfmcli
from cfmcli import checkpoint, metrics, plots
from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning, ConfigError, DataError, Interrupted
from cfmcli.flows.dynamics.choice import with_tolerances
from cfmcli.requests import (
    Condition,
    EvaluateRequest,
    Integration,
    InterpolateRequest,
    LikelihoodRequest,
    Outcome,
    Runtime,
    SampleRequest,
    Scoring,
    TransportRequest,
)
from cfmcli.stored import load, pack
from cfmcli.workflows import interpolate, likelihood, sample, transport
from cfmcli.workflows.evaluate import evaluate
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.info import describe_run

Fit = Callable[..., Any]
LEARN: dict[str, Any] = {"steps": 300, "batch_size": 128, "field": "mlp:width=32,depth=2"}
STEPS = Integration("rk4:steps=10")
XY = ["x", "y"]
MEANS = {"a": 3.0, "b": -3.0}
CROSSED = {"a": (2.0, 3.0), "b": (-2.0, 3.0)}
VERBS: dict[type, Callable[..., Outcome]] = {
    SampleRequest: sample.sample,
    TransportRequest: transport.transport,
    LikelihoodRequest: likelihood.likelihood,
    InterpolateRequest: interpolate.interpolate,
    EvaluateRequest: evaluate,
}


def do(request: Any, seed: int = 0) -> Outcome:
    """Carry out a request."""
    where = Runtime(device="cpu", threads=1, seed=seed)
    return VERBS[type(request)](request, where, ignore)


def blob(rng: np.random.Generator, n: int, x: float, y: Any, kind: str) -> pd.DataFrame:
    """Points of a class around a place."""
    points = rng.normal(0, 0.3, (n, 2)) + np.stack([np.full(n, x), np.full(n, y)], axis=1)
    return pd.DataFrame(points, columns=XY).assign(kind=kind)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, fit_run: Fit) -> Path:
    """A generator with classes and doses, and a flow between two labelled clouds that cross."""
    folder, rng = tmp_path_factory.mktemp("conditional"), np.random.default_rng(0)
    parts = []
    for kind, n in (("a", 280), ("b", 120)):
        dose = rng.uniform(0, 2, n)
        parts.append(blob(rng, n, MEANS[kind], 2 * dose, kind).assign(dose=dose))
    pd.concat(parts).sample(frac=1, random_state=0).to_csv(folder / "cells.csv", index=False)
    before = [blob(rng, 90, -2, 0, "a"), blob(rng, 60, 2, 0, "b")]
    early = pd.concat(before).sample(frac=1, random_state=1)
    early.insert(0, "cell", [f"c{k}" for k in range(150)])
    early.to_csv(folder / "early.csv", index=False)
    late = [blob(rng, 80, *CROSSED["a"], "a"), blob(rng, 80, *CROSSED["b"], "b")]
    pd.concat(late).to_csv(folder / "late.csv", index=False)
    plain: dict[str, Any] = {"label_key": "kind", **LEARN}
    made: dict[str, Any] = {"source": "gaussian", "method": "fm", "covariates": ("dose",)}
    made |= {"condition_dropout": 0.3}
    fit_run(folder / "made", folder / "cells.csv", **plain, **made)
    fit_run(folder / "crossed", folder / "early.csv", folder / "late.csv", **plain)
    return folder


def sampled(bench: Path, run: str, out: Path, **chosen: Any) -> pd.DataFrame:
    """2,000 samples of a run, as the command line writes them."""
    request = SampleRequest(str(bench / run), str(out), 2000, condition=Condition(**chosen))
    do(request)
    return pd.read_csv(out)


# What is learnt


@pytest.mark.parametrize("kind", ["a", "b"])
@pytest.mark.parametrize("dose", [0.4, 1.6])
def test_samples_follow_their_condition(
    kind: str, dose: float, bench: Path, tmp_path: Path
) -> None:
    """The class sets the first coordinate, the dose the second; the columns say so."""
    found = sampled(bench, "made", tmp_path / "s.csv", label=kind, covariates={"dose": dose})
    assert found["x"].mean() == pytest.approx(MEANS[kind], abs=0.6)
    assert found["y"].mean() == pytest.approx(2 * dose, abs=0.6)
    assert list(found.columns) == ["id", "time", "x", "y", "kind", "dose"]
    assert set(found["kind"]) == {kind}
    assert set(found["dose"]) == {dose}


def test_conditions_are_drawn_with_the_points(bench: Path, tmp_path: Path) -> None:
    """Without a choice the shares are the target's, and each sample has the place it says."""
    found = sampled(bench, "made", tmp_path / "s.csv")
    assert (found["kind"] == "a").mean() == pytest.approx(0.7)
    for kind, own in found.groupby("kind"):
        assert own["x"].mean() == pytest.approx(MEANS[str(kind)], abs=0.6)
    assert np.corrcoef(found["dose"], found["y"])[0, 1] > 0.9


def test_no_guidance_leaves_the_condition_out(bench: Path, tmp_path: Path) -> None:
    """At 0 any condition gives the same points, and they are near the whole cloud."""
    one, other = (
        sampled(bench, "made", tmp_path / f"{k}.csv", label=k, covariates={"dose": 1}, guidance=0.0)
        for k in "ab"
    )
    np.testing.assert_array_equal(one[XY], other[XY])
    full = sampled(bench, "made", tmp_path / "full.csv", label="a", covariates={"dose": 1.0})
    whole = pd.read_csv(bench / "cells.csv")[XY].to_numpy()
    near, far = (metrics.w1(s[XY].to_numpy()[:500], whole) for s in (one, full))
    assert near < 0.5 * far


def test_guidance_exaggerates(bench: Path, tmp_path: Path) -> None:
    """The farther from leaving the condition out, the farther the class goes its own way."""
    weights = (0.0, 0.5, 1.0, 2.0)
    for kind, sign in (("a", 1), ("b", -1)):
        means = [
            sign
            * sampled(
                bench,
                "made",
                tmp_path / f"{kind}{w}.csv",
                label=kind,
                covariates={"dose": 1.0},
                guidance=w,
            )["x"].mean()
            for w in weights
        ]
        assert (np.diff(means) > 0.1).all(), means


def test_classes_stay_themselves(bench: Path, tmp_path: Path) -> None:
    """Each class goes to its own place, though the other's is nearer; rows and columns stay."""
    out, given = tmp_path / "o.csv", pd.read_csv(bench / "early.csv")
    figures = do(
        TransportRequest(str(bench / "crossed"), str(bench / "early.csv"), str(out))
    ).figures
    found = pd.read_csv(out)
    assert list(found.columns) == list(given.columns)
    pd.testing.assert_frame_equal(found[["cell", "kind"]], given[["cell", "kind"]])
    for kind, own in found.groupby("kind"):
        np.testing.assert_allclose(own[XY].mean(), CROSSED[str(kind)], atol=0.5)
    assert figures["w2"] < 1


def test_a_choice_wins_over_the_rows_own(bench: Path, tmp_path: Path) -> None:
    """All rows as one class are what that class's rows are, whatever their column says."""
    run, data = str(bench / "crossed"), str(bench / "early.csv")
    outs = [tmp_path / f"{k}.csv" for k in range(3)]
    for out, given in zip(outs, (Condition(), Condition("a"), Condition("b")), strict=True):
        do(TransportRequest(run, data, str(out), integration=STEPS, condition=given))
    own, as_a, as_b = (pd.read_csv(out) for out in outs)
    for kind, forced in (("a", as_a), ("b", as_b)):
        rows = own["kind"] == kind
        np.testing.assert_allclose(own[rows][XY], forced[rows][XY], atol=1e-5)
        assert (own[~rows][XY] - forced[~rows][XY]).abs().to_numpy().max() > 1
    pd.testing.assert_series_equal(as_a["kind"], own["kind"])


def test_a_choice_is_scored_against_its_class(bench: Path, tmp_path: Path) -> None:
    """Points carried as one class are compared with that class; with a dose chosen, with none."""
    run, early = str(bench / "crossed"), pd.read_csv(bench / "early.csv")
    early[early["kind"] == "a"].to_csv(tmp_path / "a.csv", index=False)
    request = TransportRequest(run, str(tmp_path / "a.csv"), str(tmp_path / "o.csv"))
    whole = do(request).figures
    chosen = TransportRequest(
        run, str(tmp_path / "a.csv"), str(tmp_path / "p.csv"), condition=Condition("a")
    )
    assert do(chosen).figures["w2"] < 0.5 * whole["w2"]
    dosed = TransportRequest(
        str(bench / "made"),
        str(bench / "cells.csv"),
        str(tmp_path / "q.csv"),
        start="0",
        condition=Condition("a", {"dose": 1.0}),
    )
    assert "w2" not in do(dosed).figures


@pytest.mark.parametrize("verb", ["transport", "likelihood", "interpolate"])
def test_no_row_looks_at_its_neighbours(verb: str, bench: Path, tmp_path: Path) -> None:
    """Permuting the rows, whose conditions differ, permutes the result (fixed steps)."""
    given, outs = pd.read_csv(bench / "early.csv").head(60), []
    for name, part in (("a", given), ("b", given.sample(frac=1, random_state=3))):
        data, out = tmp_path / f"{name}.csv", tmp_path / f"{name}_out.csv"
        part.to_csv(data, index=False)
        request = {
            "transport": TransportRequest(
                str(bench / "crossed"), str(data), str(out), integration=STEPS
            ),
            "likelihood": LikelihoodRequest(
                str(bench / "crossed"),
                str(data),
                str(out),
                integration=STEPS,
                scoring=Scoring(base="gaussian"),
            ),
            "interpolate": InterpolateRequest(
                str(bench / "crossed"), str(out), str(data), times=("0.7",), integration=STEPS
            ),
        }[verb]
        do(request)
        outs.append(pd.read_csv(out, index_col=0 if verb == "transport" else None))
    key = {"likelihood": "id", "interpolate": "trajectory"}.get(verb)
    one, other = (out.set_index(key) if key else out for out in outs)
    pd.testing.assert_frame_equal(one.loc[other.index], other, rtol=1e-4, atol=1e-4)


# Likelihoods


def grid(low: float, high: float, n: int) -> tuple[Array, float]:
    """A square grid in the plane, and the area of a cell."""
    axis = np.linspace(low, high, n)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return points, float((axis[1] - axis[0]) ** 2)


@pytest.mark.parametrize("kind", ["a", "b"])
@pytest.mark.parametrize(("run", "base"), [("made", "auto"), ("crossed", "gaussian")])
def test_each_condition_has_a_density(kind: str, run: str, base: str, bench: Path) -> None:
    """It integrates to one, and its mean is where the class is."""
    points, cell = grid(-9, 9, 73)
    obs = pd.DataFrame({"kind": [kind] * len(points), "dose": 1.0})
    model = load(bench / run)
    mass = (
        np.exp(
            model.log_prob(
                points, obs=obs, scoring=Scoring(base=base), solver="rk4:steps=10"
            ).values
        )
        * cell
    )
    assert mass.sum() == pytest.approx(1, abs=0.03)
    mean = MEANS[kind] if run == "made" else CROSSED[kind][0]
    assert mass @ points[:, 0] == pytest.approx(mean, abs=0.6)


def test_likelihoods_are_told_by_the_own_or_the_chosen_class(bench: Path, tmp_path: Path) -> None:
    """A point is likelier under its own class; the density of the source is that of the class."""
    run, data = str(bench / "crossed"), str(bench / "late.csv")
    outs = [tmp_path / f"{k}.csv" for k in range(3)]
    for out, given in zip(outs, (Condition(), Condition("a"), Condition("b")), strict=True):
        figures = do(
            LikelihoodRequest(
                run, data, str(out), condition=given, scoring=Scoring(base="gaussian")
            )
        ).figures
        assert figures["base"] == "gaussian"
    own, as_a, as_b = (pd.read_csv(out) for out in outs)
    assert list(own.columns) == ["id", "kind", "log_prob"]
    for kind, chosen, other in (("a", as_a, as_b), ("b", as_b, as_a)):
        rows = own["kind"] == kind
        scores, same, wrong = (o[rows]["log_prob"].to_numpy() for o in (own, chosen, other))
        np.testing.assert_allclose(scores, same, rtol=1e-3, atol=1e-3)
        assert (scores > wrong + 1).mean() > 0.95
    with pytest.raises(ConfigError, match="guidance"):
        do(LikelihoodRequest(run, data, str(tmp_path / "g.csv"), condition=Condition(guidance=2)))


# Trajectories and scores


def test_trajectories_keep_their_condition(bench: Path, tmp_path: Path) -> None:
    """Of the stored cloud each point's own; of noise one drawn with it, which is told."""
    do(InterpolateRequest(str(bench / "crossed"), str(tmp_path / "o.csv"), times=("1",)))
    for kind, own in pd.read_csv(tmp_path / "o.csv").groupby("kind"):
        np.testing.assert_allclose(own[XY].mean(), CROSSED[str(kind)], atol=0.5)
    do(InterpolateRequest(str(bench / "made"), str(tmp_path / "p.csv"), times=("0", "1")))
    found = pd.read_csv(tmp_path / "p.csv")
    assert list(found.columns) == ["trajectory", "time", *XY, "kind", "dose"]
    for kind, own in found[found["time"] == 1].groupby("kind"):
        assert own["x"].mean() == pytest.approx(MEANS[str(kind)], abs=0.6)
    forced = Condition("a", {"dose": 0.0})
    do(
        InterpolateRequest(
            str(bench / "made"), str(tmp_path / "q.csv"), times=("1",), condition=forced
        )
    )
    assert pd.read_csv(tmp_path / "q.csv")["x"].min() > 0


def test_populations_and_held_out_times(bench: Path, tmp_path: Path, fit_run: Fit) -> None:
    """Snapshots, held-out times and evaluations carry every point under its own condition."""
    early, late = (pd.read_csv(bench / name) for name in ("early.csv", "late.csv"))
    early = early.drop(columns="cell")
    middle = early.copy()
    middle[XY] = 0.3 * np.random.default_rng(1).normal(size=(150, 2)) + [0.0, 1.5]
    days = pd.concat([early.assign(day=0), middle.assign(day=1), late.assign(day=2)])
    days.to_csv(tmp_path / "days.csv", index=False)
    run = tmp_path / "run"
    outcome = fit_run(
        run, tmp_path / "days.csv", time_key="day", label_key="kind", holdout=("1",), **LEARN
    )
    (held,) = outcome.figures["holdout"]
    assert held["model_w1"] < 0.6
    assert held["model_w1"] < 0.5 * held["previous_w1"]
    do(InterpolateRequest(str(run), str(tmp_path / "p.csv"), times=("1", "2"), population=True))
    found = pd.read_csv(tmp_path / "p.csv")
    assert len(found) == 150 + 160
    scores = do(EvaluateRequest(str(run), time="2")).figures["scores"]
    (w2,) = [s["value"] for s in scores if s["metric"] == "w2"]
    assert w2 < 1
    scene = plots.Scene(load(run), plots.own_plane(load(run)))
    for name in plots.chosen(scene):
        assert plots.draw(scene, name).encoded().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "ask",
    [
        TransportRequest("crossed", "", "out.csv"),
        LikelihoodRequest("crossed", "", "out.csv"),
        InterpolateRequest("crossed", "out.csv", frames=2),
    ],
)
def test_the_file_of_a_label_that_was_not_learnt_is_named(
    ask: Any, bench: Path, tmp_path: Path
) -> None:
    """Whatever is done with the points."""
    cells = tmp_path / "odd.csv"
    pd.read_csv(bench / "early.csv").replace({"kind": {"b": "z"}}).to_csv(cells, index=False)
    files = {"run": str(bench / ask.run), "data": str(cells), "output": str(tmp_path / ask.output)}
    with pytest.raises(DataError, match=r"odd\.csv: the run has not learnt the label 'z'"):
        do(replace(ask, **files))


def test_points_that_a_fit_left_out_are_told_as_such(tmp_path: Path, fit_run: Fit) -> None:
    """Of a label that --where kept from the run; interpolate leaves them out by its own."""
    rng = np.random.default_rng(0)
    days = [blob(rng, 10, day, 0, kind).assign(day=day) for day in (0, 1) for kind in "abz"]
    cells = pd.concat(days).assign(cell=[f"c{k}" for k in range(60)])
    cells.to_csv(tmp_path / "cells.csv", index=False)
    files = (str(tmp_path / "r"), str(tmp_path / "cells.csv"), str(tmp_path / "out.csv"))
    run, data, output = files
    how = {**LEARN, "steps": 1, "label_key": "kind", "time_key": "day"}
    fit_run(run, data, where="kind != 'z'", **how)
    other, own = "with cfm interpolate --where", "with --where"
    for ask, chooser in (
        (TransportRequest(run, data, output), other),
        (LikelihoodRequest(run, data, output, time="own"), other),
        (InterpolateRequest(run, output, data, frames=2, start="0"), own),
    ):
        told = rf"label 'z' .*--where \"kind != 'z'\", which leaves .*choose points {chooser}\.$"
        with pytest.raises(DataError, match=told):
            do(ask)
    do(InterpolateRequest(run, output, data, frames=2, start="0", where="kind != 'z'"))
    found = pd.read_csv(output)
    assert set(found["kind"]) == {"a", "b"}
    assert len(found) == 2 * 20
    odd = cells[cells["kind"] != "z"].replace({"kind": {"b": "q"}})
    odd.to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(DataError, match=r"'q' of 'kind'\. Known: a, b\.$"):
        do(TransportRequest(run, str(tmp_path / "odd.csv"), f"{output}.csv"))


def test_leaving_points_out_is_no_remedy_for_a_missing_column(tmp_path: Path, fit_run: Fit) -> None:
    rng = np.random.default_rng(0)
    days = [blob(rng, 10, day, 0, kind).assign(day=day) for day in (0, 1) for kind in "ab"]
    cells = pd.concat(days).assign(cell=[f"c{k}" for k in range(40)])
    cells["batch"] = ["p", "q"] * 20
    cells.to_csv(tmp_path / "cells.csv", index=False)
    cells.drop(columns="kind").to_csv(tmp_path / "bare.csv", index=False)
    run, data, bare, output = (str(tmp_path / n) for n in ("r", "cells.csv", "bare.csv", "o.csv"))
    how = {**LEARN, "steps": 1, "label_key": "kind", "time_key": "day"}
    fit_run(run, data, where="batch == 'p'", **how)
    with pytest.raises(DataError, match="no column 'kind'") as caught:
        do(TransportRequest(run, bare, output))
    assert "--where" not in str(caught.value)


def test_a_source_without_labels_is_fine(bench: Path, tmp_path: Path, fit_run: Fit) -> None:
    """Any of its points may become any class; to be carried they need one."""
    bare = pd.read_csv(bench / "early.csv")[["cell", *XY]]
    bare.to_csv(tmp_path / "bare.csv", index=False)
    fit_run(tmp_path / "r", tmp_path / "bare.csv", bench / "late.csv", label_key="kind", **LEARN)
    run, out = str(tmp_path / "r"), str(tmp_path / "o.csv")
    with pytest.raises(DataError, match=r"no column 'kind'.*--label, one of a, b"):
        do(TransportRequest(run, str(tmp_path / "bare.csv"), out))
    do(TransportRequest(run, str(tmp_path / "bare.csv"), out, condition=Condition("a")))
    found = pd.read_csv(out)
    assert list(found.columns) == ["cell", *XY]
    np.testing.assert_allclose(found[XY].mean(), CROSSED["a"], atol=0.5)
    do(SampleRequest(run, str(tmp_path / "s.csv"), 200))
    assert (pd.read_csv(tmp_path / "s.csv")["kind"] == "a").mean() == pytest.approx(0.5)


def test_a_class_that_is_new_is_said(bench: Path, tmp_path: Path, fit_run: Fit) -> None:
    """Where the source has classes, but not this one, any of its points may become it."""
    late = pd.read_csv(bench / "late.csv")
    late["kind"] = late["kind"].replace("b", "c")
    late.to_csv(tmp_path / "late.csv", index=False)
    gone = pytest.warns(CfmWarning, match="nothing becomes b")
    with gone, pytest.warns(CfmWarning, match="'c' is absent"):
        fit_run(tmp_path / "r", bench / "early.csv", tmp_path / "late.csv", label_key="kind")
    do(SampleRequest(str(tmp_path / "r"), str(tmp_path / "s.csv"), 50, condition=Condition("c")))
    assert set(pd.read_csv(tmp_path / "s.csv")["kind"]) == {"c"}


def test_half_of_the_conditions_is_said(bench: Path, tmp_path: Path, fit_run: Fit) -> None:
    """A source that has the classes and not the doses comes under conditions of the target."""
    late = pd.read_csv(bench / "late.csv").assign(dose=np.arange(160) / 80)
    late.to_csv(tmp_path / "late.csv", index=False)
    keys: dict[str, Any] = {"label_key": "kind", "covariates": ("dose",)}
    with pytest.warns(CfmWarning, match="has kind, but not all of kind, dose"):
        fit_run(tmp_path / "r", bench / "early.csv", tmp_path / "late.csv", **keys)


# Files, memory, bytes


def test_anndata_in_and_out(bench: Path, tmp_path: Path, fit_run: Fit) -> None:
    """Conditions stand in obs, of what is read and of what is written; classes may be numbers."""
    rng, n = np.random.default_rng(2), 120
    kind = np.repeat([1, 2], n // 2)
    obs = pd.DataFrame({"day": 0, "batch": kind}, index=[f"c{k}" for k in range(n)])
    early = anndata.AnnData(rng.normal(size=(n, 2)), obs)
    late = anndata.AnnData(rng.normal(size=(n, 2)) + 5 * kind[:, None], obs.assign(day=1))
    both = anndata.concat([early, late], index_unique="-")
    both.obs["batch"] = both.obs["batch"].astype(float)
    both.write_h5ad(tmp_path / "in.h5ad")
    keys = {"time_key": "day", "label_key": "batch"}
    fit_run(tmp_path / "r", tmp_path / "in.h5ad", **keys, **LEARN)
    run, out = str(tmp_path / "r"), str(tmp_path / "o.h5ad")
    assert load(run).conditions.classes == ("1", "2")
    early.write_h5ad(tmp_path / "early.h5ad")
    do(TransportRequest(run, str(tmp_path / "early.h5ad"), out, condition=Condition(guidance=1.5)))
    moved = anndata.read_h5ad(out)
    pd.testing.assert_series_equal(moved.obs["batch"], early.obs["batch"], check_index_type=False)
    assert moved.uns["cfm"]["guidance"] == 1.5
    model, guided = load(run), Condition(guidance=1.5)
    x, h = np.asarray(moved.obsm["X_cfm_start"], dtype=np.float64), 1e-3
    tight, guide = with_tolerances("dopri5", 1e-9, 1e-9), model.guide(early.obs, guided)
    rate = (model.flow.paths(x, (0.0, h), tight, guide).points[-1] - x) / h
    np.testing.assert_allclose(
        moved.obsm["velocity_cfm_start"], rate, atol=0.01 * np.abs(rate).max()
    )
    gap = moved.layers["cfm"][kind == 2].mean(axis=0) - moved.layers["cfm"][kind == 1].mean(axis=0)
    assert (gap > 3).all()
    paths = InterpolateRequest(run, str(tmp_path / "p.h5ad"), times=("0",), condition=guided)
    do(paths)
    followed = anndata.read_h5ad(tmp_path / "p.h5ad")
    np.testing.assert_allclose(
        followed.layers["velocity"], moved.layers["velocity"], rtol=1e-3, atol=1e-3
    )
    do(SampleRequest(run, str(tmp_path / "s.h5ad"), 30, condition=Condition("2")))
    drawn = anndata.read_h5ad(tmp_path / "s.h5ad")
    assert drawn.obs["batch"].astype(str).tolist() == ["2"] * 30
    assert drawn.uns["cfm"]["label"] == "2"
    do(LikelihoodRequest(run, str(tmp_path / "early.h5ad"), str(tmp_path / "l.h5ad"), time="0"))
    assert np.isfinite(anndata.read_h5ad(tmp_path / "l.h5ad").obs["cfm_log_prob"]).all()


def test_a_conditional_model_is_stored_whole(bench: Path, tmp_path: Path) -> None:
    """load(pack(model)) has the same conditions, the same samples, and the same bytes."""
    for name in ("made", "crossed"):
        model = load(bench / name)
        (tmp_path / checkpoint.MODEL).write_bytes(pack(model))
        again = load(tmp_path)
        assert again.conditions == model.conditions
        assert describe_run(str(bench / name))["conditions"]["classes"] == ["a", "b"]
        assert pack(again) == pack(model) == (bench / name / checkpoint.MODEL).read_bytes()
        given = Condition("a", guidance=1.5)
        assert np.array_equal(again.sample(9, given=given), model.sample(9, given=given))


def test_resuming_sees_the_same_conditions(bench: Path, tmp_path: Path, fit_run: Fit) -> None:
    """Stopped and resumed, a conditional fit ends with the bytes of an uninterrupted one."""
    files = bench / "early.csv", bench / "late.csv"

    def stop(progress: Any) -> None:
        if progress.done == 50:
            signal.raise_signal(signal.SIGINT)

    more = {**LEARN, "steps": 110, "label_key": "kind", "validation": 0.2}
    fit_run(tmp_path / "whole", *files, **more)
    with pytest.raises(Interrupted):
        fit_run(tmp_path / "parts", *files, listen=stop, **more)
    fit_run(tmp_path / "parts", *files, resume=True, **more)
    whole, parts = (tmp_path / name / checkpoint.MODEL for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_dropout_is_what_guidance_needs(bench: Path, tmp_path: Path, fit_run: Fit) -> None:
    """Without it the flow has not learnt to go without a condition, and says so."""
    files = bench / "early.csv", bench / "late.csv"
    fit_run(tmp_path / "r", *files, label_key="kind", condition_dropout=0.0)
    request = SampleRequest(str(tmp_path / "r"), str(tmp_path / "s.csv"), 5)
    do(request)
    with pytest.raises(ConfigError, match="--condition-dropout"):
        load(tmp_path / "r").sample(5, given=Condition(guidance=2.0))


def test_a_conditional_run_is_straightened_by_its_own_pairs(
    bench: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Reflow takes data, keys and classes from the run, and keeps each class apart."""
    fit_run(tmp_path / "r", from_run=str(bench / "crossed"), method="rf", **LEARN)
    model = load(tmp_path / "r")
    assert model.conditions == load(bench / "crossed").conditions
    for kind, mean in CROSSED.items():
        found = model.sample(400, given=Condition(kind), solver="euler:steps=1")
        np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.5)


# Python


def test_columns_or_keywords(bench: Path) -> None:
    """A frame brings its own conditions; arrays take keywords; both agree."""
    model = cfmcli.Model.load(bench / "crossed")
    frame = pd.read_csv(bench / "early.csv").set_index("cell")
    moved = model.transport(frame, solver="rk4:steps=10")
    assert moved.index.equals(frame.index)
    for kind, rows in frame.groupby("kind").groups.items():
        points = frame.loc[rows, XY].to_numpy()
        array = model.transport(points, label=kind, solver="rk4:steps=10")
        np.testing.assert_allclose(moved.loc[rows, XY], array, atol=1e-5)
        paths = model.interpolate(points, [1.0], label=kind, solver="rk4:steps=10")
        np.testing.assert_allclose(paths[0], array, atol=1e-5)
        own = model.log_prob(frame.loc[rows], 0.0, base="gaussian").values
        given = model.log_prob(points, 0.0, base="gaussian", label=kind).values
        np.testing.assert_allclose(own, given, atol=1e-6)
    with pytest.raises(DataError, match="no column 'kind'"):
        model.transport(frame[XY].to_numpy())
    with pytest.raises(ConfigError, match="guidance"):
        model.log_prob(frame, guidance=2.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        model.transport(frame, lable="a")  # type: ignore[call-arg]


def test_samples_by_keywords(bench: Path) -> None:
    """label, covariates and guidance; the same as the command line's."""
    model = cfmcli.Model.load(bench / "made")
    one = model.sample(50, label="b", covariates={"dose": 1.0}, guidance=1.5)
    other = model.core.sample(50, given=Condition("b", {"dose": 1.0}, 1.5))
    assert np.array_equal(one, other)
    assert one[:, 0].mean() < 0
    with pytest.raises(ConfigError, match="--label 'z'"):
        model.sample(5, label="z")
