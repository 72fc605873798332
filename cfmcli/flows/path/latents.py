"""Latents: the variance gamma^2(t) of the latent noise along a path."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cfmcli.catalog import did_you_mean
from cfmcli.errors import ConfigError

STEEPNESS = 10.0


def _sigmoid(t: Tensor) -> Tensor:
    """g^2 for g = sigmoid(u + 1) - sigmoid(u - 1) minus its end value, u = f (t - 1/2), f = 10.

    As sigmoid(u + 1) - sigmoid(u - 1) = sinh 1 / (cosh u + cosh 1), the difference of two such
    terms is a product, which keeps full precision near the ends.
    """
    f, one = STEEPNESS, math.cosh(1)
    top = 2 * math.sinh(1) * torch.sinh(f / 2 * t) * torch.sinh(f / 2 * (1 - t))
    bottom = (torch.cosh(f * (t - 0.5)) + one) * (math.cosh(f / 2) + one)
    return (top / bottom).square()


_SQUARES: dict[str, Callable[[Tensor], Tensor]] = {
    "none": torch.zeros_like,
    "sqrt": lambda t: t * (1 - t),
    "quadratic": lambda t: (t * (1 - t)).square(),
    "sine": lambda t: torch.sin(math.pi * t).pow(4),
    "sigmoid": _sigmoid,
}


@dataclass(frozen=True)
class Latent:
    """Constant blur plus latent noise that vanishes at both ends: gamma^2(t) = sigma^2 + a g(t)^2.

    Reference: Albergo et al. (2023), arXiv 2303.08797 (choices of gamma)

    Args:
        owner: name of the path, for error messages.
        gamma: shape g: none, sqrt for sqrt(t (1 - t)), quadratic for t (1 - t), sine for
            sin(pi t)^2, sigmoid for a difference of sigmoids.
        a: scale of the latent variance, above 0.
        sigma: standard deviation of the constant blur, at least 0.
        needed: whether the path requires a latent.

    Raises:
        ConfigError: if an option is out of its range.
    """

    owner: str
    gamma: str = "none"
    a: float = 1.0
    sigma: float = 0.0
    needed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < math.inf:
            raise ConfigError(
                f"{self.owner}:sigma={self.sigma}: expected a finite number, at least 0."
            )
        if not 0 < self.a < math.inf:
            raise ConfigError(f"{self.owner}:a={self.a}: expected a finite number above 0.")
        if self.gamma not in _SQUARES:
            known = did_you_mean(self.gamma, _SQUARES)
            raise ConfigError(f"{self.owner} has no latent '{self.gamma}'.{known}")
        if self.needed and self.gamma == "none":
            raise ConfigError(
                f"{self.owner}:gamma=none is no path: choose sqrt, quadratic, sine or sigmoid."
            )

    def variance(self, t: Tensor) -> Tensor:
        """sigma^2 + a g(t)^2, shaped as t."""
        return self.sigma**2 + self.a * _SQUARES[self.gamma](t)

    @property
    def peak(self) -> float:
        """Largest variance; every g has its maximum at t = 1/2."""
        return float(self.variance(torch.tensor(0.5, dtype=torch.float64)))
