"""Schedule: how long and how fast to train."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK = 25
"""Steps between two records, and between two validations."""
WARM_UP, WARM_STEPS = 0.05, 100
FALL = 0.3
"""The share of all steps in which the rate falls."""
LEAST, WAIT = 30, 0.5
"""Validations without improvement that close an open horizon: so many, and a share of them all."""
DECAY, MOST_DECAY = 100.0, 0.3


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    The learning rate warms up, stays at its peak, and falls to zero from a step called the turn.
    With an open horizon the turn comes when the validation loss has converged, and goes back to
    the best weights: to wait long costs time, but no quality.

    Reference: Hu et al. (2024), arXiv 2404.06395, sec. 4 (warm-up, stable, decay)

    Args:
        steps: optimiser steps; the most there may be where the horizon is open.
        batch_size: pairs per step.
        lr: peak learning rate, reached after a linear warm-up and left in the last 30 % of steps.
        ema: decay of the averaged weights, 0 for none.
        bf16: run the network in bfloat16.
        weight_decay: pull of the weights towards zero, in units of the learning rate.
        workers: processes that prepare pairs ahead, so that no step waits while a core is idle.
        open: whether validation tells when to end.
    """

    steps: int
    batch_size: int
    lr: float
    ema: float
    bf16: bool = False
    weight_decay: float = 1e-2
    workers: int = 0
    open: bool = False

    def rate(self, step: int, turn: int = 0, best: int = 0) -> float:
        """The learning rate of a step.

        Args:
            step: steps done before.
            turn: the step at which an open horizon closed, 0 while it has not.
            best: the step whose weights the horizon closed with, 0 for those of the turn.
        """
        warm = WARM_STEPS if self.open else max(1.0, WARM_UP * self.steps)
        closed = turn or not self.open
        left = (self.end(turn, best) - step) / self._fall(best or turn) if closed else 1.0
        counted = step - turn + best if best and turn else step
        return self.lr * min(1.0, (counted + 1) / warm) * min(1.0, left)

    def end(self, turn: int = 0, best: int = 0) -> int:
        """How many steps there are, or may be while the horizon is open."""
        return turn + self._fall(best or turn) if self.open and turn else self.steps

    def _fall(self, reached: int) -> int:
        """How many steps the rate falls, at least 1; whole blocks where the horizon was open."""
        if not self.open:
            return math.ceil(FALL * self.steps)
        return BLOCK * math.ceil(FALL / (1 - FALL) * reached / BLOCK)

    def turns(self, step: int, stale: int, patience: int) -> bool:
        """Whether an open horizon closes at a step.

        Args:
            step: steps done.
            stale: validations since the best one.
            patience: how many it takes; 0 for half of all so far, at least 30.
        """
        wait = patience or max(LEAST, WAIT * step / BLOCK)
        return self.open and (stale >= wait or self.last(step))

    def last(self, step: int) -> bool:
        """Whether an open horizon has to close at a step, as later there are too few steps left."""
        return self.end(step + BLOCK) > self.steps

    def keep(self, step: int) -> float:
        """What the averaged weights keep of themselves after so many steps: less at first."""
        return min(self.ema, step / (step + 10))


def weight_decay(sizes: Sequence[int]) -> float:
    """100 / n for clouds of n points: a prior whose pull fades as the data grow.

    Args:
        sizes: numbers of points.
    """
    return min(MOST_DECAY, DECAY * len(sizes) / sum(sizes))
