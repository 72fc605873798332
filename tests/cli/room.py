"""What the end-to-end tests share: `cfm` outside a test, signals in mid-fit, a folder's state."""

import contextlib
import hashlib
import io
import os
import shlex
from pathlib import Path

from cfmcli.cli import main

Listing = dict[str, tuple[int, str]]


def carry_out(line: str) -> int:
    """Run `cfm` in this process, for session fixtures; its exit code."""
    try:
        main(shlex.split(line))
    except SystemExit as left:
        return int(left.code or 0)


class Alarm(io.StringIO):
    """A stderr that sends this process a signal at the first sign of progress.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        """Take the text, and raise the alarm once."""
        if "loss" in text and self.number:
            number, self.number = self.number, 0
            os.kill(os.getpid(), number)
        return super().write(text)


def interrupted(line: str, number: int) -> tuple[int, str]:
    """Run a fit and send a signal in the middle: its exit code and what it said."""
    alarm = Alarm(number)
    with contextlib.redirect_stderr(alarm):
        code = carry_out(line)
    return code, alarm.getvalue()


def digest(path: Path) -> str:
    """The content of a file as a short text, empty for a folder."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def listing(folder: Path) -> Listing:
    """Everything in a folder: name -> when it was written (files), and its content."""
    return {
        str(path.relative_to(folder)): (path.is_file() * path.stat().st_mtime_ns, digest(path))
        for path in sorted(folder.rglob("*"))
    }
