"""One-sided interpolants: paths whose latent z is the source itself, and the mirror path."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cfmcli.errors import ConfigError
from cfmcli.flows.path.interpolants import Ends, Interpolant
from cfmcli.flows.path.latents import Latent


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
        if not 0 < self.sigma < 1:
            raise ConfigError(
                f"onesided-linear:sigma={self.sigma}: expected a number above 0 and below 1."
            )

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """t x1."""
        return t * ends.x1

    def variance(self, t: Tensor) -> Tensor:
        """(1 - (1 - sigma) t)^2."""
        return (1 - (1 - self.sigma) * t) ** 2


@dataclass(frozen=True)
class OneSidedTrigonometric(Interpolant):
    """From noise to a point along a quarter circle: x_t = sin(pi t / 2) x1 + cos(pi t / 2) z.

    The latent z is the source itself, so the source has to be N(0, I).

    Reference: Albergo et al. (2023), arXiv 2303.08797 (one-sided interpolants)

    Use: generators of one standardised cloud; every x_t keeps unit variance.
    """

    needs_gaussian_source: ClassVar[bool] = True

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """sin(pi t / 2) x1."""
        return (t * (math.pi / 2)).sin() * ends.x1

    def variance(self, t: Tensor) -> Tensor:
        """cos(pi t / 2)^2, computed as a sine of 1 - t, so that it is exactly 0 at t = 1."""
        return ((1 - t) * (math.pi / 2)).sin().square()


@dataclass(frozen=True)
class OneSidedDiffusion(Interpolant):
    """From noise to a point as score-based diffusion does: x_t = t x1 + sqrt(1 - t^2) z.

    The latent z is the source itself, so the source has to be N(0, I).

    Reference: Albergo et al. (2023), arXiv 2303.08797 (score-based diffusion)

    Use: generators of one standardised cloud, comparable with diffusion models.
    """

    needs_gaussian_source: ClassVar[bool] = True

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """t x1."""
        return t * ends.x1

    def variance(self, t: Tensor) -> Tensor:
        """1 - t^2."""
        return (1 - t) * (1 + t)


@dataclass(frozen=True)
class Mirror(Interpolant):
    """From a density to itself through noise: x_t = x1 + gamma_t z, gamma^2 = a g(t)^2.

    The source is another draw of the target's density, which nothing but z leads to.

    Reference: Albergo et al. (2023), arXiv 2303.08797 (mirror interpolants)

    Use: scores and blurred copies of one cloud, which is source and target at once.

    Args:
        gamma: latent g(t): sqrt of t (1 - t), quadratic t (1 - t), sine or sigmoid.
        a: scale of the latent variance, above 0.

    Raises:
        ConfigError: if an option is out of its range.
    """

    gamma: str = "sqrt"
    a: float = 1.0
    needs_mirror_source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _ = self._latent

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """x1."""
        return ends.x1 * torch.ones_like(t)

    def variance(self, t: Tensor) -> Tensor:
        """a g(t)^2."""
        return self._latent.variance(t)

    @property
    def _latent(self) -> Latent:
        """The latent noise, with its options checked."""
        return Latent("mirror", self.gamma, self.a, needed=True)
