"""Verbs that read, compute and write in pieces: the same rows, and nothing half-written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfmcli.errors import DataError
from cfmcli.io import Selection, read_table
from cfmcli.requests import (
    Condition,
    Integration,
    InterpolateRequest,
    LikelihoodRequest,
    Runtime,
    SampleRequest,
    Scoring,
    TransportRequest,
)
from cfmcli.workflows import shards
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.interpolate import interpolate
from cfmcli.workflows.likelihood import likelihood
from cfmcli.workflows.sample import sample
from cfmcli.workflows.transport import transport

N = 1000
QUICK = Integration("euler:steps=2")
HERE = Runtime(device="cpu", threads=1, seed=3)
VERBS: dict[type, Any] = {
    SampleRequest: sample,
    TransportRequest: transport,
    LikelihoodRequest: likelihood,
    InterpolateRequest: interpolate,
}
SUFFIXES = [".csv", ".npy", ".npz", ".parquet", ".h5ad"]
npy = pytest.mark.filterwarnings("ignore:.*npy holds numbers only")


def points(bad: int = -1) -> pd.DataFrame:
    """A table of two classes, one number of which may be missing."""
    x = np.random.default_rng(0).normal(size=(N, 2))
    kind = np.where(x[:, 0] > 0, "up", "down")
    x[bad if bad >= 0 else 0, 1] = np.nan if bad >= 0 else 1.0
    ids = [f"c{k}" for k in range(N)]
    return pd.DataFrame({"id": ids, "x": x[:, 0], "y": x[:, 1], "kind": kind})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, fit_run: Any) -> str:
    """A run between clouds of two classes."""
    folder = tmp_path_factory.mktemp("pieces")
    for name, shift in (("a", 0.0), ("b", 2.0)):
        cloud = points()
        cloud[["x", "y"]] += shift
        cloud["id"] = name + cloud["id"]
        cloud.to_csv(folder / f"{name}.csv", index=False)
    fit_run(folder / "run", folder / "a.csv", folder / "b.csv", label_key="kind")
    return str(folder / "run")


def asked(verb: str, run: str, data: str) -> Any:
    """A request of a verb."""
    requests: dict[str, Any] = {
        "sample": SampleRequest(run, "", N, condition=Condition("up")),
        "likelihood": LikelihoodRequest(
            run, data, "", scoring=Scoring(divergence="hutchinson:probes=2")
        ),
        "paths": InterpolateRequest(run, "", data, times=("0.5", "0", "1")),
        "chosen": InterpolateRequest(run, "", data, frames=3, where="kind == 'up'"),
        "populations": InterpolateRequest(run, "", frames=4, population=True, sides="both"),
    }
    return replace(requests[verb], integration=QUICK)


def told(path: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Numbers and annotations of a file."""
    table = read_table(path, Selection())
    return np.asarray(table.values), table.obs


@npy
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("verb", ["sample", "likelihood", "paths", "chosen", "populations"])
def test_pieces_give_the_rows_of_the_whole(
    verb: str, suffix: str, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the size of a piece, in every format; and the same figures."""
    points().to_csv(tmp_path / "data.csv", index=False)
    request, found = asked(verb, run, str(tmp_path / "data.csv")), []
    if isinstance(request, LikelihoodRequest) and suffix == ".h5ad":
        request = replace(request, data=str(tmp_path / "data.csv"))
    monkeypatch.setattr(shards, "grain", lambda model, total: 256)
    for numbers in (2**22, 1):
        monkeypatch.setattr(shards, "NUMBERS", numbers)
        out = str(tmp_path / f"out{numbers}{suffix}")
        outcome = VERBS[type(request)](replace(request, output=out), HERE, ignore)
        found.append((*told(out), {k: v for k, v in outcome.figures.items() if k != "nfe"}))
    (one, obs, figures), (other, others, again) = found
    np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    pd.testing.assert_frame_equal(others, obs)
    assert {k: v for k, v in again.items() if not isinstance(v, float)} == {
        k: v for k, v in figures.items() if not isinstance(v, float)
    }
    numbers_of = [{k: v for k, v in f.items() if isinstance(v, float)} for f in (figures, again)]
    assert numbers_of[1] == pytest.approx(numbers_of[0], rel=1e-5)


@npy
@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("verb", ["likelihood", "paths"])
def test_a_bad_number_far_down_leaves_nothing(
    verb: str, suffix: str, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cloud = tmp_path / f"data{suffix}", points(bad=700)
    if suffix == ".npy":
        np.save(data, cloud[["x", "y"]].to_numpy())
    else:
        cloud.to_parquet(data, index=False)
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(shards, "grain", lambda model, total: 256)
    monkeypatch.setattr(shards, "NUMBERS", 1)
    request = replace(asked(verb, run, str(data)), output=str(tmp_path / "out.csv"))
    request = replace(request, condition=Condition("up"))
    with pytest.raises(DataError, match="row 701"):
        VERBS[type(request)](request, HERE, ignore)
    assert set(tmp_path.iterdir()) == before


def test_an_interrupted_run_leaves_nothing(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what waits on disk for its turn."""
    points().to_csv(tmp_path / "data.csv", index=False)
    before = set(tmp_path.iterdir())
    monkeypatch.setattr("cfmcli.io.spill.SPARED", 1)

    def stopped(*args: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("cfmcli.workflows.courses.Piece", stopped)
    request = asked("paths", run, str(tmp_path / "data.csv"))
    with pytest.raises(KeyboardInterrupt):
        interpolate(replace(request, output=str(tmp_path / "new/out.csv")), HERE, ignore)
    assert set(tmp_path.iterdir()) == before
