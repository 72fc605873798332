"""A fit on several processes, as a user starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from safetensors.numpy import load_file

from cfmcli.errors import ConfigError
from cfmcli.recipe import Recipe
from cfmcli.requests import Runtime
from cfmcli.workflows import team

SAMPLES = Path(__file__).parents[2] / "sample_data"
FIT = f"fit {SAMPLES}/source.csv {SAMPLES}/target.csv --field mlp:width=16,depth=2 --batch-size 64"


def started(line: str) -> subprocess.Popen[str]:
    """`cfm` as a process of its own."""
    command = [sys.executable, "-m", "cfmcli", *line.split()]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def cfm(line: str) -> tuple[int, str, str]:
    """`cfm` to its end: exit code, stdout and stderr."""
    process = started(line)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def weights(run: Path) -> npt.NDArray[np.float32]:
    """The weights of a run."""
    found = load_file(run / "model.safetensors")
    return np.concatenate([v.ravel() for k, v in sorted(found.items()) if k.startswith("field.")])


def children(process: subprocess.Popen[str]) -> list[int]:
    """The ranks of a fit, in order."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks: dict[int, int] = {}
    for child in map(int, found):
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks |= {int(v[5:]): child for v in variables if v.startswith(b"RANK=")}
    return [child for _, child in sorted(ranks.items())]


def saved(run: Path, process: subprocess.Popen[str]) -> None:
    """Wait for the first saved state."""
    while not (run / "training.safetensors").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
def test_nproc_fits_as_one_process_and_tells_once(tmp_path: Path) -> None:
    more = "--steps 100 --validation 0.1"
    code, out, err = cfm(f"{FIT} {more} -o {tmp_path}/two --nproc 2 --json")
    assert code == 0, err
    assert json.loads(out)["outputs"]["model"] == f"{tmp_path}/two/model.safetensors"
    assert err.count("100/100") == 1
    assert cfm(f"{FIT} {more} -o {tmp_path}/one")[0] == 0
    one, two = (
        pd.read_csv(tmp_path / name / "losses.csv").drop(columns="seconds")
        for name in ("one", "two")
    )
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)
    np.testing.assert_allclose(weights(tmp_path / "one"), weights(tmp_path / "two"), atol=1e-4)
    code, out, err = cfm(f"fit nowhere.csv b.csv -o {tmp_path}/no --nproc 2 --json")
    assert (code, out, err.count("error:")) == (3, "", 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="it looks for ranks in /proc")
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_rank_ends_the_fit_and_leaves_a_good_state(lost: int, tmp_path: Path) -> None:
    """Which goes on with another number of ranks, to where an undisturbed fit comes."""
    run = tmp_path / "run"
    process = started(f"{FIT} --steps 3000 -o {run} --nproc 2")
    saved(run, process)
    os.kill(children(process)[lost], signal.SIGKILL)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 7
    assert f"Rank {lost} was ended by signal 9" in err
    assert "Traceback" not in err
    assert [path.name for path in run.iterdir()] == ["training.safetensors"]
    assert cfm(f"{FIT} --steps 3000 -o {run} --resume")[0] == 0
    assert cfm(f"{FIT} --steps 3000 -o {tmp_path}/whole")[0] == 0
    np.testing.assert_allclose(weights(run), weights(tmp_path / "whole"), atol=1e-2)


@pytest.mark.slow
def test_ranks_stop_and_save_at_sigterm(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = started(f"{FIT} --steps 100000 -o {run} --nproc 2")
    saved(run, process)
    process.terminate()
    _, err = process.communicate(timeout=100)
    assert process.returncode == 143
    assert err.count("the state is saved") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"WORLD_SIZE": "2"}, "RANK"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "here"}, "MASTER_PORT is not"),
        ({"WORLD_SIZE": "two"}, "torchrun"),
    ],
)
def test_half_a_team_is_refused(environment: dict[str, str], what: str) -> None:
    with (
        pytest.raises(ConfigError, match=what),
        team.joined(Recipe(("a.csv", "b.csv")), Runtime(), environment),
    ):
        pass


@pytest.mark.parametrize(("rank", "error"), [("0", ConfigError), ("1", SystemExit)])
def test_one_rank_tells_what_all_found(rank: str, error: type[BaseException]) -> None:
    there = {"WORLD_SIZE": "3", "RANK": rank, "MASTER_ADDR": "here", "MASTER_PORT": "1"}
    recipe = Recipe(("a.csv", "b.csv"), batch_size=256)
    with pytest.raises(error) as told, team.joined(recipe, Runtime(), there):
        pass
    assert told.match("multiple of 3" if rank == "0" else "2")


def test_a_world_of_one_is_no_team() -> None:
    assert not team.is_rank({"WORLD_SIZE": "1"})
    assert not team.is_rank({})


@pytest.mark.slow
def test_torchrun_fits_as_nproc_does(tmp_path: Path) -> None:
    """The same weights; the leading rank alone tells, and an error has its one message."""

    def torchrun(line: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
        words = [*command, "-m", "cfmcli", *line.split()]
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
        return ran.returncode, ran.stdout, ran.stderr

    code, out, err = torchrun(f"{FIT} --steps 100 -o {tmp_path}/torchrun --json")
    assert code == 0, err
    assert json.loads(out)["outputs"]["model"] == f"{tmp_path}/torchrun/model.safetensors"
    assert err.count("100/100") == 1
    assert cfm(f"{FIT} --steps 100 -o {tmp_path}/nproc --nproc 2")[0] == 0
    np.testing.assert_array_equal(weights(tmp_path / "torchrun"), weights(tmp_path / "nproc"))
    code, out, err = torchrun(f"fit nowhere.csv b.csv -o {tmp_path}/no --json")
    assert (code != 0, out, err.count("error: ")) == (True, "", 1)
    assert not (tmp_path / "no").exists()
