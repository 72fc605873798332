"""Growing paths: a travelling Dirac, whose mass changes on the way."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cfmcli.errors import ConfigError
from cfmcli.flows.path.interpolants import Ends, Interpolant

_TINY = 1e-12
"""Keeps angles off 0, where every path is straight."""


@dataclass(frozen=True)
class TravellingDirac(Interpolant):
    """A Dirac that travels and grows at least cost: a straight line on the cone over space.

    With θ = |x1 - x0| / 2δ and the line (1 - t) √m0 + t √m1 exp(iθ) in the complex plane,
    m(t) is its squared modulus and x_t = x0 + (x1 - x0) arg / θ, blurred by sigma. Without masses,
    or with δ → ∞ and m0 = m1, it is the straight line at an even pace.

    Reference: Liero, Mielke & Savaré (2018), arXiv 1508.07941 (geodesics of the cone)

    Use: populations that grow and die, with the coupling wfr and the objective velocity+growth.

    Args:
        sigma: standard deviation of the blur in flow coordinates, at least 0.

    Raises:
        ConfigError: if sigma is negative.
    """

    sigma: float = 0.0
    needs_masses: ClassVar[bool] = True
    linear_mean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < float("inf"):
            raise ConfigError(f"wfr:sigma={self.sigma}: expected 0 or a positive number.")

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """x0 + (x1 - x0) arg / θ."""
        across, along, angle = _on_the_cone(t, ends)
        return ends.x0 + torch.atan2(across, along) / angle * (ends.x1 - ends.x0)

    def variance(self, t: Tensor) -> Tensor:
        """sigma^2."""
        return torch.full_like(t, self.sigma**2)

    def mass(self, t: Tensor, ends: Ends) -> Tensor:
        """The squared modulus, in units of the mean mass of the two ends."""
        across, along, _ = _on_the_cone(t, ends)
        return across.square() + along.square()


def _on_the_cone(t: Tensor, ends: Ends) -> tuple[Tensor, Tensor, Tensor]:
    """Imaginary and real part of (1 - t) √m0 + t √m1 exp(iθ), and θ, shape (B, 1) each."""
    one = torch.ones_like(t)
    m0, m1 = (one if m is None else m for m in (ends.m0, ends.m1))
    distance = (ends.x1 - ends.x0).norm(dim=1, keepdim=True)
    angle = distance / (2 * ends.delta) if ends.delta is not None else 0 * distance
    angle = angle.clamp_min(_TINY)
    r0, r1 = (1 - t) * m0.sqrt(), t * m1.sqrt()
    return r1 * angle.sin(), r0 + r1 * angle.cos(), angle
