"""Signals: Ctrl-C and SIGTERM raise exceptions to unwind the work, and are remembered.

An interrupted import, a destructor or a callback may swallow the exception, or replace it by its
own. So the signal is remembered, and determines the exit code.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cfmcli.signals import heard_by

_TOLD = {signal.SIGINT: "stopped by Ctrl-C.", signal.SIGTERM: "stopped by SIGTERM."}


class Terminated(BaseException):
    """SIGTERM as an exception, so that temporary files are removed on the way out."""


class Stop:
    """Records the signal that asked this process to end; its number is 0 if there was none."""

    number = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Record the signal, and raise its exception."""
        self.number = number
        raise self.exception

    @property
    def exception(self) -> BaseException:
        """The exception that unwinds the work."""
        return KeyboardInterrupt() if self.number == signal.SIGINT else Terminated()

    @property
    def code(self) -> int:
        """Exit code, 0 without a signal."""
        return 128 + self.number if self.number else 0

    @property
    def told(self) -> str:
        """Message for the user."""
        return _TOLD[signal.Signals(self.number)]


STOP = Stop()
"""Signals belong to the process, hence a single instance."""


@contextmanager
def hearing() -> Iterator[None]:
    """Handle both signals while the context is active."""
    STOP.number = 0
    with heard_by(STOP):
        yield
