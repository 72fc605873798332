"""Laws of `cfm evaluate`: its figures are those of the points that `cfm transport` writes."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from cfmcli import metrics
from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud
from cfmcli.errors import (
    CfmWarning,
    CheckpointError,
    ConfigError,
    DataError,
    OutputExistsError,
)
from cfmcli.flows.dynamics.choice import deterministic
from cfmcli.flows.dynamics.motion import motion
from cfmcli.flows.fields import Field, Head
from cfmcli.flows.streams import Streams
from cfmcli.requests import (
    EvaluateRequest,
    Integration,
    Outcome,
    Progress,
    Runtime,
    TransportRequest,
)
from cfmcli.stored import load
from cfmcli.workflows import transport
from cfmcli.workflows.evaluate import evaluate
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.judge import EULER, PATHS, SPLITS, Judge
from cfmcli.workflows.measures import DISTANCES
from tests.conftest import Fit

Formula = Callable[[Tensor, Tensor], Tensor]
Figures = dict[tuple[float, float, str], float]


def where(seed: int = 0, *, force: bool = False) -> Runtime:
    return Runtime(device="cpu", threads=1, seed=seed, force=force)


def do(run: Path, *, seed: int = 0, force: bool = False, **more: Any) -> Outcome:
    """Evaluate a run."""
    return evaluate(EvaluateRequest(str(run), **more), where(seed, force=force), ignore)


def values(outcome: Outcome, what: str = "value") -> Figures:
    """(from, to, metric) -> value or floor."""
    return {(r["from"], r["to"], r["metric"]): r[what] for r in outcome.figures["scores"]}


def frame(path: Path) -> pd.DataFrame:
    """A table of any suffix, every digit of it."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    sep = "\t" if path.suffix == ".tsv" else ","
    return pd.read_csv(path, sep=sep, float_precision="round_trip")


@pytest.fixture(scope="module")
def toy(toy_run: Path) -> Outcome:
    """The scores of the toy run."""
    return do(toy_run)


@pytest.fixture(scope="module")
def days(days_run: Path) -> Outcome:
    """The scores of the run over days."""
    return do(days_run)


def moved(run: Path, data: Path, out: Path, solver: str = "dopri5") -> tuple[Array, Outcome]:
    """What `cfm transport` makes of a file, in flow coordinates, and what it says."""
    request = TransportRequest(str(run), str(data), str(out), integration=Integration(solver))
    outcome = transport.transport(request, where(), ignore)
    return load(run).encode(pd.read_csv(out)[["x", "y"]].to_numpy()), outcome


# Against what other commands write


def test_distances_are_those_of_transported_points(
    toy: Outcome, toy_run: Path, samples: Path, tmp_path: Path
) -> None:
    """The metrics of the file that transport writes, against the target file."""
    x, _ = moved(toy_run, samples / "source.csv", tmp_path / "x.csv")
    model = load(toy_run)
    y = model.encode(pd.read_csv(samples / "target.csv")[["x", "y"]].to_numpy())
    expected = {
        "w1": metrics.w1(x, y),
        "w2": metrics.w2(x, y),
        "energy": metrics.energy_distance(x, y),
        "mmd": metrics.mmd(x, y),
        "sinkhorn_divergence": metrics.sinkhorn_divergence(x, y),
    }
    found = {name: values(toy)[0.0, 1.0, name] for name in expected}
    assert found == pytest.approx(expected, rel=1e-4)
    lines = [metrics.sliced_w2(x, y, rng=np.random.default_rng(s)) for s in range(20)]
    assert min(lines) < values(toy)[0.0, 1.0, "sliced_w2"] < max(lines)


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_few_steps_are_those_of_the_euler_solver(
    steps: int, toy: Outcome, toy_run: Path, samples: Path, tmp_path: Path
) -> None:
    """w2_nfe_k is W2 after transport with k Euler steps, which cost k evaluations."""
    x, told = moved(toy_run, samples / "source.csv", tmp_path / "x.csv", f"euler:steps={steps}")
    y = np.asarray(load(toy_run).clouds[1].points)
    assert told.figures["nfe"] == steps
    assert values(toy)[0.0, 1.0, f"w2_nfe_{steps}"] == pytest.approx(metrics.w2(x, y), rel=1e-4)


def test_steps_are_chosen_as_in_transport(toy_run: Path, samples: Path, tmp_path: Path) -> None:
    """As many as are told, as near, and to the same places."""
    found = do(toy_run, integration=Integration("auto:tolerance=0.001"))
    x, told = moved(toy_run, samples / "source.csv", tmp_path / "x.csv", "auto:tolerance=0.001")
    for name in ("steps", "step_error"):
        assert found.figures[name] == told.figures[name]
    y = load(toy_run).encode(pd.read_csv(samples / "target.csv")[["x", "y"]].to_numpy())
    assert values(found)[0, 1, "w2"] == pytest.approx(metrics.w2(x, y), rel=1e-6)
    assert values(found)[0, 1, "nfe"] == told.figures["nfe"]


def test_path_figures_are_those_of_transport(
    toy: Outcome, toy_run: Path, samples: Path, tmp_path: Path
) -> None:
    """Energy and NFE are what transport says; cost is energy less straightness; NPE by hand."""
    _, told = moved(toy_run, samples / "source.csv", tmp_path / "x.csv")
    found = {name: values(toy)[0.0, 1.0, name] for name in PATHS}
    source, target = (np.asarray(c.points) for c in load(toy_run).clouds)
    assert found["path_energy"] == pytest.approx(told.figures["path_energy"], rel=1e-5)
    assert found["nfe"] == told.figures["nfe"]
    cost = found["path_energy"] - found["straightness"]
    assert cost == pytest.approx(told.figures["mean_cost"], rel=1e-5)
    square = metrics.w2(source, target) ** 2
    assert found["npe"] == pytest.approx(abs(told.figures["path_energy"] / square - 1), rel=1e-4)
    arcs = load(toy_run).flow.paths(source, np.linspace(0, 1, 400).tolist(), deterministic("rk4"))
    assert found["curvature"] == pytest.approx(metrics.curvature(arcs.points), rel=0.02)


def test_every_score_of_a_run_of_two_snapshots(toy: Outcome) -> None:
    """Every distance with a floor, W2 of few steps beside that of W2, the rest without one."""
    assert list(values(toy)) == [(0.0, 1.0, name) for name in (*DISTANCES, *PATHS)]
    floors = {name: floor for (_, _, name), floor in values(toy, "floor").items()}
    assert all(floors[name] > 0 for name in DISTANCES)
    assert {floors[name] for name in EULER} == {floors["w2"]}
    assert {floors[name] for name in PATHS if name not in EULER} == {None}
    assert toy.figures["points"] == {"1": [500, 512]}
    assert toy.figures["floor_points"] == {"1": 256}
    assert "floor" in toy.notes[0]


def test_the_floor_is_that_of_halves_of_the_target(toy: Outcome, toy_run: Path) -> None:
    """Within the spread of single splits, whatever the seed."""
    y = np.asarray(load(toy_run).clouds[1].points)
    drawn = [np.random.default_rng(s).permutation(512).reshape(2, 256) for s in range(15)]
    halves = [metrics.w2(y[i], y[j]) for i, j in drawn]
    floor = values(toy, "floor")[0.0, 1.0, "w2"]
    assert abs(floor - np.mean(halves)) < 4 * np.std(halves) / math.sqrt(SPLITS)


def test_every_snapshot_and_every_gap(days: Outcome, days_run: Path) -> None:
    """Distances at each later snapshot, held out or not; paths of each gap between kept ones."""
    expected = [(0.0, t, name) for t in (1.0, 2.5, 5.0) for name in DISTANCES]
    expected += [(a, b, name) for a, b in ((0.0, 2.5), (2.5, 5.0)) for name in PATHS]
    assert sorted(values(days)) == sorted(expected)
    model = load(days_run)
    clouds = {c.time: np.asarray(c.points) for c in model.clouds}
    there = model.flow.paths(clouds[0.0], (0.0, 1.0), deterministic("dopri5")).points[-1]
    assert values(days)[0.0, 1.0, "w1"] == pytest.approx(metrics.w1(there, clouds[1.0]), rel=1e-6)
    last = model.flow.paths(clouds[2.5], (2.5, 5.0), deterministic("euler:steps=2")).points[-1]
    found = values(days)[2.5, 5.0, "w2_nfe_2"]
    assert found == pytest.approx(metrics.w2(last, clouds[5.0]), rel=1e-6)


@pytest.mark.parametrize("time", ["1", "5.0"])
def test_one_time_gives_its_part_of_the_whole(time: str, days: Outcome, days_run: Path) -> None:
    """--time changes what is told, and no figure."""
    whole, part = values(days), values(do(days_run, time=time))
    assert set(part) == {key for key in whole if key[1] == float(time)}
    assert part == pytest.approx({key: whole[key] for key in part}, rel=1e-4)


def test_a_generator_starts_from_noise(normal_run: Path) -> None:
    """From N(0, I), as many points as were observed, to the one snapshot, over one gap."""
    outcome = do(normal_run)
    assert list(values(outcome)) == [(0.0, 1.0, name) for name in (*DISTANCES, *PATHS)]
    assert outcome.figures["points"] == {"1": [512, 512]}
    model = load(normal_run)
    square = np.mean(
        [
            metrics.w2(np.random.default_rng(s).standard_normal((512, 2)), model.clouds[0].points)
            for s in range(4)
        ]
    )
    found = {name: values(outcome)[0.0, 1.0, name] for name in ("npe", "path_energy")}
    assert found["npe"] == pytest.approx(abs(found["path_energy"] / square**2 - 1), rel=0.5)


def test_against_the_points_of_a_file(toy_run: Path, samples: Path, toy: Outcome) -> None:
    """The target's own file gives the scores of the stored target; the source's is worse."""
    same = values(do(toy_run, against=str(samples / "target.csv")))
    assert same == pytest.approx(values(toy), rel=1e-4)
    other = values(do(toy_run, against=str(samples / "source.csv")))
    assert other[0.0, 1.0, "w2"] > 1.5 * same[0.0, 1.0, "w2"]


def test_against_a_file_of_all_times(cells_run: Path, samples: Path) -> None:
    """Only the points observed at the time count; where none was, that is said."""
    data = str(samples / "timecourse.h5ad")
    asked: dict[str, Any] = {"time": "2.5", "max_points": 150}
    stored, given = do(cells_run, **asked), do(cells_run, **asked, against=data)
    assert given.figures["points"] == stored.figures["points"]
    assert values(given) == pytest.approx(values(stored), rel=1e-3, nan_ok=True)
    with pytest.warns(CfmWarning, match="no point has the time 3 in 'day'"):
        between = do(cells_run, time="3", against=data, max_points=30)
    assert [metric for _, _, metric in values(between)] == list(DISTANCES)


def test_points_are_carried_under_their_own_conditions(
    fit_run: Fit, samples: Path, tmp_path: Path
) -> None:
    """A conditional run is scored as its stored source goes, each point by its own class."""
    days = [samples / f"day{day}.csv" for day in ("2.5", "5")]
    fit_run(tmp_path / "run", *days, label_key="branch")
    model = load(tmp_path / "run")
    first, last = model.clouds
    x, times = np.asarray(first.points), (first.time, last.time)
    ends = model.flow.paths(x, times, deterministic("dopri5"), model.guide(first.obs)).points[-1]
    found = values(do(tmp_path / "run"))[0.0, 1.0, "w2"]
    assert found == pytest.approx(metrics.w2(ends, last.points), rel=1e-6)


# Flows whose paths are known


class Closed(nn.Module):
    """A head that is a formula; its one parameter says the device and the precision."""

    def __init__(self, formula: Formula) -> None:
        super().__init__()
        self.formula = formula
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The formula's value."""
        return self.formula(s, x) * self.one


def scored(run: Path, formula: Formula, x0: Array, x1: Array, a: Array) -> dict[str, float]:
    """The scores of a known flow from weighted points to others."""
    model = load(run)
    clouds = tuple(
        Cloud(x, a, pd.DataFrame(index=range(len(x))), f"{t}", float(t))
        for t, x in enumerate((x0, x1))
    )
    field = Field({"velocity": cast(Head, Closed(formula))})
    judge = Judge(replace(model, field=field, clouds=clouds), motion("dopri5"), Streams(0), 3000)
    return {score.metric: score.value for score in judge.scores([clouds[1]])}


MATRIX, SHIFT = torch.tensor([[1.5, 0.3], [0.3, 0.8]]), torch.tensor([2.0, -1.0])
ONE = torch.eye(2)


def straight(s: Tensor, x: Tensor) -> Tensor:
    """The velocity of x0 + t (M x0 + c - x0), affine and straight."""
    t, one, matrix, shift = s[:1], ONE.to(x), MATRIX.to(x), SHIFT.to(x)
    start = torch.linalg.solve((1 - t) * one + t * matrix, (x - t * shift).T).T
    return torch.as_tensor(start @ (matrix - one) + shift)


def weighted(n: int = 60) -> tuple[Array, Array]:
    """A cloud and uneven weights."""
    a = np.linspace(1, 3, n)
    return np.random.default_rng(0).standard_normal((n, 2)), a / a.sum()


def test_a_straight_optimal_flow_wastes_nothing(toy_run: Path) -> None:
    """A symmetric positive affine map is optimal: at zero, whatever the number of steps."""
    x, a = weighted()
    y = x @ MATRIX.numpy() + SHIFT.numpy()
    found = scored(toy_run, straight, x, y, a)
    for name in ("w1", "w2", "sliced_w2", "npe", "straightness", "curvature", *EULER):
        assert found[name] == pytest.approx(0.0, abs=2e-5), name
    assert found["path_energy"] == pytest.approx(a @ np.square(y - x).sum(axis=1), rel=1e-5)


def test_one_step_of_a_straight_flow_is_as_good_as_any(toy_run: Path) -> None:
    """Far from the target, one Euler step is as far as a hundred, and as the adaptive solver."""
    x, a = weighted()
    y = np.random.default_rng(1).standard_normal((60, 2))
    found = scored(toy_run, straight, x, y, a)
    assert found["w2"] > 1
    assert [found[name] for name in EULER] == pytest.approx([found["w2"]] * len(EULER), rel=1e-5)


def test_a_turning_flow_is_curved_and_wasteful(toy_run: Path) -> None:
    """A turn by θ: E = θ² E|x|², chord 2 |x| sin(θ/2), and one Euler step leads astray."""
    x, a = weighted()
    angle, mean = 2.0, a @ np.square(x).sum(axis=1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    rate = torch.tensor([[0.0, angle], [-angle, 0.0]])
    found = scored(toy_run, lambda s, x: x @ rate.to(x), x, x @ turn, a)
    assert found["w2"] == pytest.approx(0.0, abs=1e-4)
    assert found["path_energy"] == pytest.approx(angle**2 * mean, rel=1e-4)
    chord = 2 * np.sin(angle / 2)
    assert found["straightness"] == pytest.approx((angle**2 - chord**2) * mean, rel=1e-3)
    assert found["curvature"] == pytest.approx(angle / chord - 1, rel=2e-3)
    square = metrics.w2(x, x @ turn, a, a) ** 2
    assert found["npe"] == pytest.approx(angle**2 * mean / square - 1, rel=1e-4)
    errors = [found[name] for name in EULER]
    assert errors == sorted(errors, reverse=True)
    # One step leads to x (1 + θ J), of length √(1 + θ²) |x|.
    one = x + x @ rate.numpy()
    assert found["w2_nfe_1"] == pytest.approx(metrics.w2(one, x @ turn, a, a), rel=1e-5)


def test_a_target_of_one_place(toy_run: Path) -> None:
    """What has no scale there is left empty, and said; the rest stands."""
    x, a = weighted()
    with pytest.warns(CfmWarning, match="all one: mmd and sinkhorn_divergence"):
        found = scored(toy_run, straight, x, np.ones((60, 2)), a)
    assert {name for name, value in found.items() if math.isnan(value)} == {
        "mmd",
        "sinkhorn_divergence",
    }


def test_a_target_that_is_the_source_has_no_npe(toy_run: Path) -> None:
    """NPE is a share of W2² between source and target, which is zero here."""
    x, a = weighted()
    found = scored(toy_run, lambda s, x: 0 * x, x, x, a)
    assert math.isnan(found["npe"])
    assert found["path_energy"] == found["curvature"] == 0
    assert found["w2"] == pytest.approx(0.0, abs=1e-5)


# Subsamples, files and refusals


def test_subsamples_are_seeded_and_raise_the_floor(toy_run: Path, toy: Outcome) -> None:
    """At most so many points on both sides; another seed draws others; fewer are farther apart."""
    few, again, others = (do(toy_run, max_points=60, seed=seed) for seed in (0, 0, 1))
    assert few.figures["points"] == {"1": [60, 60]}
    assert few.figures["floor_points"] == {"1": 60}
    assert few.figures == again.figures
    assert values(few)[0.0, 1.0, "w2"] != values(others)[0.0, 1.0, "w2"]
    floors = [values(outcome, "floor")[0.0, 1.0, "w2"] for outcome in (few, toy)]
    assert floors[0] > 1.3 * floors[1]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "parquet"])
def test_the_table_holds_what_is_told(suffix: str, days_run: Path, tmp_path: Path) -> None:
    """A row each: from, to, metric, value, floor; empty where there is no floor."""
    out = tmp_path / f"m.{suffix}"
    outcome = do(days_run, output=str(out), max_points=40)
    assert outcome.outputs == {"metrics": str(out)}
    found = frame(out)
    assert list(found.columns) == ["from", "to", "metric", "value", "floor"]
    rows = [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in found.to_dict("records")
    ]
    assert rows == outcome.figures["scores"]


def test_two_runs_write_the_same_bytes(toy_run: Path, tmp_path: Path) -> None:
    """Same run, options and seed."""
    for name in ("a.csv", "b.csv"):
        do(toy_run, output=str(tmp_path / name), max_points=100)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_progress_comes_to_its_end(toy_run: Path) -> None:
    """One sign a score, the last of them at the total."""
    heard: list[Progress] = []
    outcome = evaluate(EvaluateRequest(str(toy_run), max_points=20), where(), heard.append)
    count = len(outcome.figures["scores"])
    assert [(p.done, p.total) for p in heard] == [(k + 1, count) for k in range(count)]
    assert "w2_nfe_100" in heard[-1].text


def test_dry_run_does_nothing(days_run: Path, tmp_path: Path) -> None:
    """It says how many scores there would be."""
    count = len(do(days_run, max_points=10).figures["scores"])
    outcome = do(days_run, output=str(tmp_path / "m.csv"), dry_run=True)
    assert outcome.notes == (f"would compute {count} scores",)
    assert "scores" not in outcome.figures
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"output": "m.h5ad"}, ConfigError, "suffix .h5ad"),
        ({"output": "there.csv"}, OutputExistsError, "--force"),
        ({"against": "there.csv", "output": "there.csv"}, ConfigError, "same file"),
        ({"against": "one.csv"}, DataError, "at least 2"),
        ({"against": "narrow.csv"}, DataError, "'y'"),
        ({"max_points": 1}, ConfigError, "--max-points 1"),
        ({"time": "0"}, ConfigError, "start there"),
        ({"time": "0.5"}, ConfigError, r"--against DATA, or one of the times 1\."),
        ({"time": "7"}, ConfigError, "outside"),
        ({"time": "noon"}, ConfigError, "'noon'"),
        ({"integration": Integration("euler", atol=1e-3)}, ConfigError, "fixed steps"),
    ],
)
def test_what_cannot_be_is_refused(
    more: dict[str, Any],
    error: type[Exception],
    words: str,
    toy_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each by its own class, with words that help, before anything is written."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "there": "x,y\n1,2\n3,4\n",
        "one": "x,y\n1,2\n",
        "narrow": "x\n1\n2\n",
    }.items():
        Path(f"{name}.csv").write_text(text)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=words):
        do(toy_run, **more)
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_is_expected(samples: Path, tmp_path: Path) -> None:
    """A data file is a usage error that says what is meant; a folder is no run."""
    for name in (str(samples / "source.csv"), str(samples / "timecourse.h5ad"), "-", "cells.zarr"):
        with pytest.raises(ConfigError, match="scores a run folder that cfm fit wrote, got"):
            do(Path(name))
    with pytest.raises(CheckpointError, match="no run"):
        do(tmp_path)
