"""Signs of life of a long job: a bar on a terminal, a few plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cfmcli.cli.console import Console
from cfmcli.requests import Listener, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import TaskID

LINES = 20


@contextmanager
def listening(console: Console, *, aloud: bool) -> Iterator[Listener]:
    """A listener that shows progress and tells notes, and writes both to the log.

    Args:
        console: where plain lines go.
        aloud: whether the terminal shows progress; the log has it in any case.
    """
    with _showing(console, aloud=aloud) as show:

        def hear(progress: Progress) -> None:
            for note in progress.notes:
                console.once(note)
            if progress.total:
                show(progress)

        yield hear


@contextmanager
def _showing(console: Console, *, aloud: bool) -> Iterator[Listener]:
    """A listener that shows progress."""
    if not aloud:
        yield Lines(console.log)
    elif sys.stderr.isatty():
        display = _display()
        bar, lines = Bar(display), Lines(console.log)

        def both(progress: Progress) -> None:
            bar(progress)
            lines(progress)

        try:
            yield both
        finally:
            display.stop()
    else:
        yield Lines(console.note)


class Lines:
    """Progress as at most about 20 plain lines a job.

    Args:
        say: where a line goes.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._clock = _Clock()
        self._mark = 0

    def __call__(self, progress: Progress) -> None:
        """Say a line whenever another twentieth is done."""
        if self._clock.restarted(progress):
            self._mark = 0
        mark = LINES * progress.done // max(progress.total, 1)
        if mark > self._mark:
            self._mark = mark
            self._say(f"{progress.done}/{progress.total}  {self._clock.figures()}".rstrip())


class Bar:
    """Progress as a bar with the figures of the moment and the speed, from the first sign on.

    Args:
        display: rich's display of bars.
    """

    def __init__(self, display: "Display") -> None:
        self._display = display
        self._clock = _Clock()
        self._task: TaskID | None = None

    def __call__(self, progress: Progress) -> None:
        """Move the bar, or begin another when another job begins."""
        self._display.start()
        if self._clock.restarted(progress) or self._task is None:
            self._task = self._display.add_task("", total=progress.total)
        figures = self._clock.figures()
        self._display.update(self._task, completed=progress.done, description=figures)


class _Clock:
    """When the present job began, and how fast it goes."""

    def __init__(self) -> None:
        self._first = self._last = Progress(0, 0)
        self._start = time.perf_counter()

    def restarted(self, progress: Progress) -> bool:
        """Whether this is the first sign of another job than the one before."""
        last = self._last
        finished = last.done >= last.total
        new = finished or progress.done < last.done or progress.total != last.total
        if new:
            self._first, self._start = progress, time.perf_counter()
        self._last = progress
        return new

    def figures(self) -> str:
        """The figures of the moment and the units a second since the first sign of life."""
        done, seconds = self._last.done - self._first.done, time.perf_counter() - self._start
        speed = f"{done / seconds:.3g}/s" if done > 0 and seconds > 0 else ""
        return "  ".join(filter(None, (self._last.text, speed)))


def _display() -> "Display":
    """Rich's display of bars, on stderr."""
    from rich.console import Console as Terminal
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
    )
    return Display(*columns, console=Terminal(stderr=True), transient=True)
