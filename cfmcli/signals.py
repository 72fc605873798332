"""Signals: handling of signals that ask a process to end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM, in the main thread; no effect in other threads.

    A signal that the caller ignores, as for a job in the background, stays ignored.

    Args:
        handler: takes the signal number and the interrupted frame.
    """
    try:
        before = {
            number: signal.signal(number, handler)
            for number in ENDING
            if signal.getsignal(number) is not signal.SIG_IGN
        }
    except ValueError:  # not the main thread: the caller owns the signals
        yield
        return
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
