"""Ctrl-C and SIGTERM: exceptions that unwind the work, and a memory of them.

An import that is cut short, a destructor or a callback may swallow the exception, or turn it into
one of its own. So the signal is remembered, and what asked for the end decides the exit code.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cfmcli.signals import heard_by

_TOLD = {signal.SIGINT: "stopped by Ctrl-C.", signal.SIGTERM: "stopped by SIGTERM."}


class Terminated(BaseException):
    """SIGTERM, as an exception: temporary files are removed on the way out."""


class Stop:
    """The signal that asked this process to end; its number is 0 where there was none."""

    number = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal, and unwind."""
        self.number = number
        raise self.exception

    @property
    def exception(self) -> BaseException:
        """What unwinds the work."""
        return KeyboardInterrupt() if self.number == signal.SIGINT else Terminated()

    @property
    def code(self) -> int:
        """The exit code, 0 without a signal."""
        return 128 + self.number if self.number else 0

    @property
    def told(self) -> str:
        """What to tell."""
        return _TOLD[signal.Signals(self.number)]


STOP = Stop()
"""Signals are the process's own, and so is the memory of them."""


@contextmanager
def hearing() -> Iterator[None]:
    """Hear both signals."""
    STOP.number = 0
    with heard_by(STOP):
        yield
