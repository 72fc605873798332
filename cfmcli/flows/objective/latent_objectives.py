"""Objectives that also regress on the path's latent, which gives the score."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cfmcli.flows.objective.objectives import Objective, Outputs, Place, error
from cfmcli.flows.path.interpolants import PathDraw


@dataclass(frozen=True)
class VelocityScore(Objective):
    """Velocity and score: the loss of the velocity plus E |gamma s + z|^2 / D.

    Without weighting the second term is E (|s|^2 + 2 s . z / gamma) / D. Both are minimised by
    s = -E[z | x_t] / gamma = grad log rho_t.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 2.2; Tong et al. (2024),
        arXiv 2307.03672 (weighting)

    Use: stochastic dynamics of any diffusion.

    Args:
        antithetic: draw each path with z and -z.
        weighted: weigh the score's error by gamma^2, which keeps it finite at the ends.
    """

    antithetic: bool = True
    weighted: bool = True
    heads: ClassVar[tuple[str, ...]] = ("velocity", "score")
    has_score: ClassVar[bool] = True
    needs_latent: ClassVar[bool] = True
    margin: ClassVar[float] = 1e-3

    def losses(self, outputs: Outputs, draw: PathDraw) -> dict[str, Tensor]:
        """Losses of both heads."""
        return {
            "velocity": error(outputs["velocity"], draw.velocity),
            "score": _score_error(outputs["score"], draw, self.weighted),
        }

    def lengths(self) -> dict[str, int]:
        """Powers of length of the losses."""
        return {"velocity": 2, "score": 0 if self.weighted else -2}

    def velocity(self, outputs: Outputs, place: Place) -> Tensor:
        """The velocity head."""
        return outputs["velocity"]

    def score(self, outputs: Outputs, place: Place) -> Tensor:
        """The score head."""
        return outputs["score"]


@dataclass(frozen=True)
class VelocityDenoiser(Objective):
    """Velocity and denoiser: the loss of the velocity plus E |eta - z|^2 / D.

    The denoiser eta = E[z | x_t] stays bounded where the score s = -eta / gamma does not.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 2.2

    Use: stochastic dynamics of any diffusion; the best of the four pairs of heads.

    Args:
        antithetic: draw each path with z and -z.
    """

    antithetic: bool = True
    heads: ClassVar[tuple[str, ...]] = ("velocity", "denoiser")
    has_score: ClassVar[bool] = True
    needs_latent: ClassVar[bool] = True
    margin: ClassVar[float] = 1e-3

    def losses(self, outputs: Outputs, draw: PathDraw) -> dict[str, Tensor]:
        """Mean squared errors of both heads."""
        return {
            "velocity": error(outputs["velocity"], draw.velocity),
            "denoiser": error(outputs["denoiser"], draw.z),
        }

    def lengths(self) -> dict[str, int]:
        """Powers of length of the losses."""
        return {"velocity": 2, "denoiser": 0}

    def velocity(self, outputs: Outputs, place: Place) -> Tensor:
        """The velocity head."""
        return outputs["velocity"]

    def score(self, outputs: Outputs, place: Place) -> Tensor:
        """-eta / gamma."""
        return -outputs["denoiser"] / place.latent[0]


@dataclass(frozen=True)
class MeanVelocityScore(Objective):
    """Mean velocity and score: E |v - dm_t/dt|^2 / D plus the loss of the score.

    v = E[dm_t/dt | x_t] leaves the latent's share out, so b = v - gamma (d gamma/dt) s.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 2.2

    Use: to compare; where v is easier to learn than b.

    Args:
        antithetic: draw each path with z and -z.
        weighted: weigh the score's error by gamma^2, which keeps it finite at the ends.
    """

    antithetic: bool = True
    weighted: bool = True
    heads: ClassVar[tuple[str, ...]] = ("mean_velocity", "score")
    has_score: ClassVar[bool] = True
    needs_latent: ClassVar[bool] = True
    margin: ClassVar[float] = 1e-3

    def losses(self, outputs: Outputs, draw: PathDraw) -> dict[str, Tensor]:
        """Losses of both heads."""
        return {
            "mean_velocity": error(outputs["mean_velocity"], draw.mean_rate),
            "score": _score_error(outputs["score"], draw, self.weighted),
        }

    def lengths(self) -> dict[str, int]:
        """Powers of length of the losses."""
        return {"mean_velocity": 2, "score": 0 if self.weighted else -2}

    def velocity(self, outputs: Outputs, place: Place) -> Tensor:
        """v - gamma (d gamma/dt) s."""
        gamma, rate = place.latent
        return outputs["mean_velocity"] - gamma * rate * outputs["score"]

    def score(self, outputs: Outputs, place: Place) -> Tensor:
        """The score head."""
        return outputs["score"]


@dataclass(frozen=True)
class MeanVelocityDenoiser(Objective):
    """Mean velocity and denoiser: E |v - dm_t/dt|^2 / D plus E |eta - z|^2 / D.

    Both targets are bounded on every path; b = v + (d gamma/dt) eta and s = -eta / gamma.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 2.2

    Use: latents that are steep at the ends, where the velocity's own target is not bounded.

    Args:
        antithetic: draw each path with z and -z.
    """

    antithetic: bool = True
    heads: ClassVar[tuple[str, ...]] = ("mean_velocity", "denoiser")
    has_score: ClassVar[bool] = True
    needs_latent: ClassVar[bool] = True
    margin: ClassVar[float] = 1e-3

    def losses(self, outputs: Outputs, draw: PathDraw) -> dict[str, Tensor]:
        """Mean squared errors of both heads."""
        return {
            "mean_velocity": error(outputs["mean_velocity"], draw.mean_rate),
            "denoiser": error(outputs["denoiser"], draw.z),
        }

    def lengths(self) -> dict[str, int]:
        """Powers of length of the losses."""
        return {"mean_velocity": 2, "denoiser": 0}

    def velocity(self, outputs: Outputs, place: Place) -> Tensor:
        """v + (d gamma/dt) eta."""
        return outputs["mean_velocity"] + place.latent[1] * outputs["denoiser"]

    def score(self, outputs: Outputs, place: Place) -> Tensor:
        """-eta / gamma."""
        return -outputs["denoiser"] / place.latent[0]


@dataclass(frozen=True)
class Denoiser(Objective):
    """Denoiser alone, of a path x_t = gamma z + beta x1 from the noise itself: E |eta - z|^2 / D.

    b = (d beta/dt / beta) x + (d gamma/dt - gamma (d beta/dt) / beta) eta, and s = -eta / gamma.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 3.2 (one-sided interpolants)

    Use: generators of one cloud by one-sided paths; close to diffusion models.

    Args:
        antithetic: draw each path with z and -z.
    """

    antithetic: bool = True
    heads: ClassVar[tuple[str, ...]] = ("denoiser",)
    has_score: ClassVar[bool] = True
    needs_latent: ClassVar[bool] = True
    needs_normal: ClassVar[bool] = True
    margin: ClassVar[float] = 1e-2

    def losses(self, outputs: Outputs, draw: PathDraw) -> dict[str, Tensor]:
        """Mean squared error of the denoiser."""
        return {"denoiser": error(outputs["denoiser"], draw.z)}

    def lengths(self) -> dict[str, int]:
        """Powers of length of the losses."""
        return {"denoiser": 0}

    def velocity(self, outputs: Outputs, place: Place) -> Tensor:
        """Rate of gamma z + beta x1 with z and x1 replaced by their conditional means given x_t."""
        rates = place.rates
        growth = rates.beta_rate / rates.beta
        return growth * place.x + (rates.gamma_rate - rates.gamma * growth) * outputs["denoiser"]

    def score(self, outputs: Outputs, place: Place) -> Tensor:
        """-eta / gamma."""
        return -outputs["denoiser"] / place.latent[0]


def _score_error(score: Tensor, draw: PathDraw, weighted: bool) -> Tensor:
    """Loss of the score head, up to a constant if not weighted."""
    if weighted:
        return (draw.gamma * score + draw.z).square().mean()
    return (score.square() + 2 * score * draw.z / draw.gamma).mean()
