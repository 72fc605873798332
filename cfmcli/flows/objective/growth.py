"""An objective with a growth head, for mass that moves, grows and shrinks."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cfmcli.flows.objective.objectives import Objective, Outputs, Place, error
from cfmcli.flows.path.interpolants import PathDraw


@dataclass(frozen=True)
class VelocityGrowth(Objective):
    """Velocity and growth rate, weighted by mass: E m |b - dx/dt|^2 / D + E m (g - d log m/dt)^2.

    The minimisers solve d rho/dt + div(rho b) = g rho between the two masses. On a path of constant
    mass the first term is the loss of the velocity alone, and g = 0.

    Reference: Chizat et al. (2018), arXiv 1506.06430 (continuity equation with source); Tong et
        al. (2024), arXiv 2302.00482, Thm 3.2 (conditional regression)

    Use: populations that grow and die, with the coupling and the path wfr.

    Args:
        antithetic: draw each path with z and -z, where the rate of its latent is not bounded.
    """

    antithetic: bool = True
    heads: ClassVar[tuple[str, ...]] = ("velocity", "growth")
    has_growth: ClassVar[bool] = True

    def losses(self, outputs: Outputs, draw: PathDraw) -> dict[str, Tensor]:
        """Mass-weighted mean squared errors of both heads."""
        return {
            "velocity": error(outputs["velocity"], draw.velocity, draw.mass),
            "growth": error(outputs["growth"], draw.growth, draw.mass),
        }

    def lengths(self) -> dict[str, int]:
        """Powers of length of the losses."""
        return {"velocity": 2, "growth": 0}

    def velocity(self, outputs: Outputs, place: Place) -> Tensor:
        """The velocity head."""
        return outputs["velocity"]

    def score(self, outputs: Outputs, place: Place) -> None:
        """None: this objective has no score."""
