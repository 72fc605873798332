"""Source density given by a second flow, trained from N(0, I) to the source cloud."""

from dataclasses import dataclass

import numpy as np
import torch

from cfmcli.data.arrays import Array
from cfmcli.data.times import Timeline
from cfmcli.errors import ConfigError
from cfmcli.flows.bases import Base
from cfmcli.flows.coupling.couplings import Exact
from cfmcli.flows.coupling.ends import NormalSource
from cfmcli.flows.coupling.pools import PooledPairs
from cfmcli.flows.densities import Density, even_normals, standard_normal
from cfmcli.flows.dynamics.estimates import estimate
from cfmcli.flows.dynamics.estimators import Means, Ode
from cfmcli.flows.dynamics.flow import Flow
from cfmcli.flows.dynamics.likelihood import Auto
from cfmcli.flows.dynamics.solvers import Adaptive
from cfmcli.flows.dynamics.stochastic import STILL
from cfmcli.flows.fields import MLP, Shape
from cfmcli.flows.objective.objectives import Velocity
from cfmcli.flows.path.interpolants import Linear
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.schedule import Schedule, weight_decay
from cfmcli.flows.training.tasks import Task
from cfmcli.flows.training.trainer import Trainer

POOL = 2_000
BATCH, RATE, AVERAGE = 256, 1e-2, 0.99
CLOCK = Timeline((0.0, 1.0), ("normal", "source"))


@dataclass(frozen=True)
class FlowDensity:
    """Density of the pushforward of N(0, I) under a flow, after centring and scaling.

    log p(x) = log N(x_0) - integral of div b - D log scale, x_0 flowing to (x - center) / scale.

    Args:
        flow: from N(0, I) to the standardised cloud.
        center: shape (D,).
        scale: above 0.
    """

    flow: Flow
    center: Array
    scale: float

    @property
    def name(self) -> str:
        """Name of the density in outputs."""
        return "flow"

    def log_prob(self, x: Array) -> Array:
        """Log density in nats at points of shape (n, D), shape (n,)."""
        placed = (x - self.center) / self.scale
        means = Means(Auto(), Adaptive("dopri5"), torch.Generator())
        normal = standard_normal(x.shape[1])
        found = estimate(self.flow, placed, (1.0, 0.0), (Ode(), STILL, means), normal)
        return np.asarray(found.values - x.shape[1] * np.log(self.scale))

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n points by carrying normal samples along the flow."""
        start = even_normals(n, len(self.center), rng)
        end = self.flow.paths(start, (0.0, 1.0), Adaptive("dopri5")).points[-1]
        return np.asarray(self.center + self.scale * end)


@dataclass(frozen=True)
class FlowBase(Base):
    """A second flow, from N(0, I) to the source cloud, by optimal-transport flow matching.

    Reference: Tong et al. (2024), arXiv 2302.00482, Prop. 3.4

    Use: sources of thousands of points whose shape no mixture of Gaussians meets; it takes as
        long as a fit.

    Args:
        steps: optimiser steps, at least 1.

    Raises:
        ConfigError: if steps is below 1.
    """

    steps: int = 2000

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"flow:steps={self.steps}: expected at least 1.")

    def fit(self, x: Array, weights: Array, rng: np.random.Generator) -> Density:
        """Train the flow on points of shape (n, D) with weights of shape (n,), sum 1."""
        center = weights @ x
        scale = float(np.sqrt((weights @ (x - center) ** 2).mean())) or 1.0
        placed = (x - center) / scale
        streams = Streams(int(rng.integers(2**31)))
        dim = x.shape[1]
        field = MLP().build(("velocity",), Shape(dim), streams.torch("weights"))
        affordable = Exact().whole(POOL, len(x)) or Exact()
        pairs = PooledPairs(NormalSource(dim), placed, weights, affordable, POOL)
        task = Task([pairs], Linear(), Velocity())
        schedule = Schedule(self.steps, BATCH, RATE, AVERAGE, weight_decay=weight_decay([len(x)]))
        trainer = Trainer(field, task, schedule, streams)
        for _ in trainer.run():
            pass
        trainer.finish()
        return FlowDensity(Flow(field.eval(), CLOCK), center, scale)
