"""The Brownian bridge: a random path pinned at both ends, with constant or decreasing diffusion."""

from dataclasses import dataclass

from torch import Tensor

from cfmcli.catalog import did_you_mean
from cfmcli.errors import ConfigError
from cfmcli.flows.path.interpolants import Ends, Interpolant
from cfmcli.flows.path.latents import Latent
from cfmcli.flows.path.schedules import SCHEDULES, Schedule


@dataclass(frozen=True)
class Brownian(Interpolant):
    """Brownian bridge: x_t = x0 + (x1 - x0) F/F(1) + sqrt(F - F^2/F(1)) z, F = int_0^t sigma^2.

    With a constant sigma, x_t = (1 - t) x0 + t x1 + sigma sqrt(t (1 - t)) z. Its target velocity
    has variance of order 1 / (t (1 - t)), so t keeps a margin from the ends. Time t is that of the
    gap between two snapshots, so sigma belongs to a gap, however long.

    Reference: Tong et al. (2024), arXiv 2302.00482, eq. 19; Tong et al. (2024), arXiv 2307.03672
        (time-varying sigma)

    Use: stochastic dynamics; with entropic pairs of reg = 2 F(1) the Schrodinger bridge.

    Args:
        sigma: diffusion of the bridge at its start in flow coordinates, above 0.
        schedule: what sigma(t) does: constant, linear for sigma (1 - t), or cosine for
            sigma cos(pi t / 2).

    Raises:
        ConfigError: if an option is out of its range.
    """

    sigma: float = 1.0
    schedule: str = "constant"

    def __post_init__(self) -> None:
        _ = Latent("brownian", sigma=self.sigma)
        if self.sigma == 0:
            raise ConfigError("brownian:sigma=0 is no bridge: use linear, or a sigma above 0.")
        if self.schedule not in SCHEDULES:
            known = did_you_mean(self.schedule, SCHEDULES)
            raise ConfigError(f"brownian has no schedule '{self.schedule}'.{known}")

    def mean(self, t: Tensor, ends: Ends) -> Tensor:
        """x0 + (x1 - x0) F(t) / F(1)."""
        return ends.x0 + self._clock.passed(t) * (ends.x1 - ends.x0)

    def variance(self, t: Tensor) -> Tensor:
        """F(t) (F(1) - F(t)) / F(1)."""
        return self.total_variance * self._clock.passed(t) * self._clock.left(t)

    @property
    def total_variance(self) -> float:
        """F(1), half the regularisation of the entropic pairs that make it a Schrodinger bridge."""
        return self.sigma**2 * self._clock.total

    @property
    def _clock(self) -> Schedule:
        """The schedule F that the name selects."""
        return SCHEDULES[self.schedule]
