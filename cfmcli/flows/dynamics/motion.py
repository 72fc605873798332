"""Motion: how points are carried along a flow, by its ODE or by a diffusion of its densities."""

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
"""Clock times, from where to where."""

WAYS = ("forward", "backward")
ANY = FixedStep("euler", 1)
"""A solver where nothing is to be solved."""


class Motion(ABC):
    """A way to carry points."""

    @abstractmethod
    def after(self, blocks: int) -> "Motion":
        """The same for points that follow so many whole blocks of others, carried elsewhere."""

    def paths(
        self,
        flow: Flow | Displacement,
        x: Array,
        times: Sequence[float],
        guide: Guide | None = None,
    ) -> Paths:
        """Carry points through clock times, with what is known to come of them.

        Args:
            flow: what they are carried along.
            x: points at the first time, shape (n, D).
            times: clock times, at least one, in either direction, repeats allowed.
            guide: the condition of each point, where the flow has conditions.

        Raises:
            ConfigError: if a time lies outside the snapshots, or the flow cannot move like this.
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
            flow: what they are carried along.
            x: points at the start, shape (n, D).
            times: clock times asked for.
            start: clock time of the points.
            guide: the condition of each point, where the flow has conditions.

        Raises:
            ConfigError: if a time lies outside the snapshots, or the flow cannot move like this.
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
        """What was chosen for trips along a flow, and what is known of the error.

        Args:
            flow: what points are carried along.
            trips: clock times from where to where.
            guidance: weight of the condition.

        Returns:
            Figures by name, of trips forward and backward those of either; none of static pairs.
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
        """What was chosen and is known of one direction of time."""


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

    def _paths(
        self, flow: Flow | Displacement, x: Array, times: Sequence[float], guide: Guide | None
    ) -> Paths:
        """Along the flow."""
        return flow.paths(x, times, self.solver, guide)

    def _told(self, flow: Flow, forward: bool, guidance: float) -> dict[str, Any]:
        """What rounding does."""
        return _rounding(flow, self.solver, forward, guidance)


@dataclass(frozen=True)
class Automatic(Motion):
    """The flow itself, by as many fixed steps as it needs.

    Args:
        auto: how many those are.
    """

    auto: Auto

    def after(self, blocks: int) -> Motion:
        """The same: a flow carries every block alike."""
        return self

    def _paths(
        self, flow: Flow | Displacement, x: Array, times: Sequence[float], guide: Guide | None
    ) -> Paths:
        """Along the flow."""
        if isinstance(flow, Displacement) or times[-1] == times[0]:
            return flow.paths(x, times, ANY, guide)
        pace = self._pace(flow, times[-1] > times[0], guide.guidance if guide else 1.0)
        return flow.paths(x, times, pace.solver, guide)

    def _told(self, flow: Flow, forward: bool, guidance: float) -> dict[str, Any]:
        """The steps that were chosen, their error, and what rounding does."""
        pace = self._pace(flow, forward, guidance)
        error = None if math.isnan(pace.error) else pace.error
        steps = {"steps": str(pace), "step_error": error}
        return steps | _rounding(flow, pace.solver, forward, guidance)

    def _pace(self, flow: Flow, forward: bool, guidance: float) -> Pace:
        """The steps for a direction of time."""
        return flow.pace(self.auto.tolerance, forward=forward, guidance=guidance)


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

    def _paths(
        self, flow: Flow | Displacement, x: Array, times: Sequence[float], guide: Guide | None
    ) -> Paths:
        """Along the diffusion."""
        if isinstance(flow, Displacement):
            raise ConfigError(
                "static-ot moves observed points and has no score, so its dynamics cannot be "
                "stochastic: leave --sde out, or fit with --method sf2m."
            )
        return wander(flow, x, times, self.noise, guide)

    def _told(self, flow: Flow, forward: bool, guidance: float) -> dict[str, Any]:
        """Nothing."""
        return {}


def motion(
    solver: AnySolver = "",
    sde: str = "",
    streams: Streams | None = None,
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
        solver = solver or "dopri5"
        found = catalog.build("solvers", solver) if isinstance(solver, str) else solver
        if isinstance(found, Auto):
            return Automatic(found)
        return Deterministic(deterministic(solver))
    return Stochastic(
        Noise(stochastic(solver or "stochastic-heun"), diffusion(sde), streams or Streams(0))
    )


def _rounding(flow: Flow, solver: Solver, forward: bool, guidance: float) -> dict[str, float]:
    """The error of a network in bfloat16, where it is."""
    return {"bf16_error": flow.rounding(solver, forward, guidance)} if flow.bf16 else {}
