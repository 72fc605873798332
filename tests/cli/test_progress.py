"""Progress: few lines whatever the job, a bar on a terminal alone."""

import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cfmcli.cli.console import Console
from cfmcli.cli.progress import LINES, Lines, listening
from cfmcli.requests import Progress

TERMINAL = """
import sys, time, types
def sample(request, runtime, listen):
    from cfmcli.requests import Outcome, Progress
    for step in range(40):
        listen(Progress(step + 1, 40, "loss 0.5"))
        time.sleep(0.01)
    return Outcome(notes=("done",))
sys.modules["cfmcli.workflows.sample"] = types.SimpleNamespace(sample=sample)
from cfmcli.cli import main
main(["sample", "run", "-o", "out.csv", *sys.argv[1:]])
"""


def test_notes_come_at_once_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What is known early is told before the first step, and not again at the end."""
    console = Console()
    with listening(console, aloud=False) as listen:
        listen(Progress(0, 0, notes=("times: a = 0",)))
        assert capsys.readouterr().err == "times: a = 0\n"
        listen(Progress(1, 1))
    console.once("times: a = 0")
    console.once("done")
    assert capsys.readouterr().err == "done\n"


@given(
    totals=some.lists(some.integers(1, 3000), min_size=1, max_size=3), stride=some.integers(1, 99)
)
def test_lines_are_few_and_reach_the_end(totals: list[int], stride: int) -> None:
    """A job says at most twenty lines, the last of them at its end, and so does the next job."""
    said: list[str] = []
    lines = Lines(said.append)
    for total in totals:
        before = len(said)
        for done in [*range(stride, total, stride), total]:
            lines(Progress(done, total))
        assert 1 <= len(said) - before <= LINES
        assert said[-1].startswith(f"{total}/{total}")


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a terminal shows of a run."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, *arguments],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # the other end of a terminal closes with an error
        pass
    os.close(ours)
    assert process.wait() == 0
    return shown.decode()


@pytest.fixture(scope="module")
def shown() -> str:
    """What a terminal shows of a run without options."""
    return on_a_terminal()


def test_a_terminal_shows_a_bar(shown: str) -> None:
    """On a terminal there is a bar with figures and speed, and notes stand clear of it."""
    assert "━" in shown
    assert "loss 0.5" in shown
    assert "/s" in shown
    assert "\x1b[" in shown
    assert "done" in shown


def test_colours_are_optional(shown: str) -> None:
    """NO_COLOR leaves the bar without colours."""
    colour = "\x1b[38;5"
    assert colour in shown
    assert colour not in on_a_terminal(NO_COLOR="1")


@pytest.mark.parametrize("option", ["-q", "--no-progress"])
def test_a_terminal_shows_no_bar_unasked(option: str) -> None:
    """-q and --no-progress take the bar away."""
    assert "━" not in on_a_terminal(option)
