"""Curved interpolants: through noise, along a sphere, and along given tangents."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cfmcli.errors import ConfigError
from cfmcli.flows.path.interpolants import Blurred, Ends, Interpolant
from cfmcli.flows.path.latents import Latent


@dataclass(frozen=True)
class EncoderDecoder(Interpolant):
    """Source to noise to target: x_t = cos(pi t)^2 (x0 if t < 1/2 else x1) + gamma_t z.

    With the default latent, gamma_t = sin(pi t)^2, all of x_1/2 is N(0, I).

    Reference: Albergo et al. (2023), arXiv 2303.08797 (encoding-decoding)

    Use: a Gaussian code in the middle; source and target exchange nothing but the code.

    Args:
        gamma: latent g(t): sqrt of t (1 - t), quadratic t (1 - t), sine or sigmoid.
        a: scale of the latent variance, above 0.

    Raises:
        ConfigError: if an option is out of its range.
    """

    gamma: str = "sine"
    a: float = 1.0

    def __post_init__(self) -> None:
        _ = self._latent

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """cos(pi t)^2 x0 before the middle, cos(pi t)^2 x1 after it."""
        near = torch.where(t < 0.5, ends.x0, ends.x1)
        return (math.pi * t).cos().square() * near

    def variance(self, t: Tensor) -> Tensor:
        """a g(t)^2."""
        return self._latent.variance(t)

    @property
    def _latent(self) -> Latent:
        """The latent noise, with its options checked."""
        return Latent("encdec", self.gamma, self.a, needed=True)


@dataclass(frozen=True)
class VariancePreserving(Interpolant):
    """Along the sphere: x_t = sqrt(1 - gamma^2) (cos(pi t / 2) x0 + sin(pi t / 2) x1) + gamma z.

    Here gamma = gamma_t with gamma^2 = a g(t)^2, which has to stay below 1.

    Reference: Albergo et al. (2023), arXiv 2303.08797 (trigonometric)

    Use: both ends standardised and independent, with a latent: every x_t keeps unit variance.

    Args:
        gamma: latent g(t): none, sqrt of t (1 - t), quadratic t (1 - t), sine or sigmoid.
        a: scale of the latent variance, above 0 and below 1 / g(1/2)^2: 4 for sqrt, 16 for
            quadratic, 1 for sine, 5.01 for sigmoid.

    Raises:
        ConfigError: if an option is out of its range.
    """

    gamma: str = "sigmoid"
    a: float = 1.0

    def __post_init__(self) -> None:
        peak = self._latent.peak
        if peak >= 1:
            raise ConfigError(
                f"vp:gamma={self.gamma},a={self.a}: the latent variance reaches {peak:g}, expected "
                f"less than 1: use an a below {self.a / peak:.4g}."
            )

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """sqrt(1 - gamma^2) (cos(pi t / 2) x0 + sin(pi t / 2) x1)."""
        angle = t * (math.pi / 2)
        rest = (1 - self.variance(t)).sqrt()
        return rest * (angle.cos() * ends.x0 + angle.sin() * ends.x1)

    def variance(self, t: Tensor) -> Tensor:
        """a g(t)^2."""
        return self._latent.variance(t)

    @property
    def _latent(self) -> Latent:
        """The latent noise, with its options checked."""
        return Latent("vp", self.gamma, self.a)


@dataclass(frozen=True)
class Spline(Blurred):
    """Cubic Hermite curve from x0 with tangent v0 to x1 with tangent v1, plus gamma_t z.

    m_t = x0 + t^2 (3 - 2t) (x1 - x0) + t (1 - t)^2 v0 - t^2 (1 - t) v1, and gamma^2 =
    sigma^2 + a g(t)^2. With v0 = v1 = x1 - x0 it is the straight line.

    Reference: Rohbeck et al. (2025), ICLR (multi-marginal flow matching with splines)

    Use: three snapshots or more on a smooth course: the velocity is continuous across them.

    Args:
        sigma: standard deviation of the blur in flow coordinates, at least 0.
        gamma: latent g(t): none, sqrt of t (1 - t), quadratic t (1 - t), sine or sigmoid.
        a: scale of the latent variance, above 0.

    Raises:
        ConfigError: if an option is out of its range.
    """

    needs_tangents: ClassVar[bool] = True
    linear_mean: ClassVar[bool] = False

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """The Hermite cubic.

        Raises:
            ConfigError: if the ends have no tangents.
        """
        return _hermite(t, ends, 1.0)


@dataclass(frozen=True)
class Bent(Blurred):
    """Straight paths bent as the course of the snapshots' means is, plus gamma_t z.

    m_t = x0 + t c + bend t (1 - t) ((1 - t) (v0 - c) - t (v1 - c)) with the chord c = x1 - x0: a
    cubic Hermite curve whose tangents depart from the chord as the natural spline through the
    snapshots' means does, at most by 3/4 of its length; gamma^2 = sigma^2 + a g(t)^2. Between
    two snapshots alone it is the straight line.

    Reference: Rohbeck et al. (2025), ICLR (multi-marginal flow matching with splines); de Boor
        (1978), A Practical Guide to Splines, ch. IV

    Use: three snapshots or more, and states wanted at times between them. A bend that is left out
        is chosen by `cfm fit`: each inner snapshot is predicted from the others without a network.
        So is a sigma: 0.3 of the distance to the fifth neighbour over sqrt(D), at most 0.1 of the
        spread of all points.

    Args:
        bend: how much of the departure, 0 for straight lines, at least 0.
        sigma: standard deviation of the blur in flow coordinates, at least 0.
        gamma: latent g(t): none, sqrt of t (1 - t), quadratic t (1 - t), sine or sigmoid.
        a: scale of the latent variance, above 0.

    Raises:
        ConfigError: if an option is out of its range.
    """

    bend: float = 1.0
    needs_tangents: ClassVar[bool] = True
    linear_mean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.bend < math.inf:
            raise ConfigError(f"bent:bend={self.bend}: expected a finite number, at least 0.")

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """The straight line plus the scaled departure.

        Raises:
            ConfigError: if the ends have no tangents.
        """
        return _hermite(t, ends, self.bend)


@dataclass(frozen=True)
class Dense(Blurred):
    """Paths that leave the straight line to keep to where points are, plus gamma_t z.

    m_t = x0 + t c + amplitude t (1 - t) ((1 - t) u - t v) with the chord c = x1 - x0, where the
    network (u, v) of both ends minimises E |dm_t/dt|^2 / (p(m_t) + 1/10) at full amplitude, p the
    density of both snapshots over its mean at their points; gamma^2 = sigma^2 + a g(t)^2.

    Reference: Kapuśniak et al. (2024), arXiv 2405.14780 (metric flow matching); Arvanitidis, Hansen
        & Hauberg (2016), arXiv 1606.02518 (metrics of the density)

    Use: two snapshots on a curved or branching sheet of points, and states wanted between them.
        `--method auto` takes it where no more than two are kept.

    Args:
        amplitude: how much of the departure, 0 for straight lines, at least 0: what is best at
            full amplitude for the two snapshots goes too far for those between them.
        sigma: standard deviation of the blur in flow coordinates, at least 0.
        gamma: latent g(t): none, sqrt of t (1 - t), quadratic t (1 - t), sine or sigmoid.
        a: scale of the latent variance, above 0.

    Raises:
        ConfigError: if an option is out of its range.
    """

    amplitude: float = 0.5
    needs_tangents: ClassVar[bool] = True
    linear_mean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.amplitude < math.inf:
            raise ConfigError(
                f"density:amplitude={self.amplitude}: expected a finite number, at least 0."
            )

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """The straight line plus the scaled departure that follows the density.

        Raises:
            ConfigError: if the ends have no tangents.
        """
        return _hermite(t, ends, self.amplitude)


def _hermite(t: Tensor, ends: Ends, bend: float) -> Tensor:
    """The straight line, plus `bend` times the departure of the Hermite cubic from it."""
    if ends.v0 is None or ends.v1 is None:
        raise ConfigError(
            "Curved paths need the tangents v0 and v1 at both ends, got none: use --interpolant "
            "linear."
        )
    chord = ends.x1 - ends.x0
    off = (1 - t) * (ends.v0 - chord) - t * (ends.v1 - chord)
    return ends.x0 + t * chord + bend * t * (1 - t) * off
