"""Every way to fail: its exit code, one message, an empty stdout."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfmcli import errors
from cfmcli.errors import Interrupted
from cfmcli.requests import Listener, Outcome
from tests.cli.harness import SAMPLE, Cfm, Stub

CODES = {
    "ConfigError": 2,
    "DataError": 3,
    "NumericsError": 4,
    "OutputExistsError": 5,
    "CheckpointError": 6,
    "ResourceError": 7,
}


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


def raising(stub: Stub, error: BaseException) -> None:
    """Let the workflow fail so."""

    def fail(listen: Listener) -> Outcome:
        raise error

    stub.behave = fail


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_expected_errors_have_their_code(name: str, code: int, cfm: Cfm, stub: Stub) -> None:
    """An expected error is its code, one message on stderr and nothing on stdout."""
    raising(stub, getattr(errors, name)("x.csv, line 3: 'abc' is no number."))
    for more in ((), ("--json",), ("--quiet",)):
        ran = cfm(*SAMPLE, *more)
        assert (ran.code, ran.out) == (code, "")
        assert ran.err == "error: x.csv, line 3: 'abc' is no number.\n"


def test_no_error_class_is_forgotten() -> None:
    """The codes above are those of the whole tree."""
    found = {kind.__name__: kind.exit_code for kind in errors.CfmError.__subclasses__()}
    assert {name: code for name, code in found.items() if name != "Interrupted"} == CODES


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (Interrupted("Saved; go on with --resume.", signal.SIGINT), 130, "error: Saved; go on"),
        (Interrupted("Saved; go on with --resume.", signal.SIGTERM), 143, "error: Saved; go on"),
        (KeyboardInterrupt(), 130, "error: stopped by Ctrl-C"),
        (MemoryError(), 7, "error: out of memory. Use fewer points"),
        (OutOfMemoryError("CUDA out of memory. Tried"), 7, "error: out of memory (CUDA out of"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 7, "error: out of memory"),
        (RuntimeError("shapes differ"), 1, "error: this is a bug in cfm: RuntimeError: shapes"),
        (ZeroDivisionError(), 1, "error: this is a bug in cfm: ZeroDivisionError. Run"),
        (OSError(errno.ENAMETOOLONG, "too long", "aaa"), 7, "error: aaa: too long. Check the path"),
        (OSError(errno.EBADF, "bad"), 1, "error: this is a bug in cfm: OSError"),
        (BrokenPipeError(), 0, ""),
        (SystemExit(9), 9, ""),
    ],
    ids=repr,
)
def test_other_ends_have_their_code(
    error: BaseException, code: int, text: str, stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Signals, full memory and bugs each end with their code, without a traceback."""
    from cfmcli.cli import main

    raising(stub, error)
    with pytest.raises(SystemExit) as left:
        main(SAMPLE)
    said = capsys.readouterr().err
    assert left.value.code == code
    assert said.startswith(text)
    assert said.count("\n") == bool(text)
    assert "Traceback" not in said


def test_debug_shows_the_traceback(cfm: Cfm, stub: Stub) -> None:
    """With --debug the traceback comes before the message."""
    raising(stub, ValueError("deep down"))
    ran = cfm(*SAMPLE, "--debug")
    assert ran.code == 1
    assert re.search(r"Traceback.*deep down.*error: this is a bug", ran.err, re.DOTALL)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("fit", "a.csv", "b.csv", "-o", "r", "--steps"), ("--steps", "cfm fit --help")),
        (("fit", "a.csv", "-o", "r", "--stpes", "3"), ("--stpes", "--steps", "cfm fit --help")),
        (("fti",), ("'fti'", "Did you mean 'fit'?")),
        (("fit", "a.csv"), ("--output",)),
        (("fit", "-o", "r"), ("No data",)),
        (("fit", "a.csv", "-o", "r", "--steps", "many"), ("--steps", "whole number")),
        (("fit", "a.csv", "-o", "r", "--steps", "0"), ("--steps 0", "at least 1")),
        (("fit", "a.csv", "-o", "r", "--scope", "datset"), ("Did you mean 'dataset'?",)),
        (("fit", "a.csv", "-o", "r", "--method", "otcfn"), ("--method", "'otcfm'?", "icfm")),
        (("fit", "a.csv", "-o", "r", "--transform", "log1p,pcaa:n=2"), ("'pca'?", "standardize")),
        (("fit", "a.csv", "-o", "r", "--times", "0,d2"), ("--times 0,d2", "0,2,7")),
        ((*SAMPLE, "--solver", "eulr"), ("--solver", "Did you mean 'euler'?", "dopri5")),
        ((*SAMPLE, "--solver", "euler:steps"), ("--solver", "key=value")),
        ((*SAMPLE, "-n", "0"), ("--count",)),
        (("interpolate", "run", "-o", "o.csv"), ("--times 0.5,1,1.5", "--frames 20")),
        (("interpolate", "run", "-o", "o.csv", "--times", "1", "--frames", "2"), ("either",)),
        (("list", "coupling"), ("Did you mean 'couplings'?", "solvers")),
        (("list", "solvers", "eulr"), ("Did you mean 'euler'?", "rk4")),
        ((*SAMPLE[:-1], "-", "--json"), ("--json", "stdout")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_usage_errors_are_2_and_say_what_to_do(
    arguments: tuple[str, ...], texts: tuple[str, ...], cfm: Cfm, stub: Stub
) -> None:
    """A wrong option, name or value is refused before any workflow starts."""
    ran = cfm(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert all(text in ran.err for text in texts), ran.err
    assert stub.asked == []


def test_sigterm_cleans_up(cfm: Cfm, stub: Stub, tmp_path: Path) -> None:
    """SIGTERM unwinds the stack, so that temporary files go, and gives its handler back."""
    part = tmp_path / "part"

    def interrupted(listen: Listener) -> Outcome:
        part.touch()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            return Outcome()
        finally:
            part.unlink()

    stub.behave = interrupted
    before = signal.getsignal(signal.SIGTERM)
    ran = cfm(*SAMPLE)
    assert (ran.code, ran.err) == (143, "error: stopped by SIGTERM.\n")
    assert not part.exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("arguments", [("list",), ("--help",), ("fit", "--help")])
def test_a_reader_who_has_enough_is_no_failure(
    arguments: tuple[str, ...], closed_pipe: int
) -> None:
    """`cfm ... | head` ends quietly."""
    command = [sys.executable, "-m", "cfmcli", *arguments]
    ran = subprocess.run(
        command, stdout=closed_pipe, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_work_goes_on_when_nobody_listens(closed_pipe: int) -> None:
    """A closed stderr stops no work, whose result still reaches stdout."""
    command = [sys.executable, "-m", "cfmcli", "list", "--json", "--verbose"]
    ran = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=closed_pipe, text=True, check=False
    )
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["command"] == "list"
