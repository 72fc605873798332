"""Schedules: the diffusion sigma(t) of a Brownian bridge along a gap; torch-free."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cfmcli.presets import BRIDGE_SHARES

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """The clock F(t) = integral of sigma^2 from 0 to t of a diffusion that starts at sigma.

    Reference: Tong et al. (2024), arXiv 2307.03672 (time-varying sigma)

    Args:
        total: F(1) / sigma^2.
        passed: F(t) / F(1).
        left: 1 - F(t) / F(1), accurate near t = 1.
    """

    total: float
    passed: "Callable[[Tensor], Tensor]"
    left: "Callable[[Tensor], Tensor]"


def _cosine_left(u: "Tensor") -> "Tensor":
    """u - sin(pi u) / pi, by its series where the terms nearly cancel."""
    import torch

    x = (math.pi * u).square()
    series = u * x / 6 * (1 - x / 20 * (1 - x / 42 * (1 - x / 72)))
    return torch.where(u < 0.2, series, u - (math.pi * u).sin() / math.pi)


SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(BRIDGE_SHARES["constant"], lambda t: t, lambda t: 1 - t),
    "linear": Schedule(
        BRIDGE_SHARES["linear"], lambda t: t * (3 - 3 * t + t * t), lambda t: (1 - t) ** 3
    ),
    "cosine": Schedule(
        BRIDGE_SHARES["cosine"],
        lambda t: t + (math.pi * t).sin() / math.pi,
        lambda t: _cosine_left(1 - t),
    ),
}
