import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from cfmcli.errors import CfmWarning, ConfigError, ResourceError
from cfmcli.requests import Runtime
from cfmcli.workflows import runtime


def test_threads_are_those_asked_for() -> None:
    """An explicit number is taken as it is; else large layers take what the machine allows."""
    before = torch.get_num_threads()
    try:
        runtime.prepare(Runtime(device="cpu", threads=2), 128, 256)
        assert torch.get_num_threads() == 2
        runtime.prepare(Runtime(device="cpu"), 1024, 1024)
        assert torch.get_num_threads() == runtime.allowed_threads()
        runtime.prepare(Runtime(device="cpu"), 128, 256)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", "PBS_NP", "NSLOTS"])
def test_schedulers_set_the_limit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest allowance wins, and never more than four; nonsense is passed over."""
    for other in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", "PBS_NP", "NSLOTS"):
        monkeypatch.delenv(other, raising=False)
    free = runtime.allowed_threads()
    assert 1 <= free <= runtime.MOST_THREADS
    for value, expected in (("1", 1), ("64", free), ("0", free), ("many", free)):
        monkeypatch.setenv(name, value)
        assert runtime.allowed_threads() == expected


@pytest.mark.parametrize("name", ["gpu", "CPU", "cpu:1", "mps:0", "cuda:x", "", "cuda:-1"])
def test_names_of_no_device_are_refused(name: str) -> None:
    """With the names there are."""
    with pytest.raises(ConfigError, match="auto, cpu, cuda, mps"):
        runtime.find_device(name)


def test_workers_without_number_are_refused() -> None:
    """Thousands of processes would take all memory of the machine."""
    with pytest.raises(ConfigError, match="--ot-workers 400: expected at most 32"):
        runtime.prepare(Runtime(device="cpu", ot_workers=400), 128, 256)


def test_an_absent_device_does_not_fall_back() -> None:
    """An explicit choice never falls back in silence; auto does, aloud in the plan."""
    assert runtime.find_device("cpu") == torch.device("cpu")
    absent = f"cuda:{torch.cuda.device_count() + 7}"
    with pytest.raises(ResourceError, match="--device cpu"):
        runtime.find_device(absent)
    assert runtime.find_device("auto").type in ("cpu", "cuda")


def _met(number: int) -> None:
    """Work that ends, in its own way, because of a signal."""
    with runtime.stoppable():
        os.kill(os.getpid(), number)
        raise ValueError("met")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_wish_and_a_second_one_an_order(number: int) -> None:
    """The first is noted, the second stops at once; one that was not met is passed on."""
    heard: list[int] = []
    before = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        handler = signal.getsignal(number)
        with runtime.stoppable() as stop:
            assert stop.signal == 0
            os.kill(os.getpid(), number)
            assert stop.signal == number
            with pytest.raises((KeyboardInterrupt, SystemExit)) as order:
                os.kill(os.getpid(), number)
            assert getattr(order.value, "code", 130) == 128 + number
            assert heard == []
        assert heard == [number]
        assert signal.getsignal(number) is handler
        with pytest.raises(ValueError, match="met"):
            _met(number)
        assert heard == [number]
    finally:
        signal.signal(number, before)


def test_other_threads_leave_the_signals_alone() -> None:
    """Outside the main thread nothing can be installed, and nothing breaks."""
    heard: list[int] = []

    def work() -> None:
        with runtime.stoppable() as stop:
            heard.append(stop.signal)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [0]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """A job in the background does not stop at the Ctrl-C of another."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with runtime.stoppable() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_warnings_point_at_the_caller() -> None:
    """They are of the class that the console shows."""

    def caller() -> None:
        runtime.warn("careful")

    with pytest.warns(CfmWarning, match="careful") as caught:
        caller()
    assert Path(caught[0].filename) == Path(__file__)
