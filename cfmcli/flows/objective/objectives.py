"""Objectives: the regression targets of each head, and the dynamics they imply."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from cfmcli.errors import ConfigError
from cfmcli.flows.path.interpolants import Interpolant, PathDraw, Rates

Outputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Place:
    """Times and points at which heads are evaluated, and their path.

    Args:
        t: path time, shape (B, 1).
        x: points, shape (B, D).
        interpolant: the path that the heads were trained on.
    """

    t: Tensor
    x: Tensor
    interpolant: Interpolant

    @cached_property
    def rates(self) -> Rates:
        """Coefficients of a path with a linear mean, and their rates."""
        return self.interpolant.rates(self.t)

    @cached_property
    def latent(self) -> tuple[Tensor, Tensor]:
        """gamma and d gamma/dt, shape (B, 1) each."""
        return self.interpolant.latent_rates(self.t)


class Objective(ABC):
    """Base class of regressions whose minimiser defines the flow.

    Attributes:
        heads: names of the network outputs.
        has_score: whether the heads give the score.
        has_growth: whether there is a growth head, the rate of change of log mass.
        needs_latent: whether the path needs a latent z to regress on.
        needs_normal: whether the path has to start from N(0, I), as a one-sided path does.
        margin: distance of t from the ends within which the heads are not evaluated.
        antithetic: whether each path is drawn twice, with z and -z.
    """

    heads: ClassVar[tuple[str, ...]]
    has_score: ClassVar[bool] = False
    has_growth: ClassVar[bool] = False
    needs_latent: ClassVar[bool] = False
    needs_normal: ClassVar[bool] = False
    margin: ClassVar[float] = 0.0
    antithetic: bool

    @abstractmethod
    def losses(self, outputs: Outputs, draw: PathDraw) -> dict[str, Tensor]:
        """Loss of each head.

        Args:
            outputs: head name -> network output at (t, x_t), shape (B, D), or (B, 1) for growth.
            draw: the path draw that the outputs belong to.

        Returns:
            Head name -> scalar loss; training minimises their sum.
        """

    @abstractmethod
    def lengths(self) -> dict[str, int]:
        """Power of length in the unit of each head's loss."""

    @abstractmethod
    def velocity(self, outputs: Outputs, place: Place) -> Tensor:
        """The velocity b = E[dx_t/dt | x_t] that the heads imply, shape (B, D)."""

    @abstractmethod
    def score(self, outputs: Outputs, place: Place) -> Tensor | None:
        """The score grad log rho_t that the heads imply, shape (B, D), or None."""


@dataclass(frozen=True)
class Velocity(Objective):
    """Velocity regression: E |b(t, x_t) - dx_t/dt|^2 / D, minimised by b = E[dx_t/dt | x_t].

    Reference: Tong et al. (2024), arXiv 2302.00482, Thm 3.2; Lipman et al. (2023),
        arXiv 2210.02747, Thm 2

    Use: deterministic flows; every pair of coupling and interpolant.

    Args:
        antithetic: draw each path with z and -z, where the rate of its latent is not bounded.
    """

    antithetic: bool = True
    heads: ClassVar[tuple[str, ...]] = ("velocity",)

    def losses(self, outputs: Outputs, draw: PathDraw) -> dict[str, Tensor]:
        """Mean squared error of the velocity head."""
        return {"velocity": error(outputs["velocity"], draw.velocity)}

    def lengths(self) -> dict[str, int]:
        """Powers of length of the losses."""
        return {"velocity": 2}

    def velocity(self, outputs: Outputs, place: Place) -> Tensor:
        """The velocity head."""
        return outputs["velocity"]

    def score(self, outputs: Outputs, place: Place) -> None:
        """None: the heads alone give no score."""


@dataclass(frozen=True)
class Static(Objective):
    """Nothing is learnt: points move with the pairs of the coupling, along straight lines.

    Reference: McCann (1997), doi 10.1006/aima.1997.1634 (displacement interpolation)

    Use: the baseline that every trained flow has to beat.
    """

    heads: ClassVar[tuple[str, ...]] = ()

    def losses(self, outputs: Outputs, draw: PathDraw) -> dict[str, Tensor]:
        """No losses."""
        return {}

    def lengths(self) -> dict[str, int]:
        """No losses."""
        return {}

    def velocity(self, outputs: Outputs, place: Place) -> Tensor:
        """Raise, since there are no heads.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("The objective static has no heads to read a velocity from.")

    def score(self, outputs: Outputs, place: Place) -> None:
        """None: there is no score."""


def score_from_velocity(velocity: Tensor, place: Place) -> Tensor:
    """Score of a path whose x0 is N(0, I) and independent of x1, computed from its velocity.

    With x_t = a z + beta x1 and a^2 = alpha^2 + gamma^2,
    s = (beta b - (d beta/dt) x) / (a (a d beta/dt - beta da/dt)), and s = -x / a^2 where beta = 0.

    Reference: Albergo & Vanden-Eijnden (2022), arXiv 2209.15571 (score of a Gaussian source)

    Args:
        velocity: b at the place, shape (B, D).
        place: time, points and path.

    Returns:
        The score, shape (B, D).
    """
    r = place.rates
    scale = (r.alpha.square() + r.gamma.square()).sqrt()
    rate = (r.alpha * r.alpha_rate + r.gamma * r.gamma_rate) / scale
    alone = r.beta == 0
    bent = torch.where(alone, 1.0, scale * (scale * r.beta_rate - r.beta * rate))
    found = (r.beta * velocity - r.beta_rate * place.x) / bent
    return torch.where(alone, -place.x / scale.square(), found)


def error(found: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error of a head, a scalar; optional row weights, shape (B, 1)."""
    squared = (found - wanted).square()
    return squared.mean() if weight is None else (weight * squared).mean()
