"""Diffusions: the noise level of stochastic dynamics along a gap, chosen after training.

With velocity b and score s of a path of densities rho_t, dX = (b + epsilon s) dt + sqrt(2 epsilon)
dW forward in time, and dX = (b - epsilon s) dt + sqrt(2 epsilon) dW backward, keep the same rho_t
for every epsilon(t) >= 0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.errors import ConfigError

Epsilon = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Diffusion(ABC):
    """Base class of diffusion levels epsilon(t) = level shape(t) over one gap, t in [0, 1].

    Args:
        level: scale of epsilon, squared flow coordinates per gap, at least 0.

    Raises:
        ConfigError: if level is negative or not finite.
    """

    level: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.level < math.inf:
            name = catalog.name_of("diffusions", self)
            raise ConfigError(f"{name}:level={self.level}: expected a finite number, at least 0.")

    @abstractmethod
    def shape(self, t: Tensor, gamma: Tensor) -> Tensor:
        """epsilon / level at times t where the path has latent scale gamma, shaped as t."""

    def epsilon(self, t: Tensor, gamma: Tensor) -> Tensor:
        """The diffusion level at times t, at least 0.

        Args:
            t: path time, in [0, 1].
            gamma: scale of the path's latent at t, shaped as t, at least 0.
        """
        return self.level * self.shape(t, gamma)

    def along(self, variance: Callable[[Tensor], Tensor]) -> Epsilon:
        """The function t -> epsilon(t) along a path.

        Args:
            variance: the path's latent variance gamma^2(t).
        """
        return lambda t: self.epsilon(t, variance(t).clamp_min(0).sqrt())


@dataclass(frozen=True)
class Constant(Diffusion):
    """The same noise at all times: epsilon = level.

    Reference: Albergo et al. (2023), arXiv 2303.08797 (forward and backward SDEs)

    Use: the default; along brownian:sigma=S, level = S^2 / 2 is the bridge's own noise.

    Args:
        level: epsilon, squared flow coordinates per gap, at least 0.
    """

    def shape(self, t: Tensor, gamma: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)


@dataclass(frozen=True)
class Bridge(Diffusion):
    """Noise in the middle of a gap, none at its ends: epsilon = 4 level t (1 - t).

    Reference: Albergo et al. (2023), arXiv 2303.08797 (forward and backward SDEs)

    Use: between two clouds, whose own scores are the least well learnt.

    Args:
        level: epsilon at t = 1/2, its peak, squared flow coordinates per gap, at least 0.
    """

    def shape(self, t: Tensor, gamma: Tensor) -> Tensor:
        """4 t (1 - t)."""
        return 4 * t * (1 - t)


@dataclass(frozen=True)
class Decreasing(Diffusion):
    """Much noise early, none at the end: epsilon = level (1 - t).

    Reference: Ma et al. (2024), arXiv 2401.08740 (choices of the diffusion coefficient)

    Use: generators: early errors are forgotten, and late details are not blurred.

    Args:
        level: epsilon at t = 0, squared flow coordinates per gap, at least 0.
    """

    def shape(self, t: Tensor, gamma: Tensor) -> Tensor:
        """1 - t."""
        return 1 - t


@dataclass(frozen=True)
class Gamma(Diffusion):
    """Noise in step with the path's own latent: epsilon = level gamma(t).

    The score is -eta / gamma with the denoiser eta = E[z | x_t], so the drift gains -level eta,
    which is bounded however gamma vanishes: alpha(t) z of a one-sided path included.

    Reference: Albergo et al. (2023), arXiv 2303.08797 (one-sided interpolants: epsilon
        proportional to alpha near t = 1)

    Use: scores learnt by denoising, and one-sided paths.

    Args:
        level: epsilon / gamma, flow coordinates per gap, at least 0.
    """

    def shape(self, t: Tensor, gamma: Tensor) -> Tensor:
        """gamma."""
        return gamma


def diffusion(text: str) -> Diffusion:
    """Build a diffusion from its spec or a bare number: "0.5" is "constant:level=0.5".

    Raises:
        ConfigError: if the spec is wrong, or the level negative or not finite.
    """
    try:
        level = float(text)
    except ValueError:
        found: Diffusion = catalog.build("diffusions", text)
        return found
    return Constant(level)
