"""Best: the weights that a validation loss tells to keep."""

import math

import torch
from torch import Tensor

SLACK = 0.01
"""The share of a validation loss that says nothing, where it tells when to end."""


class Best:
    """The weights to keep so far, and for how long their loss was as good as it gets.

    Args:
        live: the tensors that training changes, of which copies are kept.
        slack: a share that says nothing, of the least loss or, if that is less, of what the loss
            has fallen by since `opening`: an objective may be noise for the most part. Weights are
            kept while their loss is no further above the least, as the latest have seen most; it
            has to fall further below what it was to be any better.
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
        """Whether any loss was finite."""
        return math.isfinite(self.loss)

    def numbers(self) -> tuple[float, ...]:
        """What `resume` takes, beside the weights."""
        return self.opening, self.loss, self.level, self.step, self.stale

    def resume(self, opening: float, loss: float, level: float, step: float, stale: float) -> None:
        """Go on from what `numbers` gave."""
        self.opening, self.loss, self.level = opening, loss, level
        self.step, self.stale = int(step), int(stale)

    def judge(self, loss: float, step: int) -> None:
        """Keep the weights of a step if their loss is finite and the least, or near it."""
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
        """Give what training changes the values that were kept."""
        with torch.no_grad():
            for own, value in zip(self.kept, self.live, strict=True):
                value.copy_(own)
