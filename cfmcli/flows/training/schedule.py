"""Schedule: length of training and learning rates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK = 25
"""Number of steps between two records, and between two validations."""
WARM_UP, WARM_STEPS = 0.05, 100
FALL = 0.3
"""Fraction of all steps during which the learning rate decays."""
LEAST, WAIT = 30, 0.5
"""Validations without improvement that close an open horizon: a minimum, and a fraction of all."""
DECAY, MOST_DECAY = 100.0, 0.3


@dataclass(frozen=True)
class Schedule:
    """Number of steps, batch size, learning rates and averaging of a training run.

    The learning rate warms up, stays at its peak, and decays to zero from a step called the turn.
    With an open horizon the turn comes when the validation loss has converged, and training goes
    back to the best weights: a long wait costs time, but no quality.

    Reference: Hu et al. (2024), arXiv 2404.06395, sec. 4 (warm-up, stable, decay)

    Args:
        steps: optimiser steps; an upper limit if the horizon is open.
        batch_size: pairs per step.
        lr: peak learning rate, reached after a linear warm-up and left in the last 30 % of steps.
        ema: decay of the averaged weights, 0 for none.
        bf16: run the network in bfloat16.
        weight_decay: decoupled weight decay, in units of the learning rate.
        workers: processes that prepare pairs in advance, so that steps do not wait for them.
        open: whether the validation loss decides when to end.
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
        """Learning rate of a step.

        Args:
            step: steps done before.
            turn: the step at which an open horizon closed, 0 if still open.
            best: the step whose weights training went back to at the turn, 0 for those of the turn.
        """
        warm = WARM_STEPS if self.open else max(1.0, WARM_UP * self.steps)
        closed = turn or not self.open
        left = (self.end(turn, best) - step) / self._fall(best or turn) if closed else 1.0
        counted = step - turn + best if best and turn else step
        return self.lr * min(1.0, (counted + 1) / warm) * min(1.0, left)

    def end(self, turn: int = 0, best: int = 0) -> int:
        """Total number of steps, or the upper limit while the horizon is open."""
        return turn + self._fall(best or turn) if self.open and turn else self.steps

    def _fall(self, reached: int) -> int:
        """Number of steps of decay, at least 1; whole blocks if the horizon was open."""
        if not self.open:
            return math.ceil(FALL * self.steps)
        return BLOCK * math.ceil(FALL / (1 - FALL) * reached / BLOCK)

    def turns(self, step: int, stale: int, patience: int) -> bool:
        """Whether an open horizon closes at a step.

        Args:
            step: steps done.
            stale: validations since the best one.
            patience: number of stale validations required; 0 for half of all so far, at least 30.
        """
        wait = patience or max(LEAST, WAIT * step / BLOCK)
        return self.open and (stale >= wait or self.last(step))

    def last(self, step: int) -> bool:
        """Whether an open horizon must close at a step, as too few steps would be left later."""
        return self.end(step + BLOCK) > self.steps

    def keep(self, step: int) -> float:
        """Decay of the averaged weights after a number of steps: smaller at first."""
        return min(self.ema, step / (step + 10))


def weight_decay(sizes: Sequence[int]) -> float:
    """Weight decay 100 / n, at most 0.3, for clouds of n points on average.

    It acts as a prior that fades with more data.

    Args:
        sizes: numbers of points of the clouds.
    """
    return min(MOST_DECAY, DECAY * len(sizes) / sum(sizes))
