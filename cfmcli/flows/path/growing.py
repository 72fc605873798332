"""Growing paths: a travelling Dirac whose mass changes along the way."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cfmcli.errors import ConfigError
from cfmcli.flows.path.interpolants import Ends, Interpolant, cone


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
        across, along, angle = cone(t, ends)
        return ends.x0 + torch.atan2(across, along) / angle * (ends.x1 - ends.x0)

    def variance(self, t: Tensor) -> Tensor:
        """sigma^2."""
        return torch.full_like(t, self.sigma**2)
