"""Processes: workers that compute the items of a sequence in advance, in order."""

import ctypes
import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from cfmcli.errors import CfmError, CfmWarning, RankError

T = TypeVar("T")

AHEAD = 2
"""Number of items that each worker prepares in advance."""

_PARENT_DEATH_SIGNAL = 1
"""The option PR_SET_PDEATHSIG of Linux's prctl."""

_allowed = 0


def allow(count: int) -> None:
    """Set how many worker processes may be started, as torch.set_num_threads does for threads.

    Args:
        count: number of workers, >= 0; with 0, shared work stays in this process.
    """
    global _allowed  # noqa: PLW0603
    _allowed = count


def allowed() -> int:
    """Number of workers that may be started: 0 inside a worker, and everywhere but on Linux.

    A fork starts in milliseconds with all data in memory; any other start method would take as
    long as importing torch.
    """
    can = sys.platform == "linux" and not multiprocessing.current_process().daemon
    return _allowed if can else 0


@contextmanager
def in_order(work: Callable[[int], T], count: int, workers: int) -> Iterator[Iterator[T]]:
    """Iterate over work(0), work(1), ..., computed in advance by workers.

    Errors and warnings are raised where the item is taken. The workers end with the context, or
    with this process if it is killed.

    Args:
        work: computes an item from its index alone.
        count: number of items.
        workers: number of processes; with 0, each item is computed when taken.
    """
    workers = min(workers, count)
    if not workers:
        yield map(work, range(count))
        return
    items = _started(work, count, workers)
    try:
        yield _taken(items)
    finally:
        items._shutdown_workers()


class _Heard(NamedTuple):
    """Result of an item: value or error, and warnings."""

    value: Any
    error: CfmError | None
    said: list[str]


@dataclass(frozen=True)
class _Items:
    """The items of a sequence as a PyTorch data set."""

    work: Callable[[int], object]
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: Any) -> Any:
        value, error = None, None
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", CfmWarning)
            try:
                value = self.work(number)
            except CfmError as found:
                error = found
        said = [str(w.message) for w in heard if issubclass(w.category, CfmWarning)]
        return _Heard(value, error, said)


def _started(work: Callable[[int], object], count: int, workers: int) -> Any:
    """Iterator of a data loader whose workers have started."""
    import torch
    from torch.utils.data import DataLoader

    before = signal.getsignal(signal.SIGCHLD)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # more workers than cores, as requested
        loader: DataLoader[Any] = DataLoader(
            _Items(work, count),  # type: ignore[arg-type]
            batch_size=None,
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=_tied,
            prefetch_factor=AHEAD,
            multiprocessing_context="fork",
            generator=torch.Generator(),
        )
        items = iter(loader)
    if signal.getsignal(signal.SIGCHLD) is not before:
        # Torch would report a lost worker at any point, not where its item is taken.
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return items


def _taken(items: Iterator[_Heard]) -> Iterator[Any]:
    """Unwrap results: re-issue warnings, raise errors, yield values."""
    while True:
        try:
            heard = next(items)
        except StopIteration:
            return
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise RankError(
                f"A worker process was lost ({reason}): it may have run out of memory. Use "
                "--ot-workers 0, or go on from the last saved state with --resume."
            ) from error
        for message in heard.said:
            warnings.warn(message, CfmWarning, stacklevel=2)
        if heard.error is not None:
            raise heard.error
        yield heard.value


def _as_it_is(item: object) -> object:
    """Collate function that returns the item itself: arrays are piped, without shared memory."""
    return item


def _tied(number: int) -> None:
    """Make a worker end with the process that started it.

    Signals are left to that process, which saves and then ends its workers. If it is killed, the
    kernel kills them; the loader's own watchdog would block on a pipe that nobody reads.
    """
    for wish in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wish, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():
        raise SystemExit(1)
