"""Progress display of a long job: a bar on a terminal, occasional lines elsewhere."""

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
    """Yield a listener that shows progress and notes, and logs both.

    Args:
        console: receives plain lines.
        aloud: whether to show progress on the terminal; it is always logged.
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
    """Yield a listener that shows progress."""
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
    """Shows progress as at most about 20 plain lines per job.

    Args:
        say: receives the lines.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._clock = _Clock()
        self._mark = 0

    def __call__(self, progress: Progress) -> None:
        """Print a line whenever another twentieth is done."""
        if self._clock.restarted(progress):
            self._mark = 0
        mark = LINES * progress.done // max(progress.total, 1)
        if mark > self._mark:
            self._mark = mark
            self._say(f"{progress.done}/{progress.total}  {self._clock.figures()}".rstrip())


class Bar:
    """Shows progress as a bar with current figures and speed.

    Args:
        display: rich's progress display.
    """

    def __init__(self, display: "Display") -> None:
        self._display = display
        self._clock = _Clock()
        self._task: TaskID | None = None

    def __call__(self, progress: Progress) -> None:
        """Advance the bar, or add another for a new job."""
        self._display.start()
        if self._clock.restarted(progress) or self._task is None:
            self._task = self._display.add_task("", total=progress.total)
        figures = self._clock.figures()
        self._display.update(self._task, completed=progress.done, description=figures)


class _Clock:
    """Start and speed of the current job."""

    def __init__(self) -> None:
        self._first = self._last = Progress(0, 0)
        self._start = time.perf_counter()

    def restarted(self, progress: Progress) -> bool:
        """Whether progress belongs to a new job."""
        last = self._last
        finished = last.done >= last.total
        new = finished or progress.done < last.done or progress.total != last.total
        if new:
            self._first, self._start = progress, time.perf_counter()
        self._last = progress
        return new

    def figures(self) -> str:
        """Current figures and units per second since the start of the job."""
        done, seconds = self._last.done - self._first.done, time.perf_counter() - self._start
        speed = f"{done / seconds:.3g}/s" if done > 0 and seconds > 0 else ""
        return "  ".join(filter(None, (self._last.text, speed)))


def _display() -> "Display":
    """Build rich's progress display on stderr."""
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
