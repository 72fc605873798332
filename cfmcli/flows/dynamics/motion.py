"""Motion: how points are carried along a flow, by its ODE or by a diffusion of its densities."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cfmcli.data.table import Array
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.diffusions import diffusion
from cfmcli.flows.dynamics.displacement import Displacement
from cfmcli.flows.dynamics.flow import Flow, Paths
from cfmcli.flows.dynamics.sde import StochasticSolver, deterministic, stochastic
from cfmcli.flows.dynamics.solvers import Solver
from cfmcli.flows.dynamics.stochastic import Noise, wander
from cfmcli.flows.objective.reading import Guide
from cfmcli.flows.streams import Streams


class Motion(ABC):
    """A way to carry points."""

    @abstractmethod
    def after(self, blocks: int) -> "Motion":
        """The same for points that follow so many whole blocks of others, carried elsewhere."""

    @abstractmethod
    def paths(
        self,
        flow: Flow | Displacement,
        x: Array,
        times: Sequence[float],
        guide: Guide | None = None,
    ) -> Paths:
        """Carry points through clock times.

        Args:
            flow: what they are carried along.
            x: points at the first time, shape (n, D).
            times: clock times, at least one, in either direction, repeats allowed.
            guide: the condition of each point, where the flow has conditions.

        Raises:
            ConfigError: if a time lies outside the snapshots, or the flow cannot move like this.
            NumericsError: if the integration fails.
        """


@dataclass(frozen=True)
class Deterministic(Motion):
    """The flow itself: dx/dt = b(t, x).

    Args:
        solver: integrator.
    """

    solver: Solver

    def after(self, blocks: int) -> Motion:
        """The same: a flow carries every block alike."""
        return self

    def paths(
        self,
        flow: Flow | Displacement,
        x: Array,
        times: Sequence[float],
        guide: Guide | None = None,
    ) -> Paths:
        """Along the flow."""
        return flow.paths(x, times, self.solver, guide)


@dataclass(frozen=True)
class Stochastic(Motion):
    """A diffusion with the densities of the flow: dX = (b +- epsilon s) dt + sqrt(2 epsilon) dW.

    Args:
        noise: solver, diffusion and randomness.
    """

    noise: Noise

    def after(self, blocks: int) -> Motion:
        """With the noise of the blocks that follow."""
        streams = replace(self.noise.streams, first=self.noise.streams.first + blocks)
        return Stochastic(replace(self.noise, streams=streams))

    def paths(
        self,
        flow: Flow | Displacement,
        x: Array,
        times: Sequence[float],
        guide: Guide | None = None,
    ) -> Paths:
        """Along the diffusion."""
        if isinstance(flow, Displacement):
            raise ConfigError(
                "static-ot moves observed points and has no score, so its dynamics cannot be "
                "stochastic: leave --sde out, or fit with --method sf2m."
            )
        return wander(flow, x, times, self.noise, guide)


def motion(
    solver: Solver | StochasticSolver | str = "", sde: str = "", streams: Streams | None = None
) -> Motion:
    """A motion from what a user says.

    Args:
        solver: integrator or its spec; empty for dopri5, or stochastic-heun where there is noise.
        sde: diffusion, a number or a spec; empty for the flow itself.
        streams: where the noise comes from.

    Raises:
        ConfigError: if a spec is wrong, or the solver does not suit the motion.
    """
    if not sde:
        return Deterministic(deterministic(solver or "dopri5"))
    return Stochastic(
        Noise(stochastic(solver or "stochastic-heun"), diffusion(sde), streams or Streams(0))
    )
