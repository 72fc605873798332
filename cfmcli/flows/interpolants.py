"""Interpolants: random paths x_t = m_t(x0, x1) + gamma_t z between paired points.

An interpolant is two formulas, the mean m_t(x0, x1) and the latent variance gamma^2(t). Their rates
are derived by forward-mode differentiation, so the conditional velocity
dx_t/dt = dm_t/dt + (d gamma_t/dt) z needs no formula of its own.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import jvp

from cfmcli.errors import ConfigError


@dataclass(frozen=True)
class PathDraw:
    """One draw of the path for each pair of a batch.

    Args:
        t: path time, shape (B, 1), in [0, 1].
        x_t: the point on the path, shape (B, D).
        velocity: its conditional velocity dx_t/dt, shape (B, D).
    """

    t: Tensor
    x_t: Tensor
    velocity: Tensor


class Interpolant(ABC):
    """A random path between x0 at t = 0 and x1 at t = 1."""

    needs_gaussian_source: ClassVar[bool] = False
    t_margin: ClassVar[float] = 0.0

    @abstractmethod
    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        """m_t(x0, x1) for t of shape (B, 1) and points of shape (B, D)."""

    @abstractmethod
    def variance(self, t: Tensor) -> Tensor:
        """gamma^2(t), shape (B, 1)."""

    def draw(self, t: Tensor, x0: Tensor, x1: Tensor, z: Tensor) -> PathDraw:
        """Draw x_t = m_t + gamma_t z and its rate.

        Args:
            t: path time, shape (B, 1), in [0, 1].
            x0: sources, shape (B, D).
            x1: targets, shape (B, D).
            z: standard normal latents, shape (B, D).

        Returns:
            The point and its velocity. Where gamma vanishes, so does its contribution: the rate of
            sqrt(gamma^2) does not exist there.
        """
        ones = torch.ones_like(t)
        mean, mean_rate, *_ = jvp(lambda s: self.mean(s, x0, x1), (t,), (ones,))
        variance, variance_rate, *_ = jvp(self.variance, (t,), (ones,))
        gamma = variance.clamp_min(0).sqrt()
        gamma_rate = torch.where(gamma > 0, variance_rate / (2 * gamma), torch.zeros_like(gamma))
        return PathDraw(t, mean + gamma * z, mean_rate + gamma_rate * z)


@dataclass(frozen=True)
class Linear(Interpolant):
    """Straight line with constant blur: x_t = (1 - t) x0 + t x1 + sigma z.

    Reference: Tong et al. (2024), arXiv 2302.00482, eq. 14

    Use: the default; with optimal pairs the flow is straight as well.

    Args:
        sigma: standard deviation of the blur in flow coordinates, at least 0.

    Raises:
        ConfigError: if sigma is negative.
    """

    sigma: float = 0.0

    def __post_init__(self) -> None:
        _check_sigma("linear", self.sigma)

    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        """(1 - t) x0 + t x1."""
        return x0 + t * (x1 - x0)

    def variance(self, t: Tensor) -> Tensor:
        """sigma^2."""
        return torch.full_like(t, self.sigma**2)


@dataclass(frozen=True)
class Trigonometric(Interpolant):
    """Quarter circle: x_t = cos(pi t / 2) x0 + sin(pi t / 2) x1 + sigma z.

    Reference: Albergo & Vanden-Eijnden (2022), arXiv 2209.15571, eq. 5

    Use: both ends standardised and independent: every x_t then keeps unit variance.

    Args:
        sigma: standard deviation of the blur in flow coordinates, at least 0.

    Raises:
        ConfigError: if sigma is negative.
    """

    sigma: float = 0.0

    def __post_init__(self) -> None:
        _check_sigma("trigonometric", self.sigma)

    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        """cos(pi t / 2) x0 + sin(pi t / 2) x1."""
        angle = t * (math.pi / 2)
        return angle.cos() * x0 + angle.sin() * x1

    def variance(self, t: Tensor) -> Tensor:
        """sigma^2."""
        return torch.full_like(t, self.sigma**2)


@dataclass(frozen=True)
class Brownian(Interpolant):
    """Brownian bridge: x_t = (1 - t) x0 + t x1 + sigma sqrt(t (1 - t)) z.

    Its target velocity has variance of order 1 / (t (1 - t)), so t keeps a margin from the ends.
    Time t is that of the gap between two snapshots, so sigma belongs to a gap, however long.

    Reference: Tong et al. (2024), arXiv 2302.00482, eq. 19

    Use: stochastic dynamics; with entropic pairs of reg = 2 sigma^2 the Schrodinger bridge.

    Args:
        sigma: diffusion of the bridge in flow coordinates, above 0.

    Raises:
        ConfigError: if sigma is not positive.
    """

    sigma: float = 1.0
    t_margin: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        _check_sigma("brownian", self.sigma)
        if self.sigma == 0:
            raise ConfigError("brownian:sigma=0 is no bridge: use linear, or a sigma above 0.")

    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        """(1 - t) x0 + t x1."""
        return x0 + t * (x1 - x0)

    def variance(self, t: Tensor) -> Tensor:
        """sigma^2 t (1 - t)."""
        return self.sigma**2 * t * (1 - t)


@dataclass(frozen=True)
class OneSidedLinear(Interpolant):
    """From noise to a point: x_t = t x1 + (1 - (1 - sigma) t) z.

    The latent z is the source itself, so the source has to be N(0, I).

    Reference: Lipman et al. (2023), arXiv 2210.02747, eq. 20-22

    Use: generators of one cloud (--source gaussian).

    Args:
        sigma: standard deviation left around each target at t = 1, above 0 and below 1.

    Raises:
        ConfigError: if sigma is out of its range.
    """

    sigma: float = 0.01
    needs_gaussian_source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_sigma("onesided-linear", self.sigma)
        if not 0 < self.sigma < 1:
            raise ConfigError(
                f"onesided-linear:sigma={self.sigma}: expected a number above 0 and below 1."
            )

    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        """t x1."""
        return t * x1

    def variance(self, t: Tensor) -> Tensor:
        """(1 - (1 - sigma) t)^2."""
        return (1 - (1 - self.sigma) * t) ** 2


def _check_sigma(name: str, sigma: float) -> None:
    """Refuse a negative or non-finite sigma."""
    if not 0 <= sigma < math.inf:
        raise ConfigError(f"{name}:sigma={sigma}: expected a finite number, at least 0.")
