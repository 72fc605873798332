"""Motion: carries points along a flow itself, or by an SDE with the same marginals."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cfmcli import catalog
from cfmcli.data.arrays import Array
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.choice import AnySolver, deterministic, stochastic
from cfmcli.flows.dynamics.diffusions import diffusion
from cfmcli.flows.dynamics.displacement import Displacement
from cfmcli.flows.dynamics.flow import Flow
from cfmcli.flows.dynamics.pace import Auto, Pace
from cfmcli.flows.dynamics.paths import Paths
from cfmcli.flows.dynamics.solvers import FixedStep, Solver
from cfmcli.flows.dynamics.stochastic import Noise, wander
from cfmcli.flows.objective.reading import Guide
from cfmcli.flows.streams import Streams

Trip = tuple[float, float]
"""Clock times of start and end."""

WAYS = ("forward", "backward")
ANY = FixedStep("euler", 1)
"""Placeholder solver, when there is nothing to integrate."""


class Motion(ABC):
    """Base class of methods that carry points."""

    @abstractmethod
    def after(self, blocks: int) -> "Motion":
        """The same motion for points that come after a number of whole blocks carried elsewhere."""

    def paths(
        self,
        flow: Flow | Displacement,
        x: Array,
        times: Sequence[float],
        guide: Guide | None = None,
    ) -> Paths:
        """Carry points through clock times, with known growth if any.

        Args:
            flow: the flow.
            x: points at the first time, shape (n, D).
            times: clock times, at least one, in either direction, repeats allowed.
            guide: condition of each point, if the flow has conditions.

        Raises:
            ConfigError: if a time lies outside the snapshots, or the flow does not allow it.
            NumericsError: if the integration fails.
        """
        if not flow.known:
            return self._paths(flow, x, times, guide)
        told = guide.values.double().cpu().numpy() if guide else None
        return flow.known.along(x, times, lambda y, way: self._paths(flow, y, way, guide), told)

    @abstractmethod
    def _paths(
        self, flow: Flow | Displacement, x: Array, times: Sequence[float], guide: Guide | None
    ) -> Paths:
        """Carry points through clock times."""

    def trajectories(
        self,
        flow: Flow | Displacement,
        x: Array,
        times: Sequence[float],
        start: float,
        guide: Guide | None = None,
    ) -> Paths:
        """Carry points to clock times in any order, before or after the start.

        Args:
            flow: the flow.
            x: points at the start, shape (n, D).
            times: requested clock times.
            start: clock time of the points.
            guide: condition of each point, if the flow has conditions.

        Raises:
            ConfigError: if a time lies outside the snapshots, or the flow does not allow it.
            NumericsError: if the integration fails.
        """
        after = sorted({t for t in times if t >= start})
        before = sorted({t for t in times if t < start}, reverse=True)
        forward = self.paths(flow, x, [start, *after], guide)
        backward = self.paths(flow, x, [start, *before], guide)
        place = {t: forward.points[k + 1] for k, t in enumerate(after)}
        place |= {t: backward.points[k + 1] for k, t in enumerate(before)}
        points = np.stack([place[t] for t in times])
        energy, nfe = forward.energy + backward.energy, forward.nfe + backward.nfe
        if forward.log_mass is None or backward.log_mass is None:
            return Paths(points, energy, nfe)
        grown = dict(zip(after, forward.log_mass[1:], strict=True))
        grown |= dict(zip(before, backward.log_mass[1:], strict=True))
        return Paths(points, energy, nfe, np.stack([grown[t] for t in times]))

    def told(
        self, flow: Flow | Displacement, trips: Iterable[Trip], guidance: float = 1.0
    ) -> dict[str, Any]:
        """Report the steps chosen for trips along a flow, and what is known of their error.

        Args:
            flow: the flow.
            trips: clock times of start and end of each trip.
            guidance: guidance scale of the condition.

        Returns:
            Figures by name, one per direction if trips go both ways; empty for static pairs.
        """
        if isinstance(flow, Displacement):
            return {}
        ways = sorted({end > start for start, end in trips if start != end}, reverse=True)
        found = [self._told(flow, forward, guidance) for forward in ways]
        if len(found) < len(WAYS):
            return found[0] if found else {}
        return {
            name: {way: own[name] for way, own in zip(WAYS, found, strict=True)}
            for name in found[0]
        }

    @abstractmethod
    def _told(self, flow: Flow, forward: bool, guidance: float) -> dict[str, Any]:
        """Report the choices and known errors for one direction of time."""


@dataclass(frozen=True)
class Deterministic(Motion):
    """The flow itself: dx/dt = b(t, x).

    Args:
        solver: integrator.
    """

    solver: Solver

    def after(self, blocks: int) -> Motion:
        """The same motion: a flow treats all blocks alike."""
        return self

    def _paths(
        self, flow: Flow | Displacement, x: Array, times: Sequence[float], guide: Guide | None
    ) -> Paths:
        """Carry points along the flow."""
        return flow.paths(x, times, self.solver, guide)

    def _told(self, flow: Flow, forward: bool, guidance: float) -> dict[str, Any]:
        """Report the rounding error, if any."""
        return _rounding(flow, self.solver, forward, guidance)


@dataclass(frozen=True)
class Automatic(Motion):
    """The flow itself, with automatically chosen fixed steps.

    Args:
        auto: how the steps are chosen.
    """

    auto: Auto

    def after(self, blocks: int) -> Motion:
        """The same motion: a flow treats all blocks alike."""
        return self

    def _paths(
        self, flow: Flow | Displacement, x: Array, times: Sequence[float], guide: Guide | None
    ) -> Paths:
        """Carry points along the flow with the chosen steps."""
        if isinstance(flow, Displacement) or times[-1] == times[0]:
            return flow.paths(x, times, ANY, guide)
        pace = self._pace(flow, times[-1] > times[0], guide.guidance if guide else 1.0)
        return flow.paths(x, times, pace.solver, guide)

    def _told(self, flow: Flow, forward: bool, guidance: float) -> dict[str, Any]:
        """Report the chosen steps, their error and the rounding error."""
        pace = self._pace(flow, forward, guidance)
        error = None if math.isnan(pace.error) else pace.error
        steps = {"steps": str(pace), "step_error": error}
        return steps | _rounding(flow, pace.solver, forward, guidance)

    def _pace(self, flow: Flow, forward: bool, guidance: float) -> Pace:
        """Choose the steps for a direction of time."""
        return flow.pace(self.auto.tolerance, forward=forward, guidance=guidance)


@dataclass(frozen=True)
class Stochastic(Motion):
    """SDE with the marginals of the flow: dX = (b +- epsilon s) dt + sqrt(2 epsilon) dW.

    Args:
        noise: solver, diffusion and randomness.
    """

    noise: Noise

    def after(self, blocks: int) -> Motion:
        """The motion with the noise of the blocks that follow."""
        streams = replace(self.noise.streams, first=self.noise.streams.first + blocks)
        return Stochastic(replace(self.noise, streams=streams))

    def _paths(
        self, flow: Flow | Displacement, x: Array, times: Sequence[float], guide: Guide | None
    ) -> Paths:
        """Carry points along the SDE."""
        if isinstance(flow, Displacement):
            raise ConfigError(
                "static-ot moves observed points and has no score, so its dynamics cannot be "
                "stochastic: leave --sde out, or fit with --method sf2m."
            )
        return wander(flow, x, times, self.noise, guide)

    def _told(self, flow: Flow, forward: bool, guidance: float) -> dict[str, Any]:
        """Report nothing."""
        return {}


def motion(
    solver: AnySolver = "",
    sde: str = "",
    streams: Streams | None = None,
) -> Motion:
    """Build a motion from specs.

    Args:
        solver: integrator or its spec; empty for dopri5, or stochastic-heun with noise.
        sde: diffusion, a number or a spec; empty for the flow itself.
        streams: random streams for the noise, None for those of seed 0.

    Raises:
        ConfigError: if a spec is wrong, or the solver does not suit the motion.
    """
    if not sde:
        solver = solver or "dopri5"
        found = catalog.build("solvers", solver) if isinstance(solver, str) else solver
        if isinstance(found, Auto):
            return Automatic(found)
        return Deterministic(deterministic(solver))
    return Stochastic(
        Noise(stochastic(solver or "stochastic-heun"), diffusion(sde), streams or Streams(0))
    )


def _rounding(flow: Flow, solver: Solver, forward: bool, guidance: float) -> dict[str, float]:
    """Report the error of bfloat16, if the network runs in it."""
    return {"bf16_error": flow.rounding(solver, forward, guidance)} if flow.bf16 else {}
