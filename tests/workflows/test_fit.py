import csv
import hashlib
import json
import math
import os
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from cfmcli import checkpoint, metrics, plots, recipe
from cfmcli.data.moments import Moments
from cfmcli.errors import (
    CfmWarning,
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    NumericsError,
    OutputExistsError,
)
from cfmcli.flows.training.best import Best
from cfmcli.flows.training.trainer import Trainer
from cfmcli.layers import from_layers, from_toml
from cfmcli.model import Model
from cfmcli.recipe import MOST_STEPS, Recipe
from cfmcli.requests import FitRequest, Progress, Runtime
from cfmcli.stored import load
from cfmcli.workflows import aside
from cfmcli.workflows import fit as fitting
from cfmcli.workflows.info import describe_run
from cfmcli.workflows.run import Run

Fit = Callable[..., Any]
TOYS = ("source.csv", "target.csv")


@pytest.fixture
def toys(samples: Path) -> tuple[Path, ...]:
    """The two toy clouds."""
    return tuple(samples / name for name in TOYS)


def weights_of(run: Path) -> dict[str, Any]:
    """The trained tensors of a run."""
    arrays, _ = checkpoint.unpack(run / checkpoint.MODEL)
    return {name: value for name, value in arrays.items() if name.startswith("field.")}


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs learnt the same numbers, bit for bit."""
    a, b = weights_of(one), weights_of(other)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def model_bytes(run: Path) -> bytes:
    """The checkpoint of a run."""
    return (run / checkpoint.MODEL).read_bytes()


def tree(folder: Path) -> set[str]:
    """Names of the files below a folder."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def stop_at(step: int, number: int = signal.SIGINT) -> Callable[[Progress], None]:
    """A listener that sends a signal to this process once a step is done."""

    def listen(progress: Progress) -> None:
        if progress.done == step:
            os.kill(os.getpid(), number)

    return listen


def test_a_run_holds_what_the_contract_says(toy_run: Path) -> None:
    """These files and no others."""
    assert tree(toy_run) == {
        "recipe.toml",
        "model.safetensors",
        "losses.csv",
        "metrics.json",
        "provenance.json",
        "figures/loss.png",
        "figures/clouds.png",
    }


def test_losses_have_their_columns(toy_run: Path) -> None:
    """A row a block: step, loss, grad_norm, seconds, a column per head, validation."""
    lines = (toy_run / "losses.csv").read_text().splitlines()
    assert lines[0] == "step,loss,grad_norm,seconds,velocity,validation"
    rows = list(csv.DictReader(lines))
    assert [int(r["step"]) for r in rows] == [25, 50]
    assert all(float(r["loss"]) == float(r["velocity"]) > 0 for r in rows)
    assert all(float(r["grad_norm"]) > 0 and r["validation"] == "" for r in rows)


def test_metrics_and_provenance_say_what_was_done(toy_run: Path, toys: tuple[Path, ...]) -> None:
    """Sizes, plans, command, seed, versions, and the true digests of the inputs."""
    found = json.loads((toy_run / "metrics.json").read_text())
    assert found["steps"] == 50
    assert found["points"] == {"0": 500, "1": 512}
    assert found["dimension"] == 2
    assert found["holdout"] == []
    assert found["plans"][0]["mean_cost"] < found["plans"][0]["independent_cost"]
    origin = json.loads((toy_run / "provenance.json").read_text())
    assert origin["command"] == "test"
    assert origin["seed"] == 0
    assert {"cfm", "python", "torch", "numpy"} <= origin["versions"].keys()
    digests = {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in toys}
    assert origin["inputs"] == digests
    assert any("2302.00482" in line for line in origin["cite"])


def test_the_outcome_names_every_file(tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit) -> None:
    """Outputs name paths that exist; progress ends at the last step, after what was understood."""
    heard: list[Progress] = []
    outcome = fit_run(tmp_path / "r", *toys, pictures=True, listen=heard.append)
    assert {str(Path(p).relative_to(tmp_path / "r")) for p in outcome.outputs.values()} == tree(
        tmp_path / "r"
    )
    assert [(p.done, p.total) for p in heard] == [(0, 0), (0, 0), (25, 50), (50, 50)]
    early = [note for p in heard[:2] for note in p.notes]
    assert early == list(outcome.notes)[: len(early)]
    assert {note.split(":")[0] for note in early} >= {"times", "points", "features"}
    assert outcome.figures["run"] == str(tmp_path / "r")


def test_the_recipe_of_a_run_runs_again(toy_run: Path, tmp_path: Path) -> None:
    """recipe.toml is re-runnable, has no open choice left, and gives the same bytes."""
    text = (toy_run / "recipe.toml").read_text()
    assert tomllib.loads(text)["method"]["coupling"] == "exact"
    again = from_layers(from_toml(text))
    where = Runtime(device="cpu", threads=1)
    fitting.fit(again, FitRequest(str(tmp_path / "again")), where, fitting.ignore)
    assert model_bytes(tmp_path / "again") == model_bytes(toy_run)
    assert (tmp_path / "again" / "recipe.toml").read_text() == text


def test_the_seed_decides(tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit) -> None:
    """The same seed gives the same bytes of model and pictures, another seed another model."""
    runs = [tmp_path / name for name in ("a", "b", "c")]
    for run, seed in zip(runs, (5, 5, 6), strict=True):
        fit_run(run, *toys, seed=seed, pictures=run != runs[2])
    assert model_bytes(runs[0]) == model_bytes(runs[1])
    for name in ("recipe.toml", "figures/loss.png", "figures/clouds.png"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
    assert not same_weights(runs[0], runs[2])


@pytest.mark.parametrize(
    ("number", "extra"),
    [
        (signal.SIGINT, {}),
        (signal.SIGTERM, {"validation": 0.2}),
        (signal.SIGINT, {"validation": 0.2, "lr": 1e-30, "patience": 3}),
        (signal.SIGINT, {"coupling": "independent", "scope": "minibatch", "ema": 0.0}),
    ],
)
def test_resuming_is_as_if_never_stopped(
    number: int, extra: dict[str, Any], tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """Stopped twice and resumed, a run ends with the bytes of an uninterrupted one."""
    more = {"steps": 110, **extra}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit_run(whole, *toys, **more)
    before = signal.getsignal(number)
    for step, resume in ((50, False), (75, True)):
        with pytest.raises(Interrupted, match=f"step {step} of 110.*--resume") as caught:
            fit_run(parts, *toys, resume=resume, listen=stop_at(step, number), **more)
        assert caught.value.signal == number
        assert tree(parts) == {checkpoint.TRAINING}
    assert signal.getsignal(number) is before
    assert describe_run(str(parts))["steps_done"] == 75
    with pytest.raises(CheckpointError, match="--resume"):
        load(parts)
    fit_run(parts, *toys, resume=True, **more)
    assert tree(parts) == tree(whole)
    assert model_bytes(parts) == model_bytes(whole)
    drop = ("seconds",)
    one, other = (list(csv.DictReader((r / "losses.csv").open())) for r in (whole, parts))
    assert [{k: v for k, v in row.items() if k not in drop} for row in one] == [
        {k: v for k, v in row.items() if k not in drop} for row in other
    ]
    assert one[-1]["step"] == ("100" if "patience" in extra else "110")


def test_stopping_at_the_last_block_can_be_resumed(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """Nothing is left to train, and the run is finished all the same."""
    with pytest.raises(Interrupted):
        fit_run(tmp_path / "r", *toys, listen=stop_at(50))
    fit_run(tmp_path / "r", *toys, resume=True)
    assert describe_run(str(tmp_path / "r"))["kind"] == "run"


def test_resume_takes_what_an_older_run_did_not_know_as_usual(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that came later has its default there, before the end of the run and after it."""
    known = Recipe.to_mapping

    def older(recipe: Recipe) -> dict[str, Any]:
        mapping = known(recipe)
        return {name: dict(section) for name, section in mapping.items()} | {
            "data": {k: v for k, v in mapping["data"].items() if k != "where"}
        }

    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "to_mapping", older)
        with pytest.raises(Interrupted):
            fit_run(tmp_path / "r", *toys, listen=stop_at(25))
    fit_run(tmp_path / "r", *toys, resume=True)
    (tmp_path / "r" / "recipe.toml").write_text(
        (tmp_path / "r" / "recipe.toml").read_text().replace('where = ""\n', "")
    )
    (note,) = fit_run(tmp_path / "r", *toys, resume=True).notes
    assert "finished" in note


def test_resume_refuses_another_fit(tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit) -> None:
    """The difference is named: a setting with both values, or the content of the inputs."""
    copies = tuple(tmp_path / name for name in TOYS)
    for copy, toy in zip(copies, toys, strict=True):
        copy.write_bytes(toy.read_bytes())
    run = tmp_path / "r"
    with pytest.raises(Interrupted):
        fit_run(run, *copies, listen=stop_at(25))
    with pytest.raises(CheckpointError, match=r"lr \(0.01 there, 0.5 here\)"):
        fit_run(run, *copies, resume=True, lr=0.5)
    with pytest.raises(CheckpointError, match="coupling"):
        fit_run(run, *copies, resume=True, coupling="independent")
    copies[0].write_text(copies[0].read_text() + "0.5,0.5\n")
    with pytest.raises(CheckpointError, match="content of the inputs"):
        fit_run(run, *copies, resume=True)
    assert tree(run) == {checkpoint.TRAINING}
    with pytest.raises(OutputExistsError, match="--resume"):
        fit_run(run, *copies)
    fit_run(run, *copies, force=True)
    assert checkpoint.TRAINING not in tree(run)


def test_resume_of_a_finished_run_does_nothing(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """It says so; another recipe is refused; without a run it starts one."""
    run = tmp_path / "r"
    fit_run(run, *toys, resume=True)
    before = {name: (run / name).stat().st_mtime_ns for name in tree(run)}
    outcome = fit_run(run, *toys, resume=True)
    assert "nothing to do" in outcome.notes[0]
    assert before == {name: (run / name).stat().st_mtime_ns for name in tree(run)}
    with pytest.raises(CheckpointError, match=r"steps \(50 there, 75 here\)"):
        fit_run(run, *toys, resume=True, steps=75)


def test_resume_compares_settings_that_look_like_paths(tmp_path: Path, fit_run: Fit) -> None:
    """Columns may be called bent: they are the same, or they are named with both values."""
    points = np.random.default_rng(0).normal(size=(40, 3))
    data, run = tmp_path / "cells.csv", tmp_path / "r"
    columns = ["bent", "bent-y", "z"]
    pd.DataFrame(points, columns=columns).assign(day=[0, 1] * 20).to_csv(data, index=False)
    fit_run(run, data, time_key="day", features="bent*")
    done = fit_run(run, data, time_key="day", features="bent*", resume=True)
    assert "nothing to do" in done.notes[0]
    with pytest.raises(CheckpointError, match=r"features \('bent\*' there, 'bent,z' here\)"):
        fit_run(run, data, time_key="day", features="bent,z", resume=True)


def test_an_existing_run_is_kept(tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit) -> None:
    """Nothing is overwritten without force, and force replaces everything."""
    run = tmp_path / "r"
    fit_run(run, *toys)
    first = model_bytes(run)
    with pytest.raises(OutputExistsError, match="--force"):
        fit_run(run, *toys, seed=1)
    assert model_bytes(run) == first
    fit_run(run, *toys, seed=1, force=True)
    assert model_bytes(run) != first


def test_failures_leave_nothing(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file, a loss that explodes and a failure while writing leave no folder behind."""
    run = tmp_path / "r"
    with pytest.raises(DataError):
        fit_run(run, toys[0], tmp_path / "absent.csv")
    assert not run.exists()
    huge = tmp_path / "huge.csv"
    huge.write_text("x,y\n" + "".join(f"{k}e25,{k * k}e25\n" for k in range(9)))
    with pytest.raises(NumericsError, match="--lr"):
        fit_run(run, toys[0], huge, transform="none")
    assert not run.exists()

    def broken(model: Model, losses: str) -> dict[str, bytes]:
        raise RuntimeError("no pictures today")

    monkeypatch.setattr(plots, "of_run", broken)
    with pytest.raises(RuntimeError, match="no pictures"):
        fit_run(run, *toys, pictures=True)
    assert not run.exists()


def test_a_failure_keeps_what_was_there(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """Files of the user in the folder of a failed run stay."""
    run = tmp_path / "r"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    huge = tmp_path / "huge.csv"
    huge.write_text("x,y\n" + "".join(f"{k}e25,{k * k}e25\n" for k in range(9)))
    with pytest.raises(NumericsError):
        fit_run(run, toys[0], huge, transform="none")
    assert tree(run) == {"notes.txt"}


def test_a_plan_writes_nothing(tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit) -> None:
    """--dry-run gives the resolved recipe and what it would cost."""
    outcome = fit_run(tmp_path / "r", *toys, dry_run=True)
    assert not list(tmp_path.iterdir())
    assert outcome.outputs == {}
    assert outcome.figures["recipe"]["method"]["coupling"] == "exact"
    assert outcome.figures["pairs_drawn"] == 50 * 64
    assert outcome.figures["largest_plan"] == 500 * 512


def test_a_held_out_time_is_scored(days_run: Path) -> None:
    """With its references: the static interpolation beats both neighbours on this smooth course."""
    (scores,) = json.loads((days_run / "metrics.json").read_text())["holdout"]
    assert (scores["label"], scores["time"], scores["points"]) == ("1", 1.0, [300, 340])
    for name in ("model", "previous", "next", "static_ot"):
        assert 0 < scores[f"{name}_w1"] <= scores[f"{name}_w2"]
    assert scores["static_ot_w1"] < min(scores["previous_w1"], scores["next_w1"])
    model = load(days_run)
    first, held = model.clouds[0], model.clouds[1]
    carried = model.encode(model.transport(model.chain.inverse(np.asarray(first.points)), 0, 1))
    assert scores["model_w1"] == pytest.approx(
        metrics.w1(carried, np.asarray(held.points)), rel=1e-3
    )


def test_a_held_out_time_is_not_used(
    days_run: Path, tmp_path: Path, samples: Path, fit_run: Fit
) -> None:
    """The weights are those of a fit that never saw the file."""
    days = [samples / f"day{d}.csv" for d in ("0", "2.5", "5")]
    fit_run(tmp_path / "r", *days, times=(0, 2.5, 5))
    assert same_weights(tmp_path / "r", days_run)
    assert load(days_run).timeline == load(tmp_path / "r").timeline
    assert [c.held_out for c in load(days_run).clouds] == [False, True, False, False]


@pytest.mark.parametrize(
    ("holdout", "message"),
    [
        (("0",), "first or the last"),
        (("5",), "first or the last"),
        (("3",), "The data have 0, 1, 2.5, 5"),
        (("0", "1", "2.5", "5"), "first or the last"),
    ],
)
def test_times_that_cannot_be_held_out(
    holdout: tuple[str, ...], message: str, tmp_path: Path, samples: Path, fit_run: Fit
) -> None:
    """Only times between two that are kept."""
    with pytest.raises(ConfigError, match=message):
        fit_run(tmp_path / "r", samples / "timecourse.h5ad", time_key="day", holdout=holdout)


def test_validation_is_recorded_and_patience_stops(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """A validation loss a block; without improvement the fit ends, with its best weights."""
    fit_run(tmp_path / "r", *toys, steps=3000, validation=0.2, patience=2, lr=0.3)
    found = json.loads((tmp_path / "r" / "metrics.json").read_text())
    rows = list(csv.DictReader((tmp_path / "r" / "losses.csv").open()))
    losses = [float(r["validation"]) for r in rows]
    assert found["steps"] < 3000
    assert min(losses[-2:]) >= min(losses[:-2])
    assert found["validation"] == min(losses) < losses[-1]
    assert rows[losses.index(min(losses))]["step"] == str(found["best_step"])


def test_steps_found_on_the_way_are_told_and_kept(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """Stopped and resumed, the fit ends after as many steps, with the same bytes, below the cap."""
    how = {"steps": "auto", "patience": 1, "lr": 1e-30}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    told = fit_run(whole, *toys, **how)
    found = json.loads((whole / "metrics.json").read_text())
    rows = list(csv.DictReader((whole / "losses.csv").open()))
    assert found["steps"] == int(rows[-1]["step"]) < MOST_STEPS
    assert 0 < found["converged_at"] < found["steps"]
    converged = f"steps: {found['steps']}; the validation loss had converged"
    assert any(converged in note for note in told.notes)
    assert 'steps = "auto"' in (whole / "recipe.toml").read_text()
    with pytest.raises(Interrupted, match=f"of {MOST_STEPS}"):
        fit_run(parts, *toys, listen=stop_at(25, signal.SIGINT), **how)
    fit_run(parts, *toys, resume=True, **how)
    assert model_bytes(parts) == model_bytes(whole)


def test_a_state_of_another_version_is_not_gone_on_with(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that holds more or less than a fit has now says so, and leaves the file."""
    with pytest.raises(Interrupted):
        fit_run(tmp_path / "r", *toys, listen=stop_at(25, signal.SIGINT))
    before = Run(tmp_path / "r").state.read_bytes()
    monkeypatch.setattr(Best, "numbers", lambda self: (self.loss,))
    with pytest.raises(CheckpointError, match=r"the version of cfm that began it.*--force"):
        fit_run(tmp_path / "r", *toys, resume=True)
    assert Run(tmp_path / "r").state.read_bytes() == before


def test_figures_of_a_fit_are_those_of_the_weights_it_ends_with(
    tmp_path: Path, fit_run: Fit
) -> None:
    """Of losses, those after the fit went back; of plans and their warnings, that of all points."""
    rng, files = np.random.default_rng(0), [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, n in zip(files, (300, 400), strict=True):
        pd.DataFrame(rng.standard_normal((n, 8))).add_prefix("x").to_csv(path, index=False)
    with pytest.warns(CfmWarning) as heard:
        fit_run(tmp_path / "r", *files, steps="auto", coupling="partial:mass=0.3")
    found = json.loads((tmp_path / "r" / "metrics.json").read_text())
    rows = list(csv.DictReader((tmp_path / "r" / "losses.csv").open()))
    late = [float(row["loss"]) for row in rows if not row["validation"]]
    assert found["loss"] == pytest.approx(np.mean(late[-10:]))
    best = next(row for row in rows if int(row["step"]) == found["best_step"])
    assert found["validation"] == float(best["validation"])
    (told,) = (str(told.message) for told in heard if "leaves out" in str(told.message))
    assert f"{found['plans'][0]['left_out_from']:.0%} of the mass at the start" in told


def test_steps_that_ran_out_are_told(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that no one could wait for to converge is not said to have."""
    monkeypatch.setattr(recipe, "MOST_STEPS", 150)
    told = fit_run(tmp_path / "r", *toys, steps="auto")
    found = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert 100 < found["steps"] <= 150
    assert found["converged_at"] is None
    assert any(note.endswith("the validation loss had not converged") for note in told.notes)


def test_a_validation_loss_that_was_never_finite_is_not_said_to_have_converged(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_loss", lambda self: math.inf)
    told = fit_run(tmp_path / "r", *toys, steps="auto", patience=1)
    found = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert found["converged_at"] is found["best_step"] is None
    assert f"steps: {found['steps']}; the validation loss was never finite" in told.notes


def clouds(folder: Path, *sizes: int) -> list[Path]:
    """Files of so many points of the plane each."""
    rng, files = np.random.default_rng(0), [folder / f"{n}.csv" for n in sizes]
    for path, n in zip(files, sizes, strict=True):
        pd.DataFrame(rng.random((n, 2)), columns=["a", "b"]).to_csv(path, index=False)
    return files


@pytest.mark.parametrize(
    ("size", "count"), [(30, 10), (45, 15), (60, 20), (150, 20), (300, 30), (1000, 100)]
)
def test_auto_keeps_enough_points_to_judge(
    size: int, count: int, tmp_path: Path, fit_run: Fit
) -> None:
    """A tenth, raised to 20, but no more than a third; the plan says how many."""
    files = clouds(tmp_path, size, 600)
    told = fit_run(tmp_path / "r", *files, steps="auto", dry_run=True)
    assert told.figures["kept_aside"] == {"0 -> 1": min(count, 60)}
    assert told.figures["pairs_drawn"] == MOST_STEPS * 64
    assert not any("usual number" in note for note in told.notes)


def test_the_usual_steps_are_taken_where_too_few_points_could_judge(
    tmp_path: Path, fit_run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there may be, with all points; it is said, and the run stays resumable."""
    monkeypatch.setattr(aside, "MOST_STEPS", 40)
    files, how = clouds(tmp_path, 29, 40), {"steps": "auto", "method": "sbcfm", "patience": 1}
    told = fit_run(tmp_path / "r", *files, dry_run=True, **how)
    assert set(told.figures["kept_aside"].values()) == {0}
    assert told.figures["pairs_drawn"] == 40 * 64
    done = fit_run(tmp_path / "r", *files, **how)
    for notes in (told.notes, done.notes):
        assert any("steps: 40, the usual number, as the 29 points" in note for note in notes)
    assert done.figures["steps"] == 40
    assert done.figures["validation"] is None
    assert 'steps = "auto"' in (tmp_path / "r" / "recipe.toml").read_text()
    again = fit_run(tmp_path / "r", *files, resume=True, **how)
    assert "nothing to do" in again.notes[0]


def test_two_points_are_planned_as_they_are_fitted(tmp_path: Path, fit_run: Fit) -> None:
    """The plan refuses what the fit would, and says nothing of steps where there are none."""
    (two, more), how = clouds(tmp_path, 2, 12), {"dry_run": True, "validation": 0.25}
    with pytest.raises(DataError, match=r"2 points, too few to keep 0.25.*--validation"):
        fit_run(tmp_path / "r", two, more, **how)
    assert fit_run(tmp_path / "r", two, more, steps="auto", dry_run=True).figures["epochs"] > 0
    still = fit_run(tmp_path / "r", two, more, steps="auto", method="static-ot", dry_run=True)
    assert not any("usual number" in note for note in still.notes)


def test_validation_needs_points(tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit) -> None:
    """A share that leaves fewer than two points is refused with the time."""
    with pytest.raises(DataError, match="--validation"):
        fit_run(tmp_path / "r", *toys, validation=0.001)


def test_a_generator_learns_from_noise(normal_run: Path) -> None:
    """--source gaussian: one unit before its cloud, and the source stores no points."""
    model = load(normal_run)
    assert model.gaussian_source
    assert model.timeline.times == (0.0, 1.0)
    assert len(model.clouds) == 1
    assert describe_run(str(normal_run))["source"] == "N(0, I)"


@pytest.mark.parametrize("method", ["icfm", "otcfm", "sbcfm", "vp", "interflow"])
def test_every_method_fits(
    method: str, tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """Each preset trains between two clouds of unequal size, and says its coupling."""
    outcome = fit_run(tmp_path / "r", *toys, method=method)
    assert outcome.figures["plans"][0]["coupling"] in method + " independent exact sinkhorn"
    assert np.isfinite(outcome.figures["loss"])


def test_arithmetic_in_bfloat16_is_close(
    toy_run: Path, tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """Other bits, the same flow."""
    fit_run(tmp_path / "r", *toys, precision="bf16")
    assert not same_weights(tmp_path / "r", toy_run)
    x = np.random.default_rng(0).normal(size=(50, 2))
    one, other = (load(r).transport(x) for r in (toy_run, tmp_path / "r"))
    assert np.abs(one - other).mean() < 0.1 * np.abs(one - x).mean()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"transform": "standardise"}, ConfigError),
        ({"field": "transformer"}, ConfigError),
        ({"coupling": "sinkhorn:reg=-1"}, ConfigError),
        ({"method": "fm"}, ConfigError),
        ({"source": "gaussian"}, ConfigError),
        ({"times": (1, 0)}, ConfigError),
        ({"times": (0, 1, 2)}, ConfigError),
        ({"time_map": ("a=1",)}, ConfigError),
        ({"time_key": "day"}, DataError),
        ({"label_key": "kind"}, DataError),
        ({"weight_key": "mass"}, DataError),
        ({"features": "z*"}, DataError),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_any_work(
    wrong: dict[str, Any], error: type, tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """Nothing is trained and nothing is written."""
    with pytest.raises(error):
        fit_run(tmp_path / "r", *toys, listen=pytest.fail, **wrong)
    assert not (tmp_path / "r").exists()


def test_no_input_no_fit(tmp_path: Path, fit_run: Fit) -> None:
    """There is nothing to fit."""
    with pytest.raises(ConfigError, match="nothing to fit"):
        fit_run(tmp_path / "r")


def test_very_many_features_get_a_warning(tmp_path: Path, fit_run: Fit) -> None:
    """More than some hundreds of dimensions without a PCA."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(8, 501)))
    with pytest.warns(CfmWarning, match="pca"):
        fit_run(tmp_path / "r", tmp_path / "a.npy", tmp_path / "b.npy", dry_run=True)


def test_what_trains_nothing_keeps_nothing_aside(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit
) -> None:
    """Static pairs are of all points, however many steps are asked for."""
    plain, auto = (tmp_path / name for name in ("plain", "auto"))
    fit_run(plain, *toys, method="static-ot")
    fit_run(auto, *toys, method="static-ot", steps="auto")
    costs = [json.loads((run / "metrics.json").read_text())["plans"] for run in (plain, auto)]
    assert costs[0][0]["mean_cost"] == costs[1][0]["mean_cost"]


def test_moments_of_the_snapshots_are_found_once(
    tmp_path: Path, toys: tuple[Path, ...], fit_run: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though data, path and network are each checked or scaled by them."""
    of = Mock(side_effect=Moments.of)
    monkeypatch.setattr(Moments, "of", of)
    fit_run(tmp_path / "run", *toys, interpolant="linear:sigma=0.1")
    of.assert_called_once()
