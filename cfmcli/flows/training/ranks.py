"""Ranks: processes that train one field together, each on a share of every batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, distributed

from cfmcli.errors import RankError
from cfmcli.flows.training.tasks import Batch


@final
@dataclass(frozen=True)
class Ranks:
    """The rank of this process in distributed training; a single process by default.

    All ranks draw the same batches from the same seed, take equal shares, and average their
    gradients, so their weights stay equal, and match those of a single process up to rounding.

    Args:
        rank: index of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this rank writes files and reports progress."""
        return self.rank == 0

    def share(self, batches: Batch, size: int) -> tuple[Batch, int]:
        """Select this rank's rows of whole batches whose size the number of ranks divides."""
        if self.size == 1:
            return batches, size
        own = size // self.size
        rows = torch.arange(len(batches.s), device=batches.s.device).view(-1, size)
        index = rows[:, self.rank * own : (self.rank + 1) * own].reshape(-1)
        return batches.each(lambda value: value[index]), own

    def average(self, tensor: Tensor) -> Tensor:
        """Average a tensor over all ranks, in place.

        Raises:
            RankError: if another rank is gone.
        """
        if self.size > 1:
            _reached(lambda: distributed.all_reduce(tensor))
            tensor.div_(self.size)
        return tensor

    def agreed(self, number: float) -> float:
        """Broadcast the leading rank's value, so that all ranks make the same decision.

        Raises:
            RankError: if another rank is gone.
        """
        return self._told(number, lambda told: distributed.broadcast(told, 0))

    def largest(self, number: float) -> float:
        """Maximum of a number over all ranks; also acts as a barrier.

        Raises:
            RankError: if another rank is gone.
        """
        return self._told(
            number, lambda told: distributed.all_reduce(told, distributed.ReduceOp.MAX)
        )

    def _told(self, number: float, work: Callable[[Tensor], object]) -> float:
        """Apply a collective operation to a number."""
        if self.size == 1:
            return number
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        told = torch.tensor([number], dtype=torch.float64, device=device)
        _reached(lambda: work(told))
        return float(told.item())


ALONE = Ranks()


@contextmanager
def joined(rank: int, size: int, backend: str) -> Iterator[Ranks]:
    """Join the process group at the addresses in the environment, as set by torchrun.

    Args:
        rank: index of this process.
        size: number of processes.
        backend: gloo for CPUs, nccl for GPUs.

    Raises:
        RankError: if the processes cannot reach each other.
    """
    _reached(lambda: distributed.init_process_group(backend, rank=rank, world_size=size))
    try:
        yield (ranks := Ranks(rank, size))
        ranks.largest(0)  # the first to leave would break the others' connections
    finally:
        distributed.destroy_process_group()


def _reached(work: Callable[[], object]) -> None:
    """Run a collective operation, converting failures.

    Raises:
        RankError: if it fails.
    """
    try:
        work()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise RankError(
            f"Another rank of this fit cannot be reached ({reason}). If it was lost, go on from "
            "the last saved state with the same command and --resume, with any number of ranks."
        ) from error
