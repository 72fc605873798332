"""Ranks: processes that train one field together, each on its share of every batch."""

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
    """This process among those that train together; by default it is alone.

    All ranks draw the same batches from the same seed, take equal shares, and average their
    gradients: their weights stay equal, and are those of a single process but for rounding.

    Args:
        rank: which of them, from 0.
        size: how many.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0

    def share(self, batches: Batch, size: int) -> tuple[Batch, int]:
        """This rank's rows of whole batches of a size that the number of ranks divides."""
        if self.size == 1:
            return batches, size
        own = size // self.size
        rows = torch.arange(len(batches.s), device=batches.s.device).view(-1, size)
        index = rows[:, self.rank * own : (self.rank + 1) * own].reshape(-1)
        return batches.each(lambda value: value[index]), own

    def average(self, tensor: Tensor) -> Tensor:
        """The mean over all ranks, in place.

        Raises:
            RankError: if another rank is gone.
        """
        if self.size > 1:
            _reached(lambda: distributed.all_reduce(tensor))
            tensor.div_(self.size)
        return tensor

    def agreed(self, number: float) -> float:
        """What the leading rank says a number is, so that all decide alike.

        Raises:
            RankError: if another rank is gone.
        """
        return self._told(number, lambda told: distributed.broadcast(told, 0))

    def largest(self, number: float) -> float:
        """The largest of all ranks' numbers; it also waits for all of them.

        Raises:
            RankError: if another rank is gone.
        """
        return self._told(
            number, lambda told: distributed.all_reduce(told, distributed.ReduceOp.MAX)
        )

    def _told(self, number: float, work: Callable[[Tensor], object]) -> float:
        """A number after it went round."""
        if self.size == 1:
            return number
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        told = torch.tensor([number], dtype=torch.float64, device=device)
        _reached(lambda: work(told))
        return float(told.item())


ALONE = Ranks()


@contextmanager
def joined(rank: int, size: int, backend: str) -> Iterator[Ranks]:
    """Join the ranks whose addresses the environment tells, as torchrun does.

    Args:
        rank: which this is.
        size: how many there are.
        backend: gloo for processors, nccl for GPUs.

    Raises:
        RankError: if they do not find each other.
    """
    _reached(lambda: distributed.init_process_group(backend, rank=rank, world_size=size))
    try:
        yield (ranks := Ranks(rank, size))
        ranks.largest(0)  # who leaves first would tear the others' connections
    finally:
        distributed.destroy_process_group()


def _reached(work: Callable[[], object]) -> None:
    """Do what needs all ranks.

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
