"""Objectives: which heads are regressed on what, and the dynamics they imply."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cfmcli.flows.interpolants import PathDraw


class Objective(ABC):
    """A regression whose minimiser drives the flow."""

    heads: ClassVar[tuple[str, ...]]

    @abstractmethod
    def losses(self, outputs: dict[str, Tensor], draw: PathDraw) -> dict[str, Tensor]:
        """The loss of each head.

        Args:
            outputs: head name -> network output at (t, x_t), shape (B, D).
            draw: the path draw that the outputs belong to.

        Returns:
            Head name -> scalar loss; training minimises their sum.
        """


@dataclass(frozen=True)
class Velocity(Objective):
    """Velocity regression: E |b(t, x_t) - dx_t/dt|^2 / D, minimised by b = E[dx_t/dt | x_t].

    Reference: Tong et al. (2024), arXiv 2302.00482, Thm 3.2; Lipman et al. (2023),
        arXiv 2210.02747, Thm 2

    Use: deterministic flows; every pair of coupling and interpolant.
    """

    heads: ClassVar[tuple[str, ...]] = ("velocity",)

    def losses(self, outputs: dict[str, Tensor], draw: PathDraw) -> dict[str, Tensor]:
        """Mean squared error of the velocity head."""
        return {"velocity": (outputs["velocity"] - draw.velocity).square().mean()}
