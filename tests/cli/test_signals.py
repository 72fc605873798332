"""Ctrl-C and SIGTERM at any moment: their exit codes, and never a bug."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cfmcli.requests import Listener, Outcome
from cfmcli.workflows import runtime
from tests.cli.harness import SAMPLE, Cfm, Stub

SIGNALS = [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]


def swallowed(work: Callable[[], None]) -> None:
    """A callback whose exceptions nobody sees."""
    try:
        work()
    except BaseException:
        return


def turned(work: Callable[[], None]) -> None:
    """A compiled module whose import was cut short."""
    try:
        work()
    except BaseException as error:
        raise ImportError("numpy.core.multiarray failed to import") from error


def late(work: Callable[[], None]) -> None:
    """Training that has taken its last step."""
    with runtime.stoppable():
        work()


@pytest.mark.parametrize(("number", "code", "name"), SIGNALS)
@pytest.mark.parametrize("fate", [swallowed, turned, late])
def test_a_signal_is_not_forgotten(
    fate: Callable[..., None], number: int, code: int, name: str, cfm: Cfm, stub: Stub
) -> None:
    """Whatever becomes of the exception, the signal decides the code, and is told once."""

    def interrupted(listen: Listener) -> Outcome:
        fate(lambda: os.kill(os.getpid(), number))
        return Outcome()

    stub.behave = interrupted
    before = [signal.getsignal(n) for n, *_ in SIGNALS]
    ran = cfm(*SAMPLE)
    assert (ran.code, ran.err) == (code, f"error: stopped by {name}.\n")
    assert [signal.getsignal(n) for n, *_ in SIGNALS] == before
    stub.behave = lambda listen: Outcome()
    assert cfm(*SAMPLE).code == 0


def test_a_job_in_the_background_ignores_ctrl_c(cfm: Cfm, stub: Stub) -> None:
    """A shell starts it with SIGINT ignored, and so it stays."""

    def interrupted(listen: Listener) -> Outcome:
        os.kill(os.getpid(), signal.SIGINT)
        return Outcome()

    stub.behave = interrupted
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cfm(*SAMPLE).code == 0
    finally:
        signal.signal(signal.SIGINT, before)


def ended(number: int, delay: float, *arguments: str) -> tuple[int, str]:
    """A process of `cfm` that gets a signal after a while: its exit code and what it said."""
    command = [sys.executable, "-m", "cfmcli", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    time.sleep(delay)
    process.send_signal(number)
    return process.wait(60), process.communicate()[1]


def test_sigterm_while_it_starts() -> None:
    """Python itself ends so before cfm is there, and a shell tells both as 143."""
    for delay in (0.0, 0.03, 0.06, 0.1):
        code, said = ended(signal.SIGTERM, delay, "list", "solvers")
        assert code in (0, -signal.SIGTERM, 143), said
        assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code", "name"), SIGNALS)
def test_a_signal_at_any_moment(
    number: int, code: int, name: str, toy_run: Path, tmp_path: Path
) -> None:
    """Through Python's start, the imports, the work and the writing."""
    output = tmp_path / "out.csv"
    for k in range(40):
        said = ended(number, 0.3 + 0.1 * k, "sample", str(toy_run), "-o", str(output), "--force")
        assert said[0] in (0, code, -number), said
        assert said[0] != code or said[1].endswith(f"stopped by {name}.\n")
        assert not list(tmp_path.glob(".*"))
