"""Signals that ask a process to end, and who hears them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let a handler hear Ctrl-C and SIGTERM, in the main thread; elsewhere its owner does.

    A signal that the caller ignores, as for a job in the background, stays ignored.

    Args:
        handler: takes the number of the signal, and the frame that it interrupts.
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
