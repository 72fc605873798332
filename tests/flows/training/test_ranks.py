"""Ranks: together they train as one process does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cfmcli.errors import RankError
from cfmcli.flows.training.ranks import ALONE, Ranks, joined
from cfmcli.flows.training.trainer import Trainer
from tests.flows.training.test_trainer import STREAMS, judged, task, trainer

STEPS = 60
ROOT = Path(__file__).parents[3]


def test_shares_are_the_batches() -> None:
    """Every row of every batch in one share, in order; the shares of a batch are as long."""
    whole = task().draw(0, 120, 12, STREAMS)
    shares = [Ranks(rank, 3).share(whole, 12) for rank in range(3)]
    assert {size for _, size in shares} == {4}
    rows = [share.s.view(10, 4, 1) for share, _ in shares]
    assert torch.equal(torch.cat(rows, dim=1).view(120, 1), whole.s)
    assert ALONE.share(whole, 12) == (whole, 12)
    assert ALONE.leads
    assert not Ranks(1, 3).leads


def test_alone_nothing_is_asked_of_others() -> None:
    assert ALONE.agreed(0.3) == ALONE.largest(0.3) == 0.3
    assert ALONE.average(torch.ones(2)).tolist() == [1, 1]


def found(ranks: Ranks = ALONE) -> Trainer:
    """A fit that finds its number of steps, done."""
    fit = judged(500, patience=2, points=10, open=True)
    fit.ranks = ranks
    list(fit.run())
    return fit


def train(folder: str) -> None:
    """What each rank of the test does: train, and write what came of it."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    with joined(rank, size, "gloo") as ranks:
        fit = trainer(STEPS)
        fit.ranks = ranks
        losses = [record.loss for record in fit.run()]
        told = [ranks.agreed(rank + 5.0), ranks.largest(rank + 5.0)]
        auto = found(ranks)
    state = {name: value for name, value in fit.state().items() if name != "counters"}
    state |= {"auto": auto.average, "turn": torch.tensor([auto.turn, auto.step])}
    torch.save({**state, "losses": losses, "told": told}, Path(folder) / f"{rank}.pt")


def test_two_ranks_train_as_one(tmp_path: Path) -> None:
    """The loss curve of one process to rounding, and to the last bit the same weights on each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    there = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    code = f"from tests.flows.training.test_ranks import train; train({str(tmp_path)!r})"
    command = [sys.executable, "-c", code]
    ranks = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **there, "RANK": str(rank)})
        for rank in range(2)
    ]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, value in one.items():
        assert np.array_equal(value, other[name]), name
    assert one["told"] == [5.0, 6.0]
    alone = trainer(STEPS)
    losses = [record.loss for record in alone.run()]
    np.testing.assert_allclose(one["losses"], losses, rtol=1e-5)
    np.testing.assert_allclose(one["weights"], alone.descent.weights, atol=1e-4)
    assert len(set(losses)) == len(losses)
    auto = found()
    assert one["turn"].tolist() == [auto.turn, auto.step]
    assert 0 < auto.turn < auto.step < 500
    np.testing.assert_allclose(one["auto"], auto.average, atol=1e-3)


def test_a_rank_without_others_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(RankError, match=r"cannot be reached .*--resume"), joined(1, 2, "gloo"):
        pass
