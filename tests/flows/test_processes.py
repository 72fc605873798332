"""Laws of workers: the same items in the same order, and nothing left behind."""

import os
import time
import warnings
from itertools import islice

import numpy as np
import pytest
import torch

from cfmcli.errors import CfmWarning, NumericsError, RankError
from cfmcli.flows import processes
from cfmcli.flows.processes import in_order


def gone(pid: int) -> bool:
    """Whether a process ends within a few seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("count", [0, 1, 9])
def test_items_come_in_order(count: int, workers: int) -> None:
    with in_order(lambda k: np.full(3, k), count, workers) as items:
        assert [item.tolist() for item in items] == [[k] * 3 for k in range(count)]


def test_workers_work_elsewhere_and_end_with_the_context() -> None:
    """Also when the items are not all taken, as when training stops early."""
    with in_order(lambda k: os.getpid(), 50, 2) as items:
        found = set(islice(items, 6))
    assert len(found) == 2
    assert os.getpid() not in found
    assert all(map(gone, found))


def test_what_is_random_here_stays_as_it_was() -> None:
    state = torch.random.get_rng_state()
    with in_order(lambda k: k, 3, 1) as items:
        list(items)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_and_warnings_come_up_where_the_item_is_taken(workers: int) -> None:
    def work(k: int) -> int:
        if k == 1:
            warnings.warn("off by one", CfmWarning, stacklevel=1)
        if k == 2:
            raise NumericsError("not finite")
        return k

    with in_order(work, 4, workers) as items:
        assert next(items) == 0
        with pytest.warns(CfmWarning, match="off by one"):
            assert next(items) == 1
        with pytest.raises(NumericsError, match=r"^not finite$"):
            next(items)


def test_a_lost_worker_is_told() -> None:
    with (
        in_order(lambda k: os._exit(9), 4, 1) as items,
        pytest.raises(RankError, match=r"worker process was lost.*--ot-workers 0"),
    ):
        next(items)


def test_workers_have_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_allowed", 3)
    assert processes.allowed() == 3
    with in_order(lambda k: processes.allowed(), 1, 1) as items:
        assert list(items) == [0]
