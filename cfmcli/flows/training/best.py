"""Best: keeps the weights with the lowest validation loss."""

import math

import torch
from torch import Tensor

SLACK = 0.01
"""Share of a validation loss below which differences count for nothing, if it tells when to end."""


class Best:
    """Track the best weights so far and how many validations have passed without improvement.

    Args:
        live: the tensors that training updates; copies of them are kept.
        slack: relative tolerance, of the lowest loss or, if that is less, of the loss's decrease
            since `opening`, as the objective may be mostly noise. Weights are kept while their loss
            is at most this far above the lowest, since later weights have seen more data; only a
            larger decrease counts as an improvement.
    """

    def __init__(self, live: list[Tensor], slack: float) -> None:
        self.live = live
        self.slack = slack
        self.kept = [value.clone() for value in live]
        self.opening = self.loss = self.level = math.inf
        self.step = 0
        self.stale = 0

    @property
    def found(self) -> bool:
        """Whether any loss so far was finite."""
        return math.isfinite(self.loss)

    def numbers(self) -> tuple[float, ...]:
        """Losses and counters to pass to `resume`; the weights are saved separately."""
        return self.opening, self.loss, self.level, self.step, self.stale

    def resume(self, opening: float, loss: float, level: float, step: float, stale: float) -> None:
        """Restore what `numbers` returned."""
        self.opening, self.loss, self.level = opening, loss, level
        self.step, self.stale = int(step), int(stale)

    def judge(self, loss: float, step: int) -> None:
        """Keep the current weights if their loss is finite and within tolerance of the lowest."""
        if not math.isfinite(loss):
            self.stale += 1
            return
        self.loss = min(self.loss, loss)
        slight = self.slack * min(abs(self.loss), max(self.opening - self.loss, 0.0))
        better = loss < self.level - slight
        self.stale = 0 if better else self.stale + 1
        self.level = loss if better else self.level
        if loss <= self.loss + slight:
            self.step = step
            for own, value in zip(self.kept, self.live, strict=True):
                own.copy_(value)

    def go_back(self) -> None:
        """Copy the kept weights back into the live tensors."""
        with torch.no_grad():
            for own, value in zip(self.kept, self.live, strict=True):
                value.copy_(own)
