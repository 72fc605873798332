"""Stochastic processes whose densities are known in closed form, and how they are weighed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cfmcli.flows.dynamics.diffusions import diffusion
from cfmcli.flows.dynamics.estimators import Estimator, Means
from cfmcli.flows.dynamics.likelihood import Exact
from cfmcli.flows.dynamics.sde import Process
from cfmcli.flows.dynamics.sde_likelihood import Estimate, log_density
from cfmcli.flows.dynamics.solvers import Adaptive
from tests import oracles
from tests.oracles import Oracle


@dataclass(frozen=True)
class Line:
    """N(-1, 0.6) to N(1.5, 0.3) along a Brownian bridge: a fast Oracle in one dimension."""

    def path(self, t: float) -> oracles.Coefficients:
        """Those of the bridge."""
        return oracles.brownian(1.0)(t)

    def moments(self, t: float) -> tuple[float, float]:
        """m and C."""
        return 2.5 * t - 1, 0.6 * (1 - t) ** 2 + 0.3 * t**2 + t * (1 - t)

    def velocity(self, t: float, x: Tensor) -> Tensor:
        """m' + C' / (2 C) (x - m)."""
        m, c = self.moments(t)
        return 2.5 + (-1.2 * (1 - t) + 0.6 * t + 1 - 2 * t) / (2 * c) * (x - m)

    def score(self, t: float, x: Tensor) -> Tensor:
        """(m - x) / C."""
        m, c = self.moments(t)
        return (m - x) / c

    def log_prob(self, t: float, x: Tensor) -> Tensor:
        """log N(x; m, C)."""
        m, c = self.moments(t)
        return -0.5 * ((x[:, 0] - m) ** 2 / c + math.log(2 * math.pi * c))


Known = Oracle | Line
Score = Callable[[Known, float, Tensor], Tensor]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def means(seed: int = 0) -> Means:
    return Means(Exact(), Adaptive("dopri8", 1e-7, 1e-7), seeded(seed))


def exact(oracle: Known, t: float, x: Tensor) -> Tensor:
    return oracle.score(t, x)


def weak(oracle: Known, t: float, x: Tensor) -> Tensor:
    """A score that is too small."""
    return 0.7 * oracle.score(t, x)


def twisted(oracle: Known, t: float, x: Tensor) -> Tensor:
    """A score that is the gradient of nothing."""
    return 0.8 * oracle.score(t, x) + 0.3 * torch.sin(x).flip(1) * torch.tensor([1.0, -1.0]).to(x)


def process(oracle: Known, level: str, score: Score = exact, sign: int = 1) -> Process:
    """A process with the drift b + sign epsilon s of the closed form, split by another score.

    Its equation in the direction of the sign is the oracle's, so its density is known.
    """
    epsilon = diffusion(level).along(lambda t: torch.full_like(t, oracle.path(float(t)).v))

    def control(s: Tensor, x: Tensor) -> Tensor:
        return score(oracle, float(s.ravel()[0]), x)

    def velocity(s: Tensor, x: Tensor) -> Tensor:
        t = float(s.ravel()[0])
        push = float(epsilon(torch.full((1, 1), t, dtype=torch.float64)))
        return oracle.velocity(t, x) + sign * push * (oracle.score(t, x) - score(oracle, t, x))

    return Process(velocity, control, epsilon)


def density(estimator: Estimator, oracle: Known, made: Process, x: Tensor, end: int) -> Estimate:
    """The density at one end of the gap, from the one at the other end."""
    leg = (made, (1.0 - end, float(end)))
    return log_density(
        estimator, lambda _: [leg], lambda y: oracle.log_prob(float(end), y), x, means()
    )
