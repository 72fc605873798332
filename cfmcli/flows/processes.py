"""Processes: workers that compute the items of a sequence ahead, in order."""

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
"""Items that each worker has done or begun before they are asked for."""

_PARENT_DEATH_SIGNAL = 1
"""The option PR_SET_PDEATHSIG of Linux's prctl."""

_allowed = 0


def allow(count: int) -> None:
    """Set how many workers this process may start, as torch.set_num_threads does for threads.

    Args:
        count: number of workers, >= 0; 0 and 1 leave work that is shared in this process.
    """
    global _allowed  # noqa: PLW0603
    _allowed = count


def allowed() -> int:
    """How many workers this process may start: none in a worker, or where it cannot fork.

    A fork starts in milliseconds with all data in sight; another start would take as long as
    torch takes to load.
    """
    can = sys.platform == "linux" and not multiprocessing.current_process().daemon
    return _allowed if can else 0


@contextmanager
def in_order(work: Callable[[int], T], count: int, workers: int) -> Iterator[Iterator[T]]:
    """The items work(0), work(1), ..., which workers compute ahead.

    Errors and warnings of the work come up where its item is taken. The workers end with the
    context, and with this process should it be killed.

    Args:
        work: computes an item from its number alone.
        count: number of items.
        workers: number of processes; with 0, each item is computed when it is taken.
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
    """What came of an item: its value or an error, and what was warned of."""

    value: Any
    error: CfmError | None
    said: list[str]


@dataclass(frozen=True)
class _Items:
    """The items of a sequence, as a data set of torch."""

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
    """The iterator of a loader whose workers are at work."""
    import torch
    from torch.utils.data import DataLoader

    before = signal.getsignal(signal.SIGCHLD)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there are few cores, which is asked for
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
        # Torch would tell of a lost worker in the midst of any work, not where its item is taken.
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return items


def _taken(items: Iterator[_Heard]) -> Iterator[Any]:
    """The values of what was heard."""
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
    """No tensors made of an item: arrays travel by pipe, and need no shared memory."""
    return item


def _tied(number: int) -> None:
    """Tie a worker's life to the process that started it.

    Signals are left to that process, which saves and then ends its workers. Where it is killed,
    the kernel kills them: the loader's own watch waits for what nobody reads any more.
    """
    for wish in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wish, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():
        raise SystemExit(1)
