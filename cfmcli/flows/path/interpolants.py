"""Interpolants: random paths x_t = m_t(x0, x1) + gamma_t z between paired points.

An interpolant is two formulas, the mean m_t(x0, x1) and the latent variance gamma^2(t). Their rates
are derived by automatic differentiation, so the conditional velocity
dx_t/dt = dm_t/dt + (d gamma_t/dt) z needs no formula of its own. A path whose shape is learned is
a module of its own, whose parameters ascend the objective that the field descends.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cfmcli.catalog import name_of
from cfmcli.errors import ConfigError
from cfmcli.flows.path.derivative import derivative
from cfmcli.flows.path.latents import Latent

_LEAST_MASS = 1e-12
_LEAST_ANGLE = 1e-12
"""Smallest angle θ, to avoid division by zero; at 0 every path is straight."""


@dataclass(frozen=True)
class Ends:
    """The two ends of each path of a batch.

    Args:
        x0: sources, shape (B, D).
        x1: targets, shape (B, D).
        v0: tangents dx/dt at t = 0, shape (B, D), for curved paths; None otherwise.
        v1: the same at t = 1.
        m0: mass at t = 0, shape (B, 1), where (m0 + m1) / 2 = 1; None if mass is constant.
        m1: the same at t = 1.
        delta: length at which transport costs as much as growth, with the masses: shape (B, 1), or
            (B, D) with one length per axis.
    """

    x0: Tensor
    x1: Tensor
    v0: Tensor | None = None
    v1: Tensor | None = None
    m0: Tensor | None = None
    m1: Tensor | None = None
    delta: Tensor | None = None


@dataclass(frozen=True)
class PathDraw:
    """One draw of the path for each pair of a batch.

    Args:
        t: path time, shape (B, 1), in [0, 1].
        x_t: the point on the path, shape (B, D).
        velocity: its conditional velocity dx_t/dt = dm_t/dt + (d gamma_t/dt) z, shape (B, D).
        mean_rate: dm_t/dt, shape (B, D).
        z: the standard normal latents, shape (B, D).
        gamma: their scale gamma_t, shape (B, 1), at least 0.
        gamma_rate: d gamma_t/dt, shape (B, 1).
        mass: mass m_t along the path, shape (B, 1); 1 if it is constant.
        growth: d log m_t/dt, shape (B, 1).
    """

    t: Tensor
    x_t: Tensor
    velocity: Tensor
    mean_rate: Tensor
    z: Tensor
    gamma: Tensor
    gamma_rate: Tensor
    mass: Tensor
    growth: Tensor


@dataclass(frozen=True)
class Rates:
    """The coefficients of x_t = alpha x0 + beta x1 + gamma z and their rates, each shaped as t."""

    alpha: Tensor
    beta: Tensor
    gamma: Tensor
    alpha_rate: Tensor
    beta_rate: Tensor
    gamma_rate: Tensor


class Interpolant(ABC):
    """A random path between x0 at t = 0 and x1 at t = 1.

    Attributes:
        needs_gaussian_source: whether z represents the source, which then must be N(0, I).
        needs_mirror_source: whether source and target must be one cloud; x0 is then ignored.
        needs_tangents: whether the ends need v0 and v1.
        needs_masses: whether the ends need m0, m1 and delta.
        linear_mean: whether the mean is alpha(t) x0 + beta(t) x1.
        epsilon: diffusion of the Schrodinger bridge that a learned path approximates, 0 for none.
    """

    needs_gaussian_source: ClassVar[bool] = False
    needs_mirror_source: ClassVar[bool] = False
    needs_tangents: ClassVar[bool] = False
    needs_masses: ClassVar[bool] = False
    linear_mean: ClassVar[bool] = True
    epsilon: float = 0.0

    @abstractmethod
    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """m_t(x0, x1) for t of shape (B, 1) and ends of shape (B, D)."""

    @abstractmethod
    def variance(self, t: Tensor) -> Tensor:
        """gamma^2(t), shape (B, 1)."""

    def mass(self, t: Tensor, ends: Ends) -> Tensor:
        """Mass m_t in units of the mean mass of the two ends, shape (B, 1); 1 if constant."""
        across, along, _ = cone(t, ends)
        return across.square() + along.square() if self.needs_masses else torch.ones_like(t)

    @property
    def t_margin(self) -> float:
        """Distance of training times from the ends: 1e-3 if d gamma/dt is unbounded there, else 0.

        gamma = sqrt(v) has an unbounded rate where v = 0 and dv/dt is not.
        """
        edges = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        value, rate = derivative(self.variance, edges)
        return 1e-3 if bool(((value < 1e-12) & (rate.abs() > 1e-6)).any()) else 0.0

    @property
    def has_latent(self) -> bool:
        """Whether gamma > 0 inside (0, 1), so that E[z | x_t] = -gamma grad log rho_t."""
        return bool(self.variance(torch.full((1, 1), 0.5)) > 0)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Learned parameters of the path; none for a fixed one."""
        return iter(())

    def draw(self, t: Tensor, ends: Ends, z: Tensor) -> PathDraw:
        """Draw x_t = m_t + gamma_t z and its rate.

        Args:
            t: path time, shape (B, 1), in [0, 1].
            ends: the pairs that the paths join.
            z: standard normal latents, shape (B, D).

        Returns:
            The point and its velocity. Where gamma vanishes, the latent's contribution is set to 0,
            since sqrt(gamma^2) has no derivative there.
        """
        mean, mean_rate = derivative(lambda s: self.mean(s, ends), t)
        grown = self._growth(t, ends)
        if not self.has_latent:
            none = torch.zeros_like(t)
            return PathDraw(t, mean, mean_rate, mean_rate, z, none, none, *grown)
        gamma, gamma_rate = self.latent_rates(t)
        velocity = mean_rate + gamma_rate * z
        x_t = mean + gamma * z
        return PathDraw(t, x_t, velocity, mean_rate, z, gamma, gamma_rate, *grown)

    def _growth(self, t: Tensor, ends: Ends) -> tuple[Tensor, Tensor]:
        """m_t and d log m_t/dt, shape (B, 1) each."""
        if not self.needs_masses:
            return torch.ones_like(t), torch.zeros_like(t)
        mass, rate = derivative(lambda s: self.mass(s, ends), t)
        return mass, rate / mass.clamp_min(_LEAST_MASS)

    def rates(self, t: Tensor) -> Rates:
        """Evaluate the coefficients and their rates at times t, from the mean at unit ends.

        Args:
            t: path time, shape (B, 1), in [0, 1].

        Raises:
            ConfigError: if the mean is not alpha(t) x0 + beta(t) x1.
        """
        one, zero = torch.ones_like(t), torch.zeros_like(t)
        alpha, alpha_rate = derivative(self.alpha_at, t)
        beta, beta_rate = derivative(lambda s: self.mean(s, Ends(zero, one)), t)
        gamma, gamma_rate = self.latent_rates(t)
        return Rates(alpha, beta, gamma, alpha_rate, beta_rate, gamma_rate)

    def alpha_at(self, t: Tensor) -> Tensor:
        """The coefficient of x0 at times t, shaped as t.

        Raises:
            ConfigError: if the mean is not alpha(t) x0 + beta(t) x1.
        """
        if not self.linear_mean:
            raise ConfigError(
                f"{type(self).__name__} is no combination alpha(t) x0 + beta(t) x1: use a path "
                "that is, such as linear or trigonometric."
            )
        return self.mean(t, Ends(torch.ones_like(t), torch.zeros_like(t)))

    def latent_rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """gamma and d gamma/dt at times t, shaped as t; the rate is 0 where gamma is 0."""
        variance, rate = derivative(self.variance, t)
        gamma = variance.clamp_min(0).sqrt()
        return gamma, torch.where(gamma > 0, rate / (2 * gamma), torch.zeros_like(gamma))


def cone(t: Tensor, ends: Ends) -> tuple[Tensor, Tensor, Tensor]:
    """Imaginary and real part of (1 - t) √m0 + t √m1 exp(iθ), and θ, shape (B, 1) each."""
    one = torch.ones_like(t)
    m0, m1 = (one if m is None else m for m in (ends.m0, ends.m1))
    angle = torch.zeros_like(t)
    if ends.delta is not None:
        angle = ((ends.x1 - ends.x0) / (2 * ends.delta)).norm(dim=1, keepdim=True)
    angle = angle.clamp_min(_LEAST_ANGLE)
    r0, r1 = (1 - t) * m0.sqrt(), t * m1.sqrt()
    return r1 * angle.sin(), r0 + r1 * angle.cos(), angle


@dataclass(frozen=True)
class Blurred(Interpolant):
    """Base of paths with a constant blur and a latent: gamma^2 = sigma^2 + a g(t)^2.

    Args:
        sigma: standard deviation of the blur in flow coordinates, at least 0.
        gamma: latent g(t): none, sqrt of t (1 - t), quadratic t (1 - t), sine or sigmoid.
        a: scale of the latent variance, above 0.

    Raises:
        ConfigError: if an option is out of its range.
    """

    sigma: float = 0.0
    gamma: str = "none"
    a: float = 1.0

    def __post_init__(self) -> None:
        _ = self._latent

    def variance(self, t: Tensor) -> Tensor:
        """sigma^2 + a g(t)^2."""
        return self._latent.variance(t)

    @property
    def _latent(self) -> Latent:
        """The latent noise, with its options checked."""
        return Latent(name_of("interpolants", self), self.gamma, self.a, self.sigma)


@dataclass(frozen=True)
class Linear(Blurred):
    """Straight line: x_t = (1 - t) x0 + t x1 + gamma_t z, gamma^2 = sigma^2 + a g(t)^2.

    Reference: Tong et al. (2024), arXiv 2302.00482, eq. 14; Albergo et al. (2023),
        arXiv 2303.08797 (latent)

    Use: the default; with optimal pairs the flow is straight as well.

    Args:
        sigma: standard deviation of the blur in flow coordinates, at least 0.
        gamma: latent g(t): none, sqrt of t (1 - t), quadratic t (1 - t), sine or sigmoid.
        a: scale of the latent variance, above 0.

    Raises:
        ConfigError: if an option is out of its range.
    """

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """(1 - t) x0 + t x1."""
        return ends.x0 + t * (ends.x1 - ends.x0)


@dataclass(frozen=True)
class Trigonometric(Blurred):
    """Quarter circle: x_t = cos(pi t / 2) x0 + sin(pi t / 2) x1 + gamma_t z.

    Its latent variance is gamma^2 = sigma^2 + a g(t)^2.

    Reference: Albergo & Vanden-Eijnden (2022), arXiv 2209.15571, eq. 5; Albergo et al. (2023),
        arXiv 2303.08797 (latent)

    Use: both ends standardised and independent: every x_t then keeps unit variance.

    Args:
        sigma: standard deviation of the blur in flow coordinates, at least 0.
        gamma: latent g(t): none, sqrt of t (1 - t), quadratic t (1 - t), sine or sigmoid.
        a: scale of the latent variance, above 0.

    Raises:
        ConfigError: if an option is out of its range.
    """

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """cos(pi t / 2) x0 + sin(pi t / 2) x1."""
        angle = t * (math.pi / 2)
        return angle.cos() * ends.x0 + angle.sin() * ends.x1
