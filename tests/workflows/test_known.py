"""Known growth: two islands that stay where they are, one of which grows threefold a day."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.motion import motion
from cfmcli.flows.streams import Streams
from cfmcli.requests import (
    GenesRequest,
    Integration,
    InterpolateRequest,
    Runtime,
    SampleRequest,
    Scoring,
    TransportRequest,
)
from cfmcli.stored import load
from cfmcli.workflows.genes import genes
from cfmcli.workflows.interpolate import interpolate
from cfmcli.workflows.judge import Judge
from cfmcli.workflows.sample import sample
from cfmcli.workflows.score import predicted
from cfmcli.workflows.transport import transport
from tests.conftest import Fit

DAYS, SIZES = (0.0, 1.0, 2.0), ((100, 100), (300, 100), (900, 100))
TIMES = (0.0, 0.5, 1.0, 1.5, 2.0)
GREW = {t: 3**t / (1 + 3**t) for t in TIMES}
"""Share of the island that grows."""
APART = 8.0
WHERE = Runtime(device="cpu", threads=1)


def ignore(progress: Any) -> None:
    """Hear nothing."""


def course() -> pd.DataFrame:
    """Cells of three days and their growth rates; the island that grows is at zero."""
    rng, parts = np.random.default_rng(0), []
    for day, sizes in zip(DAYS, SIZES, strict=True):
        for place, n in zip((0.0, APART), sizes, strict=True):
            cells = pd.DataFrame(rng.normal(place, 0.3, (n, 2)), columns=["a", "b"])
            parts.append(cells.assign(day=day, rate=0.0 if place else np.log(3)))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course as a file."""
    path = tmp_path_factory.mktemp("islands") / "course.csv"
    course().to_csv(path, index_label="id")
    return path


Told = Callable[[str], Path]


@pytest.fixture(scope="module")
def told(data: Path, fit_run: Fit) -> Told:
    """Runs that were told of growth by a way: methods are told by rates, `scores` is otcfm."""

    @cache
    def run(way: str) -> Path:
        how: dict[str, Any] = {"time_key": "day", "growth_key": "rate", "method": way}
        table, folder = data, data.parent / way
        if way == "scores":
            cells, table = pd.read_csv(data), data.parent / "scores.csv"
            cells.assign(rate=np.exp(cells["rate"]) / 7).to_csv(table, index=False)
            how |= {"growth_kind": "score", "method": "otcfm"}
        fit_run(folder, table, steps=150, batch_size=128, field="mlp:width=32,depth=2", **how)
        return folder

    return run


@pytest.fixture(params=["otcfm", "sf2m", "static-ot", "scores"])
def grew(request: pytest.FixtureRequest, told: Told) -> Path:
    """One of them."""
    return told(request.param)


def share(table: pd.DataFrame) -> float:
    """How much of the weight of points is on the island that grows."""
    weights = table.get("weight", pd.Series(1.0, index=table.index))
    return float(weights[table["a"] < APART / 2].sum() / weights.sum())


@pytest.mark.parametrize("time", TIMES)
def test_samples_have_grown_by_the_time_asked_for(grew: Path, tmp_path: Path, time: float) -> None:
    request = SampleRequest(str(grew), str(tmp_path / "x.csv"), 2000, f"{time:g}")
    sample(request, WHERE, ignore)
    assert share(pd.read_csv(tmp_path / "x.csv")) == pytest.approx(GREW[time], abs=0.02)


def test_populations_have_too(grew: Path, tmp_path: Path) -> None:
    """Their points weigh what has come of them since the snapshot that they are of."""
    times = tuple(f"{time:g}" for time in TIMES)
    request = InterpolateRequest(str(grew), str(tmp_path / "p.csv"), times=times, population=True)
    interpolate(request, WHERE, ignore)
    for time, table in pd.read_csv(tmp_path / "p.csv").groupby("time"):
        assert share(table) == pytest.approx(GREW[float(str(time))], abs=0.02)


def test_trends_have_too(grew: Path, tmp_path: Path) -> None:
    paths = InterpolateRequest(str(grew), str(tmp_path / "g.csv"), frames=5)
    genes(GenesRequest(paths), WHERE, ignore)
    found = pd.read_csv(tmp_path / "g.csv").query("gene == 'a'").set_index("time")["mean"]
    for time in TIMES:
        assert found[time] == pytest.approx(APART * (1 - GREW[time]), abs=0.3)


def test_scores_and_predictions_have_too(grew: Path) -> None:
    """What is foretold of half a day, and how far the flow ends from the last day."""
    model = load(str(grew))
    half = predicted(model, 0.5, motion("dopri5"), Streams(0), 1000)
    table = pd.DataFrame(model.chain.inverse(half.points), columns=["a", "b"])
    assert share(table.assign(weight=half.weights)) == pytest.approx(GREW[0.5], abs=0.05)
    judge = Judge(model, motion(""), Streams(0), 1000)
    *_, last = (s.value for s in judge.scores(model.kept[1:]) if s.metric == "w1")
    assert last < 0.15


def test_carried_cells_say_what_becomes_of_them(grew: Path, data: Path, tmp_path: Path) -> None:
    """Nine of a cell that grows to one of another, and so they are scored."""
    pd.read_csv(data).query("day == 0").to_csv(tmp_path / "first.csv", index=False)
    request = TransportRequest(str(grew), str(tmp_path / "first.csv"), str(tmp_path / "t.csv"))
    figures = transport(request, WHERE, ignore).figures
    moved = pd.read_csv(tmp_path / "t.csv")
    logs = moved.groupby(moved["a"] < APART / 2)["log_mass"].mean()
    assert logs[True] - logs[False] == pytest.approx(np.log(9), abs=1e-6)
    assert "growth_rate" not in moved
    assert figures["w1"] < 0.15


@pytest.mark.parametrize(("known", "end"), [("source", 0.0), ("target", 2.0)])
def test_log_densities_know_the_shares(told: Told, known: Any, end: float) -> None:
    """Of a point on either island, less what they are at the time where the density is known."""
    model, x = load(str(told("otcfm"))), np.repeat([[0.0], [APART]], 2, axis=1)
    scoring = Scoring(base="gmm:k=2", known=known)
    odds = {t: np.subtract(*model.log_prob(x, t, scoring=scoring).values) for t in TIMES}
    for time in TIMES:
        want = np.log(3) * (time - end)
        assert odds[time] - odds[end] == pytest.approx(want, abs=0.45)


def test_log_densities_are_the_same_whatever_the_seed(told: Told) -> None:
    """What the mass of a population becomes is known to a few thousandths of it."""
    model, x = load(str(told("otcfm"))), np.zeros((1, 2))
    scoring = Scoring(base="gaussian")
    found = [model.log_prob(x, 2.0, scoring=scoring, streams=Streams(k)).values for k in range(4)]
    assert np.ptp(found) < 0.01


@pytest.mark.parametrize(
    "how", [{"growth_key": "g"}, {"method": "wfrfm", "features": "a,b", "steps": 800}]
)
def test_scores_of_paths_are_those_of_what_is_joined(
    how: dict[str, Any], fit_run: Fit, tmp_path: Path
) -> None:
    """Half and half become a tenth and nine tenths, one apart: optimal paths cost W2 alone."""
    rng, size = np.random.default_rng(0), (300, 2)
    far = np.array([APART, 0.0])
    first = np.concatenate([rng.normal(size=size) * 0.3, rng.normal(size=size) * 0.3 + far])
    last = np.concatenate([first[:60], first[300:], first[300:540]]) + np.array([0.0, 1.0])
    rate = np.repeat([0.0, np.log(9)], 300)
    pd.DataFrame(first, columns=["a", "b"]).assign(g=rate).to_csv(tmp_path / "0.csv", index=False)
    pd.DataFrame(last, columns=["a", "b"]).to_csv(tmp_path / "1.csv", index=False)
    files = tmp_path / "0.csv", tmp_path / "1.csv"
    usual: dict[str, Any] = {"method": "otcfm", "steps": 300, "field": "mlp:width=32,depth=2"}
    fit_run(tmp_path / "run", *files, batch_size=128, **usual | how)
    model = load(str(tmp_path / "run"))
    judge = Judge(model, motion(""), Streams(0), 1000)
    (npe,) = (s.value for s in judge.scores(model.kept[1:]) if s.metric == "npe")
    assert npe < 0.1


def test_noise_over_several_gaps_cannot_be_foretold(told: Told, tmp_path: Path) -> None:
    """Over the first one it can: growth there is that of where a point starts."""
    run, noisy = str(told("sf2m")), Integration(sde="0.1")
    request = SampleRequest(run, str(tmp_path / "x.csv"), 2000, "1", integration=noisy)
    sample(request, WHERE, ignore)
    assert share(pd.read_csv(tmp_path / "x.csv")) == pytest.approx(GREW[1.0], abs=0.03)
    with pytest.raises(ConfigError, match=r"interpolate --population --sde"):
        sample(replace(request, time="2", output=str(tmp_path / "y.csv")), WHERE, ignore)


def test_growth_is_that_of_the_class(fit_run: Fit, tmp_path: Path) -> None:
    """Two classes in one place, of which one grows fourfold: new points grow as theirs."""
    rng = np.random.default_rng(1)
    kind = np.repeat(["a", "b"], 150)
    first = pd.DataFrame(rng.normal(size=(300, 2)), columns=["x", "y"])
    first = first.assign(kind=kind, day=0, rate=np.where(kind == "a", np.log(4), 0.0))
    second = first.assign(day=1, x=first["x"] + 1)
    pd.concat([first, second]).to_csv(tmp_path / "data.csv", index=False)
    how: dict[str, Any] = {"time_key": "day", "label_key": "kind", "growth_key": "rate"}
    fit_run(tmp_path / "run", tmp_path / "data.csv", method="otcfm", **how)
    fresh = pd.DataFrame(rng.normal(size=(200, 2)), columns=["x", "y"])
    fresh.assign(kind=np.repeat(["a", "b"], 100)).to_csv(tmp_path / "new.csv", index=False)
    data, output = str(tmp_path / "new.csv"), str(tmp_path / "t.csv")
    transport(TransportRequest(str(tmp_path / "run"), data, output), WHERE, ignore)
    logs = pd.read_csv(output).groupby("kind")["log_mass"]
    assert logs.min().to_dict() == pytest.approx({"a": np.log(4 / 2.5), "b": -np.log(2.5)})
    assert logs.max().to_dict() == pytest.approx(logs.min().to_dict())
