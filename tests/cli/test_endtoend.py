"""The main paths with the sample data: every verb to every format, pipes, signals, same bytes."""

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import numpy.typing as npt
import ot
import pandas as pd
import pytest

import cfmcli
from tests.cli.harness import Cfm, Ran
from tests.cli.room import carry_out, digest, interrupted
from tests.conftest import SAMPLES

SMALL = "--steps 60 --batch-size 64 --field mlp:width=16,depth=2 --threads 1"
TOY = f"fit source.csv target.csv {SMALL}"
CELLS = f"fit timecourse.h5ad --time-key day --transform log1p,pca:n=5 {SMALL}"
LONG = "fit source.csv target.csv --steps 1000 --batch-size 32 --field mlp:width=8,depth=1"
MODEL, STATE = "model.safetensors", "training.safetensors"
KILLED = (
    "import cfmcli.workflows.fit as fit; fit.SAVE_EVERY = 0.0; "
    "from cfmcli.cli import main; main()"
)  # fmt: skip

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample data beside runs that the command line fitted to them."""
    folder = tmp_path_factory.mktemp("bench")
    for path in SAMPLES.glob("*.*"):
        shutil.copy(path, folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert carry_out(f"{TOY} -o toy") == 0
        assert carry_out(f"{CELLS} -o cells") == 0
        assert carry_out(f"{LONG} --threads 1 -o long") == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def work(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder beside links to the bench's data and runs."""
    for path in bench.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CFM_THREADS", "1")
    return tmp_path


Run = Callable[..., Ran]


@pytest.fixture
def run(cfm: Cfm, work: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cfm` on a line, with a text on stdin; it must succeed."""

    def on(line: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        ran = cfm(*shlex.split(line))
        assert ran.code == 0, ran.err
        return ran

    return on


def frame(path: str) -> pd.DataFrame:
    """The numbers of a result by name of feature, read with the format's own library."""
    suffix = path.partition(".")[2]
    if suffix == "h5ad":
        data = ad.read_h5ad(path)
        return pd.DataFrame(np.asarray(data.X), columns=list(data.var_names))
    if suffix == "npz":
        found = np.load(path)
        return pd.DataFrame(found["X"], columns=found["features"])
    if suffix == "parquet":
        return pd.read_parquet(path).reset_index(drop=True)
    return pd.read_csv(path, sep="\t" if suffix.startswith("tsv") else ",")


VERBS = {
    "sample": ("sample toy -n 30", 30, ["x", "y"]),
    "transport": ("transport toy source.csv", 500, ["x", "y"]),
    "likelihood": ("likelihood toy target.csv", 512, ["log_prob"]),
    "interpolate": ("interpolate toy source.csv --times 0.5,1", 1000, ["x", "y"]),
    "cells sample": ("sample cells -n 20", 20, ["Stem1", "House4"]),
    "cells interpolate": ("interpolate cells --frames 3 --where \"branch == 'progenitor'\"", 900,
                          ["Stem1", "House4"]),
}  # fmt: skip
FORMATS = ("csv", "csv.gz", "tsv", "parquet", "npz", "h5ad")


@pytest.mark.parametrize("verb", VERBS)
def test_every_format_tells_the_same(verb: str, run: Run) -> None:
    """Each verb writes the same numbers to each format and to stdout."""
    line, rows, names = VERBS[verb]
    told = pd.read_csv(io.StringIO(run(f"{line} -o -").out))[names].to_numpy()
    assert told.shape == (rows, len(names))
    assert np.isfinite(told).all()
    for suffix in FORMATS:
        run(f"{line} -o out.{suffix}")
        found = frame(f"out.{suffix}")[names].to_numpy()
        np.testing.assert_allclose(found, told, rtol=1e-12, atol=0)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("verb", VERBS)
def test_the_same_command_gives_the_same_bytes(verb: str, suffix: str, run: Run) -> None:
    """Nothing but the question decides on the bytes of an answer."""
    run(f"{VERBS[verb][0]} -o out.{suffix}")
    first = digest(Path(f"out.{suffix}"))
    time.sleep(0.002)
    run(f"{VERBS[verb][0]} -o out.{suffix} --force")
    assert digest(Path(f"out.{suffix}")) == first


@pytest.mark.parametrize(("name", "line"), [("toy", TOY), ("cells", CELLS)])
def test_the_same_fit_gives_the_same_bytes(name: str, line: str, run: Run, bench: Path) -> None:
    """Model, recipe and pictures are the same; the records of time are apart."""
    run(f"{line} -o again")
    for file in (MODEL, "recipe.toml", "figures/loss.png", "figures/clouds.png"):
        assert digest(Path("again") / file) == digest(bench / name / file)


def test_cells_keep_everything_and_gain_the_result(run: Run) -> None:
    """An AnnData comes back in its order with its counts; the flow stands in PCA and gene space."""
    run("transport cells timecourse.h5ad -o moved.h5ad --from 0 --to 5")
    given, moved = ad.read_h5ad("timecourse.h5ad"), ad.read_h5ad("moved.h5ad")
    assert list(moved.obs_names) == list(given.obs_names)
    assert (moved.X != given.X).nnz == 0
    kept = moved.obs.drop(columns="day").rename(columns={"day_label": "day"})
    pd.testing.assert_frame_equal(kept[given.obs.columns], given.obs)
    assert moved.obsm["X_cfm"].shape == moved.obsm["velocity_pca"].shape == (1500, 5)
    genes = np.expm1(moved.obsm["X_cfm"] @ moved.varm["PCs"].T + moved.varm["X_mean"].ravel())
    np.testing.assert_allclose(moved.layers["cfm"], genes, rtol=1e-6, atol=1e-6)
    logged = np.log1p(given.X.toarray()) - moved.varm["X_mean"].ravel()
    np.testing.assert_allclose(moved.obsm["X_pca"], logged @ moved.varm["PCs"], atol=1e-4)


def test_a_pipeline_carries_points(run: Run) -> None:
    """Sampled at the start and carried on is the same as sampled at the end."""
    start = run("sample toy -n 50 --time 0 -o -").out
    carried = run("transport toy - -o -", start).out
    ended = run("sample toy -n 50 -o -").out
    found = [pd.read_csv(io.StringIO(text)) for text in (carried, ended)]
    assert list(found[0]["id"]) == list(found[1]["id"])
    np.testing.assert_allclose(found[0][["x", "y"]], found[1][["x", "y"]], atol=1e-3)
    scored = run("likelihood toy - -o -", carried).out
    assert np.isfinite(pd.read_csv(io.StringIO(scored))["log_prob"]).all()


def test_there_and_back_again(run: Run) -> None:
    """Forward and backward transport undo each other within the solver's tolerance."""
    fine = "--atol 1e-8 --rtol 1e-8"
    run(f"transport toy source.csv -o there.csv {fine}")
    run(f"transport toy there.csv --from 1 --to 0 -o back.csv {fine}")
    given, there, back = (frame(f"{name}.csv").to_numpy() for name in ("source", "there", "back"))
    assert np.abs(there - given).max() > 0.1
    np.testing.assert_allclose(back, given, atol=1e-5)


def _json(ran: Ran, command: str) -> dict[str, Any]:
    """The object on stdout, with what every command tells."""
    told: dict[str, Any] = json.loads(ran.out)
    assert (told["command"], told["version"]) == (command, cfmcli.__version__)
    assert told["seconds"] > 0
    assert told["warnings"] == []
    assert all(Path(path).exists() for path in told["outputs"].values())
    return told


def _scaled() -> Callable[[str], Array]:
    """Standardised points of a file, by the pooled mean and spread of both toy clouds."""
    pooled = np.concatenate([frame("source.csv"), frame("target.csv")])
    return lambda path: (frame(path)[["x", "y"]].to_numpy() - pooled.mean(0)) / pooled.std(0)


def test_figures_of_transport(run: Run) -> None:
    """Costs and distances are those of the written points, by NumPy and POT."""
    told = _json(run("transport toy source.csv -o out.csv --json"), "transport")
    scaled = _scaled()
    x0, x, x1 = (scaled(name) for name in ("source.csv", "out.csv", "target.csv"))
    assert told["mean_cost"] == pytest.approx(((x - x0) ** 2).sum(1).mean(), rel=1e-5)
    assert told["path_energy"] >= told["mean_cost"] * (1 - 1e-4)
    assert told["w1"] == pytest.approx(ot.emd2([], [], ot.dist(x, x1, "euclidean")), rel=1e-5)
    assert told["w2"] ** 2 == pytest.approx(ot.emd2([], [], ot.dist(x, x1)), rel=1e-5)
    assert (told["points"], told["from"], told["to"]) == (500, 0, 1)


def test_figures_of_likelihood(run: Run) -> None:
    """Mean, cross-entropy and bits per dimension are those of the written densities."""
    told = _json(run("likelihood toy target.csv -o out.csv --json"), "likelihood")
    mean = frame("out.csv")["log_prob"].mean()
    assert told["mean_log_prob"] == pytest.approx(mean)
    assert told["cross_entropy"] == pytest.approx(-mean)
    assert told["bits_per_dim"] == pytest.approx(-mean / (2 * np.log(2)))


def test_figures_of_the_other_verbs(run: Run) -> None:
    """Counts are those of the files, and a fit tells what its run folder holds."""
    told = _json(run("sample toy -n 7 -o s.csv --json"), "sample")
    assert (told["points"], told["time"]) == (len(frame("s.csv")), 1) == (7, 1)
    told = _json(run("interpolate toy --frames 3 -o i.csv --json"), "interpolate")
    assert told["rows"] == len(frame("i.csv")) == 3 * told["points"] == 1500
    told = _json(run(f"{TOY} -o new --json"), "fit")
    kept = json.loads(Path("new/metrics.json").read_text())
    assert {key: told[key] for key in kept} == kept
    assert told["points"] == {"0": 500, "1": 512}
    about = json.loads(run("info new --json").out)
    assert about["metrics"] == kept
    assert json.loads(run("list solvers --json").out)["solvers"][0]["name"] == "dopri5"


def _same_run(resumed: Path, whole: Path) -> None:
    """Two runs have the same model bytes and the same losses, seconds apart."""
    assert digest(resumed / MODEL) == digest(whole / MODEL)
    assert not (resumed / STATE).exists()
    losses, expected = (pd.read_csv(path / "losses.csv") for path in (resumed, whole))
    seconds = losses.pop("seconds"), expected.pop("seconds")
    assert all((np.diff(times) > 0).all() for times in seconds)
    pd.testing.assert_frame_equal(losses, expected)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_fit_goes_on(number: int, code: int, run: Run, bench: Path) -> None:
    """A signal ends with its code, after saving; --resume ends where an uninterrupted fit does."""
    found, said = interrupted(f"{LONG} -o stopped", number)
    assert found == code
    assert "error: Stopped at step" in said
    assert "--resume" in said
    assert [path.name for path in Path("stopped").iterdir()] == [STATE]
    assert "unfinished" in run("info stopped").out
    run(f"{LONG} -o stopped --resume")
    _same_run(Path("stopped"), bench / "long")


def test_a_killed_fit_goes_on(run: Run, bench: Path) -> None:
    """After SIGKILL, with no chance to say goodbye, the last saved state serves as well."""
    command = [sys.executable, "-c", KILLED, *shlex.split(LONG), "-o", "killed", "-q"]
    process = subprocess.Popen(command)
    state = Path("killed") / STATE
    while process.poll() is None and not state.exists():
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (Path("killed") / MODEL).exists()
    done = json.loads(run("info killed --json").out)["steps_done"]
    assert 0 < done < 1000
    run(f"{LONG} -o killed --resume")
    _same_run(Path("killed"), bench / "long")
    assert "nothing to do" in run(f"{LONG} -o killed --resume").err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_forced_fit_that_is_stopped_leaves_no_other_run(
    number: int, run: Run, cfm: Cfm, bench: Path
) -> None:
    """The folder tells of the new fit alone, which goes on as if nothing had been there."""
    shutil.copytree(bench / "toy", "over")
    Path("over/couplings").mkdir()
    Path("over/couplings/tmaps_0_1.h5ad").touch()
    Path("over/notes.txt").touch()
    interrupted(f"{LONG} -o over --force", number)
    left = {str(path.relative_to("over")) for path in Path("over").rglob("*") if path.is_file()}
    assert left == {STATE, "notes.txt"}
    assert "unfinished" in run("info over").out
    moved = cfm("transport", "over", "source.csv", "-o", "moved.csv")
    assert moved.code == 6
    assert "not finished" in moved.err
    run(f"{LONG} -o over --resume")
    _same_run(Path("over"), bench / "long")


def test_ids_of_cells_come_on_stdin(run: Run, cfm: Cfm) -> None:
    """`--cells -` is a list on stdin, as `-` is wherever a file is read."""
    Path("ids.txt").write_text("7\n3\n")
    command = "interpolate toy source.csv --times 1 -o"
    run(f"{command} file.csv --cells ids.txt")
    run(f"{command} pipe.csv --cells -", "7\n3\n")
    assert Path("pipe.csv").read_bytes() == Path("file.csv").read_bytes()
    both = cfm(*shlex.split("interpolate toy - --times 1 -o no.csv --cells -"))
    assert both.code == 2
    assert "both want stdin" in both.err
