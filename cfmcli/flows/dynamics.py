"""Dynamics: a trained field as a flow on the clock of its snapshots."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cfmcli.data.table import Array
from cfmcli.data.times import Timeline
from cfmcli.flows.fields import Field
from cfmcli.flows.likelihood import Divergence, density_change
from cfmcli.flows.solvers import Solver, State

CHUNK = 4096
TANGENTS = 2**14


@dataclass(frozen=True)
class Paths:
    """Points carried through times.

    Args:
        points: positions at each time, shape (T, n, D).
        energy: integral of |dx/ds|^2 over the inner clock, shape (n,).
        nfe: evaluations of the field for each chunk of points, at most.
    """

    points: Array
    energy: Array
    nfe: int


@dataclass(frozen=True)
class LogChange:
    """Points carried back to the source, and what their log-density changes on the way.

    Args:
        origin: the points at the source, shape (n, D).
        change: log p_tau(x_tau) - log p_0(x_0), shape (n,).
        error: its standard error, shape (n,).
        nfe: evaluations of the field for each chunk of points, at most.
    """

    origin: Array
    change: Array
    error: Array
    nfe: int


@dataclass(frozen=True)
class Flow:
    """The flow of a field's velocity head, in flow coordinates.

    Args:
        field: the trained heads, functions of inner time s and x.
        timeline: the clock tau of the snapshots.
    """

    field: Field
    timeline: Timeline

    def paths(self, x: Array, times: Sequence[float], solver: Solver) -> Paths:
        """Carry points through clock times, forward or backward: dx/ds = b(s, x).

        Args:
            x: points at the first time, shape (n, D).
            times: clock times, at least one, in either direction, repeats allowed.
            solver: integrator.

        Raises:
            ConfigError: if a time lies outside the snapshots.
            NumericsError: if the integration fails.
        """
        inner = [self.timeline.inner(time) for time in times]
        distinct = [s for k, s in enumerate(inner) if k == 0 or s != inner[k - 1]]
        place = np.cumsum([k > 0 and s != inner[k - 1] for k, s in enumerate(inner)])
        if len(distinct) == 1:
            return Paths(np.repeat(x[None], len(inner), axis=0), np.zeros(len(x)), 0)
        points = np.empty((len(distinct), *x.shape))
        energy = np.empty(len(x))
        most = 0
        for rows in _chunks(len(x), CHUNK):
            start = self._tensor(x[rows], solver.double)
            zero = torch.zeros(len(start), dtype=start.dtype, device=start.device)
            with torch.no_grad():
                states, nfe = solver.solve(self._derivative(start), (start, zero), distinct)
            points[:, rows] = torch.stack([state[0] for state in states]).double().cpu().numpy()
            energy[rows] = states[-1][1].abs().double().cpu().numpy()
            most = max(most, nfe)
        return Paths(points[place], energy, most)

    def velocity(self, x: Array, time: float, *, forward: bool = True) -> Array:
        """Velocity dx/dtau in flow coordinates per unit of the clock, shape (n, D).

        Args:
            x: points, shape (n, D).
            time: clock time; at a snapshot the gap after it counts, or the one before.
            forward: which gap counts at a snapshot.
        """
        s = self.timeline.inner(time)
        segment = min(int(s), self.timeline.segments - 1)
        if not forward and s == segment and segment > 0:
            segment -= 1
        found = np.empty(x.shape)
        for rows in _chunks(len(x), CHUNK):
            part = self._tensor(x[rows], False)
            with torch.no_grad():
                clock = torch.full((len(part), 1), s, dtype=part.dtype, device=part.device)
                found[rows] = self.field.heads["velocity"](clock, part).double().cpu().numpy()
        return found / self.timeline.span(segment)

    def log_change(
        self,
        x: Array,
        time: float,
        divergence: Divergence,
        solver: Solver,
        generator: torch.Generator,
    ) -> LogChange:
        """Carry points at a clock time back to the source with the integral of the divergence.

        Computed in float64 where the tolerance asks for it.

        Args:
            x: points at that time, shape (n, D).
            time: clock time.
            divergence: how the trace is obtained.
            solver: integrator.
            generator: source of random probes.

        Raises:
            ConfigError: if the time lies outside the snapshots.
            NumericsError: if the integration fails.
        """
        times = (self.timeline.inner(time), 0.0)
        if times[0] == 0:
            return LogChange(x, np.zeros(len(x)), np.zeros(len(x)), 0)
        origin, change, error = np.empty(x.shape), np.empty(len(x)), np.empty(len(x))
        most = 0
        field = self._double if solver.double else self.field
        velocity = field.heads["velocity"]
        for rows in _chunks(len(x), max(64, min(CHUNK, TANGENTS // x.shape[1]))):
            with torch.no_grad():
                found = density_change(
                    velocity,
                    self._tensor(x[rows], solver.double),
                    times,
                    divergence,
                    solver,
                    generator,
                )
            origin[rows] = found.x.cpu().numpy()
            change[rows] = found.loss.cpu().numpy()
            error[rows] = found.error.cpu().numpy()
            most = max(most, found.nfe)
        return LogChange(origin, change, error, most)

    @cached_property
    def _double(self) -> Field:
        """The field in float64."""
        return deepcopy(self.field).double()

    def _tensor(self, x: Array, double: bool) -> Tensor:
        """Points on the field's device."""
        device = next(self.field.parameters()).device
        return torch.as_tensor(x, dtype=torch.float64 if double else torch.float32).to(device)

    def _derivative(self, start: Tensor) -> "_Derivative":
        """The right-hand side for points and energy."""
        field = self._double if start.dtype == torch.float64 else self.field
        return _Derivative(field, len(start))


@dataclass(frozen=True)
class _Derivative:
    """d(x, energy)/ds = (b, |b|^2)."""

    field: Field
    count: int

    def __call__(self, s: Tensor, state: State) -> State:
        """The velocity and its square."""
        x = state[0]
        velocity = self.field.heads["velocity"](s.to(x.dtype).expand(self.count, 1), x)
        return velocity, velocity.square().sum(dim=1)


def _chunks(n: int, size: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
