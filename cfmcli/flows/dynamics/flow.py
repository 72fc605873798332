"""Flow: a trained field as a flow on the clock of its snapshots."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from dataclasses import field as member
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from cfmcli.data.arrays import Array
from cfmcli.data.blocks import blocks
from cfmcli.data.times import Timeline
from cfmcli.flows.dynamics.known import Known
from cfmcli.flows.dynamics.legs import journey
from cfmcli.flows.dynamics.pace import Pace, apart, paced
from cfmcli.flows.dynamics.paths import Paths
from cfmcli.flows.dynamics.solvers import Solver, State
from cfmcli.flows.fields import Field
from cfmcli.flows.objective.reading import Drift, Guide, Reading

CHUNK = 4096
TANGENTS = 2**13


@dataclass(frozen=True, eq=False)
class Pilot:
    """A few representative points of a gap, on which steps are chosen and errors are measured.

    Args:
        points: shape (m, D).
        times: the clock times between which they are carried.
        guide: condition of each point, if the flow has conditions.
    """

    points: Array
    times: tuple[float, float]
    guide: Guide | None = None


@dataclass(frozen=True)
class Flow:
    """The flow of a trained field, in flow coordinates.

    Args:
        field: the trained field, a function of inner time s, x and a condition.
        timeline: the clock tau of the snapshots.
        reading: how to interpret its heads.
        pilots: representative points of every gap, for forward or backward steps.
        bf16: whether points are carried by a network in bfloat16.
        known: prior knowledge of growth, which is not learnt.
    """

    field: Field
    timeline: Timeline
    reading: Reading = member(default_factory=Reading)
    pilots: Callable[[bool], Sequence[Pilot]] = lambda forward: ()
    bf16: bool = False
    known: Known | None = None

    def paths(
        self, x: Array, times: Sequence[float], solver: Solver, guide: Guide | None = None
    ) -> Paths:
        """Carry points through clock times, forward or backward: dx/ds = b, d log m/ds = g.

        Args:
            x: points at the first time, shape (n, D).
            times: clock times, at least one, in either direction, repeats allowed.
            solver: integrator.
            guide: the condition of each point, where the flow has conditions.

        Raises:
            ConfigError: if a time lies outside the snapshots.
            NumericsError: if the integration fails.
        """
        inner = [self.timeline.inner(time) for time in times]
        legs = journey(inner, self.timeline.segments)
        if not legs:
            still = np.zeros((len(inner), len(x))) if self.grows else None
            return Paths(np.repeat(x[None], len(inner), axis=0), np.zeros(len(x)), 0, still)
        found = {s: np.empty(x.shape) for s in inner}
        grown = {s: np.zeros(len(x)) for s in inner}
        energy = np.zeros(len(x))
        most = 0
        for rows in blocks(len(x), CHUNK):
            start = self.tensor(x[rows], solver.double)
            zero = torch.zeros(len(start), dtype=start.dtype, device=start.device)
            mass = (zero,) * self.grows
            found[inner[0]][rows], spent = x[rows], 0
            for leg in legs:
                drift = self.drift(leg.segment, guide, rows, solver.double)
                with torch.no_grad(), self._precision():
                    begin = (start, *mass, zero)
                    states, nfe = solver.solve(_Derivative(drift), begin, leg.times, len(begin) - 1)
                for s, (place, *more, _) in zip(leg.times, states, strict=True):
                    if s in found:
                        found[s][rows] = place.double().cpu().numpy()
                    if s in found and more:
                        grown[s][rows] = more[0].double().cpu().numpy()
                start, *rest, paid = states[-1]
                mass, spent = tuple(rest), spent + nfe
                energy[rows] += paid.abs().double().cpu().numpy()
            most = max(most, spent)
        masses = np.stack([grown[s] for s in inner]) if self.grows else None
        return Paths(np.stack([found[s] for s in inner]), energy, most, masses)

    def pace(self, tol: float, *, forward: bool = True, guidance: float = 1.0) -> Pace:
        """Find the cheapest fixed steps with an error over a gap below a tolerance, else dopri5.

        The result depends on the pilots alone, hence not on which points are carried together.

        Args:
            tol: allowed error, relative to the spread of the points, and in nats of mass.
            forward: the direction of time.
            guidance: guidance scale of the condition.

        Raises:
            ConfigError: if no fixed steps suffice and the network is in bfloat16.
        """
        return self._paces(tol, forward, guidance)

    @cached_property
    def _paces(self) -> Callable[[float, bool, float], Pace]:
        """Cached function that finds the pace for given arguments."""

        def found(tol: float, forward: bool, guidance: float) -> Pace:
            exact, unit = replace(self, bf16=False), self.field.scale
            return paced(lambda s: exact.piloted(s, forward, guidance), tol, unit, bf16=self.bf16)

        return lru_cache(found)

    def piloted(self, solver: Solver, forward: bool = True, guidance: float = 1.0) -> list[Array]:
        """Carry the pilots; return end points, scaled by the spread of the points, and log masses.

        Args:
            solver: integrator.
            forward: the direction of time.
            guidance: guidance scale of the condition.
        """
        found = []
        for pilot in self.pilots(forward):
            guide = pilot.guide and replace(pilot.guide, guidance=guidance)
            paths = self.paths(pilot.points, pilot.times, solver, guide)
            found.append(paths.points[-1] / self.field.scale)
            if paths.log_mass is not None:
                found.append(paths.log_mass[-1][:, None])
        return found

    def rounding(self, solver: Solver, forward: bool = True, guidance: float = 1.0) -> float:
        """Error of bfloat16 against float32 that 99 % of the pilots stay within."""
        ends = (
            replace(self, bf16=half).piloted(solver, forward, guidance) for half in (True, False)
        )
        return apart(*ends)

    def _precision(self) -> AbstractContextManager[object]:
        """Context that sets the precision of the network."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(next(self.field.parameters()).device.type, torch.bfloat16)

    @property
    def grows(self) -> bool:
        """Whether the flow has learnt growth of mass."""
        return self.reading.objective.has_growth

    @property
    def varies(self) -> bool:
        """Whether masses of points change along paths, by learnt or known growth."""
        return self.grows or self.known is not None

    def velocity(
        self, x: Array, time: float, *, forward: bool = True, guide: Guide | None = None
    ) -> Array:
        """Velocity dx/dtau in flow coordinates per unit of the clock, shape (n, D).

        Args:
            x: points, shape (n, D).
            time: clock time.
            forward: whether a snapshot belongs to the gap after it, if any, or to the one before.
            guide: the condition of each point, where the flow has conditions.
        """
        return self._rates(x, time, forward, guide)[0]

    def growth(
        self, x: Array, time: float, *, forward: bool = True, guide: Guide | None = None
    ) -> Array:
        """Growth rate d log m/dtau per unit of the clock, shape (n,); needs a flow that grows."""
        return self._rates(x, time, forward, guide)[1][:, 0]

    def _rates(
        self, x: Array, time: float, forward: bool, guide: Guide | None
    ) -> tuple[Array, ...]:
        """Velocity, shape (n, D), and growth rate, (n, 1), if any, per unit of the clock."""
        s = self.timeline.inner(time)
        segment = min(int(s), self.timeline.segments - 1)
        if not forward and s == segment and segment > 0:
            segment -= 1
        found = []
        for rows in blocks(len(x), CHUNK):
            part = self.tensor(x[rows], False)
            with torch.no_grad():
                clock = torch.full((len(part), 1), s, dtype=part.dtype, device=part.device)
                rates = self.drift(segment, guide, rows).rates(clock, part)
                found.append([rate.double().cpu().numpy() for rate in rates])
        span = self.timeline.span(segment)
        return tuple(np.concatenate(parts) / span for parts in zip(*found, strict=True))

    def drift(
        self,
        segment: int,
        guide: Guide | None = None,
        rows: slice = slice(None),
        double: bool = False,
    ) -> Drift:
        """Build velocity and score of a gap.

        Args:
            segment: number of the gap.
            guide: the condition of each point, where the flow has conditions.
            rows: rows of the points to carry.
            double: whether to compute in float64.
        """
        network = self._double if double else self.field
        if guide is not None:
            values = self.tensor(guide.of(rows).values.cpu().numpy(), double)
            guide = replace(guide, values=values)
        return Drift(network, self.reading, segment, guide)

    @cached_property
    def _double(self) -> Field:
        """A copy of the field in float64."""
        return deepcopy(self.field).double()

    def tensor(self, x: Array, double: bool) -> Tensor:
        """Convert points to a tensor on the field's device, float64 if `double`, else float32."""
        device = next(self.field.parameters()).device
        return torch.as_tensor(x, dtype=torch.float64 if double else torch.float32).to(device)


@dataclass(frozen=True)
class _Derivative:
    """d(x, energy)/ds = (b, |b|^2), with d log m/ds = g in between if mass grows."""

    drift: Drift

    def __call__(self, s: Tensor, state: State) -> State:
        """Evaluate the velocity, growth if any, and squared speed."""
        x = state[0]
        velocity, *growth = self.drift.rates(s.to(x.dtype).expand(len(x), 1), x)
        return velocity, *(g[:, 0] for g in growth), velocity.square().sum(dim=1)
