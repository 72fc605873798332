"""Learned interpolants: paths trained in a min-max game against the field.

For a path I and a drift u, let r = dI/dt + (d gamma/dt - epsilon / gamma) z and let G(I, u) be the
integral over t of E [|u(t, x_t)|^2 / 2 - r . u(t, x_t)]. The field descends G, which makes
u = E[r | x_t]. There -G is half the energy of the flow, so the path ascends G. At the saddle the
flow is the optimal transport (epsilon = 0) or the Schrodinger bridge of noise sqrt(2 epsilon).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from cfmcli.errors import ConfigError
from cfmcli.flows.path.interpolants import Ends, Interpolant, PathDraw, Trigonometric
from cfmcli.flows.path.latents import Latent

DEPTH = 2


def game(draw: PathDraw, drift: Tensor, epsilon: float = 0.0) -> Tensor:
    """The value G of a batch, per dimension: E [|u|^2 / 2 - r . u] / D.

    Reference: Albergo & Vanden-Eijnden (2022), arXiv 2209.15571 (epsilon = 0); Albergo et al.
        (2023), arXiv 2303.08797, Thm 3.11

    Args:
        draw: draws of the path; gradients flow to the path's parameters.
        drift: the field u at (t, x_t), shape (B, D); at the optimum b + epsilon grad log rho_t.
        epsilon: diffusion of the bridge, at least 0.

    Returns:
        A scalar that the field minimises and the path maximises.
    """
    rate = draw.velocity
    if epsilon:
        rate = rate - epsilon / draw.gamma * draw.z
    return (drift.square() / 2 - rate * drift).mean()


class LearnedPath(nn.Module, Interpolant):
    """A path with learned weights of its ends and a learned correction.

    m_t = a(t) x0 + b(t) x1 + t (1 - t) N(t, x0, x1), a = cos(pi t / 2) + (1/M) sum_m alpha_m
    sin(pi m t), b = sin(pi t / 2) + (1/M) sum_m beta_m sin(pi m t). alpha, beta, N start at zero.

    Args:
        terms: number M of harmonics.
        correction: the network N from 2 D + 1 inputs to D outputs, or None.
        latent: the latent noise.
        epsilon: diffusion of the bridge that is sought, 0 for none.
        dim: dimension D.
    """

    linear_mean: ClassVar[bool] = False
    epsilon: float
    center: Tensor
    scale: Tensor

    def __init__(
        self,
        terms: int,
        correction: nn.Sequential | None,
        latent: Latent,
        epsilon: float,
        dim: int,
    ) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(terms))
        self.beta = nn.Parameter(torch.zeros(terms))
        self.correction = correction
        self.latent = latent
        self.epsilon = epsilon
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))

    def settle(self, center: Tensor, scale: float) -> None:
        """Set location and scale of the points, which normalise the correction's inputs and output.

        Args:
            center: mean of the points, shape (D,).
            scale: root mean square of their deviations per dimension, above 0.
        """
        self.center.copy_(center)
        self.scale.fill_(scale)

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """a(t) x0 + b(t) x1 + t (1 - t) N(t, x0, x1)."""
        orders = torch.arange(1, len(self.alpha) + 1, dtype=t.dtype, device=t.device)
        waves = (math.pi * t * orders).sin() / len(self.alpha)
        shift_a, shift_b = ((waves * c).sum(dim=1, keepdim=True) for c in (self.alpha, self.beta))
        mean = Trigonometric().mean(t, ends) + shift_a * ends.x0 + shift_b * ends.x1
        return mean if self.correction is None else mean + self._corrected(t, ends, self.correction)

    def variance(self, t: Tensor) -> Tensor:
        """Variance gamma^2(t) of the latent; 2 epsilon t (1 - t) for a bridge."""
        return self.latent.variance(t)

    def _corrected(self, t: Tensor, ends: Ends, network: nn.Sequential) -> Tensor:
        """The scaled correction t (1 - t) N(t, x0, x1)."""
        places = [(x - self.center) / self.scale for x in (ends.x0, ends.x1)]
        out: Tensor = network(torch.cat((2 * t - 1, *places), dim=1))
        return t * (1 - t) * self.scale * out


@dataclass(frozen=True)
class Learned(Interpolant):
    """A path that training bends until the flow is as short as can be.

    x_t = a(t) x0 + b(t) x1 + t (1 - t) N(t, x0, x1), where a and b are trigonometric with learned
    harmonics and N is a network. It starts as the quarter circle; all gaps share one shape.

    Reference: Albergo & Vanden-Eijnden (2022), arXiv 2209.15571 (path-length optimisation)

    Use: the transport of least energy without solving a coupling.

    Args:
        terms: learned harmonics of a and of b, at least 1.
        width: units of each of the two hidden layers of N, 0 for no N.

    Raises:
        ConfigError: if an option is out of its range.
    """

    terms: int = 4
    width: int = 64
    linear_mean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("learned", self.terms, self.width)

    def build(self, dim: int, generator: torch.Generator) -> LearnedPath:
        """Build the trainable path, whose correction starts at zero."""
        network = _correction(dim, self.width, generator)
        return LearnedPath(self.terms, network, Latent("learned"), 0.0, dim)

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """Mean before training: cos(pi t / 2) x0 + sin(pi t / 2) x1."""
        return Trigonometric().mean(t, ends)

    def variance(self, t: Tensor) -> Tensor:
        """Variance of the path: 0."""
        return torch.zeros_like(t)


@dataclass(frozen=True)
class LearnedBridge(Interpolant):
    """A noisy path that training bends until its flow is a Schrodinger bridge.

    x_t = a(t) x0 + b(t) x1 + t (1 - t) N(t, x0, x1) + sqrt(2 epsilon t (1 - t)) z, with the parts
    of `learned`. The heads play with their forward drift b + epsilon grad log rho_t.

    Reference: Albergo et al. (2023), arXiv 2303.08797, Thm 3.11

    Use: the Schrodinger bridge without solving an entropic coupling.

    Args:
        terms: learned harmonics of a and of b, at least 1.
        width: units of each of the two hidden layers of N, 0 for no N.
        epsilon: half the squared noise of the bridge over a gap, sigma^2 / 2, above 0.

    Raises:
        ConfigError: if an option is out of its range.
    """

    terms: int = 4
    width: int = 64
    epsilon: float = 0.5
    linear_mean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("learned-bridge", self.terms, self.width)
        if not 0 < self.epsilon < math.inf:
            raise ConfigError(
                f"learned-bridge:epsilon={self.epsilon}: expected a finite number above 0."
            )

    def build(self, dim: int, generator: torch.Generator) -> LearnedPath:
        """Build the trainable path, whose correction starts at zero."""
        network = _correction(dim, self.width, generator)
        return LearnedPath(self.terms, network, self._latent, self.epsilon, dim)

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """Mean before training: cos(pi t / 2) x0 + sin(pi t / 2) x1."""
        return Trigonometric().mean(t, ends)

    def variance(self, t: Tensor) -> Tensor:
        """2 epsilon t (1 - t)."""
        return self._latent.variance(t)

    @property
    def _latent(self) -> Latent:
        """The latent of a Brownian bridge of diffusion sqrt(2 epsilon)."""
        return Latent("learned-bridge", "sqrt", 2 * self.epsilon)


def _check(name: str, terms: int, width: int) -> None:
    """Raise if there are no harmonics or the width is negative."""
    if terms < 1 or width < 0:
        raise ConfigError(
            f"{name}:terms={terms},width={width}: expected at least 1 harmonic and no negative "
            "width."
        )


def _correction(dim: int, width: int, generator: torch.Generator) -> nn.Sequential | None:
    """A perceptron (t, x0, x1) -> R^D whose last layer starts at zero."""
    if not width:
        return None
    sizes = [2 * dim + 1, *[width] * DEPTH, dim]
    linear = [nn.Linear(m, n, device="meta").to_empty(device="cpu") for m, n in pairwise(sizes)]
    with torch.no_grad():
        for layer in linear:
            bound = 0.0 if layer is linear[-1] else 1 / math.sqrt(layer.in_features)
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
    return nn.Sequential(*[part for layer in linear for part in (layer, nn.GELU())][:-1])
