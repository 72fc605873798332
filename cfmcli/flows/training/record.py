"""Record: the results of one block of training steps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """Results of one block of training steps.

    Args:
        step: steps done so far.
        loss: mean training loss of the block.
        heads: the same for each head.
        grad_norm: mean norm of the gradient before clipping.
        seconds: wall time of training so far.
        validation: validation loss, NaN where there is none.
    """

    step: int
    loss: float
    heads: Mapping[str, float]
    grad_norm: float
    seconds: float
    validation: float = math.nan
