"""A fit whose workers couple batches ahead, as a user starts and stops it."""

import json
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.workflows.test_team import FIT, cfm, saved, started

MINIBATCH = f"{FIT} --scope minibatch"


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def alive(pids: list[int], seconds: float) -> list[int]:
    """Those of them that still run after so long, at most."""
    until = time.monotonic() + seconds
    while pids and time.monotonic() < until:
        pids = [pid for pid in pids if Path(f"/proc/{pid}").exists() and not _zombie(pid)]
        time.sleep(0.1)
    return pids


def _zombie(pid: int) -> bool:
    """Whether it has ended and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_workers_change_nothing_but_the_time(tmp_path: Path) -> None:
    """The same losses and the same model to the last byte, and metrics that tell the workers."""
    losses = []
    for workers in (0, 2):
        run = tmp_path / str(workers)
        code, _, err = cfm(f"{MINIBATCH} --steps 200 -o {run} --ot-workers {workers}")
        assert code == 0, err
        assert json.loads((run / "metrics.json").read_text())["ot_workers"] == workers
        losses.append(pd.read_csv(run / "losses.csv").drop(columns="seconds"))
    pd.testing.assert_frame_equal(losses[0], losses[1], check_exact=True)
    models = [(tmp_path / w / "model.safetensors").read_bytes() for w in ("0", "2")]
    assert models[0] == models[1]


@pytest.mark.slow
@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nobody_is_left_behind(wish: signal.Signals, tmp_path: Path) -> None:
    """Stopped by a signal that all of them hear the fit saves and ends; killed, workers follow."""
    run = tmp_path / "run"
    process = started(f"{MINIBATCH} --steps 100000 -o {run} --ot-workers 2")
    saved(run, process)
    workers = children(process.pid)
    assert len(workers) == 2
    for pid in [process.pid] if wish == signal.SIGKILL else [process.pid, *workers]:
        os.kill(pid, wish)
    _, err = process.communicate(timeout=60)
    wanted = -wish if wish == signal.SIGKILL else 128 + wish
    assert process.returncode == wanted, err
    assert alive(workers, 15) == []


@pytest.mark.slow
def test_a_lost_worker_leaves_what_was_saved(tmp_path: Path) -> None:
    """The message says to go on with --resume, and so one can."""
    run = tmp_path / "run"
    process = started(f"{MINIBATCH} --steps 100000 -o {run} --ot-workers 1")
    saved(run, process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 7, told
    assert "--resume" in told
    assert (run / "training.safetensors").exists()
