"""Likelihood: change of a flow's log density along its paths.

log p_s(x_s) = log p_0(x_0) - integral over [0, s] of div b(u, x_u) du (instantaneous change of
variables). Only the divergence needs care: exact, or estimated with random probes. It costs as much
as many steps of a path, along which it is smooth, so it is integrated at few nodes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vmap

from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.quadrature import integrate
from cfmcli.flows.dynamics.solvers import Adaptive, Solver, State
from cfmcli.flows.dynamics.vectors import Traced, VectorField, about

EXACT_UP_TO = 64


class Divergence(ABC):
    """Base of methods for div b = tr(db/dx) from directional derivatives e . (db/dx) e."""

    @abstractmethod
    def directions(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Choose directions e for points x of shape (B, D): shape (P, B, D) or (P, 1, D)."""

    @abstractmethod
    def stochastic(self, dim: int) -> bool:
        """Whether the P terms are estimates to average; else they are parts to sum."""


@dataclass(frozen=True)
class Exact(Divergence):
    """Exact trace: the D directional derivatives of one batched forward-mode pass.

    Reference: Chen et al. (2018), arXiv 1806.07366, eq. 8

    Use: up to some tens of dimensions; its cost grows with D.
    """

    def directions(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The unit vectors."""
        return torch.eye(x.shape[1], dtype=x.dtype, device=x.device)[:, None]

    def stochastic(self, dim: int) -> bool:
        """False: the trace is exact."""
        return False


@dataclass(frozen=True)
class Hutchinson(Divergence):
    """Hutchinson's estimate with Rademacher probes: E[e . (db/dx) e] = tr(db/dx).

    A probe is kept along a whole path, so that the integrand stays smooth; several independent
    probes give the standard error.

    Reference: Grathwohl et al. (2019), arXiv 1810.01367, eq. 7

    Use: many dimensions.

    Args:
        probes: independent probes for each point, at least 2.

    Raises:
        ConfigError: if there are fewer than 2 probes.
    """

    probes: int = 8

    def __post_init__(self) -> None:
        if self.probes < 2:
            raise ConfigError(
                f"hutchinson:probes={self.probes}: expected at least 2, for a standard error."
            )

    def directions(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Random signs."""
        shape = (self.probes, *x.shape)
        signs = torch.randint(0, 2, shape, generator=generator, dtype=torch.int8)
        return (2 * signs - 1).to(x)

    def stochastic(self, dim: int) -> bool:
        """True: the terms are random estimates."""
        return True


@dataclass(frozen=True)
class Auto(Divergence):
    """Exact up to 64 dimensions, Hutchinson with 8 probes beyond.

    Use: the default.
    """

    def directions(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Directions of the chosen method."""
        return self._choice(x.shape[1]).directions(x, generator)

    def stochastic(self, dim: int) -> bool:
        """Whether the dimension exceeds 64."""
        return self._choice(dim).stochastic(dim)

    def _choice(self, dim: int) -> Divergence:
        """The method for a dimension: exact or Hutchinson."""
        return Exact() if dim <= EXACT_UP_TO else Hutchinson()


@dataclass(frozen=True)
class Change:
    """End points of paths and the decrease of log density along them.

    Args:
        x: end points, shape (B, D).
        loss: integral of the divergence along the path, shape (B,).
        error: its standard error, shape (B,); zero if exact.
        nfe: evaluations of the field.
    """

    x: Tensor
    loss: Tensor
    error: Tensor
    nfe: int


def density_change(
    velocity: VectorField,
    x: Tensor,
    times: tuple[float, float],
    divergence: Divergence,
    solver: Solver,
    generator: torch.Generator,
) -> Change:
    """Carry points along a flow together with the integral of its divergence.

    log p_end(x_end) = log p_start(x_start) - integral of div b. With adaptive steps the divergence
    is integrated at 17, 33, 65 or 129 nodes, in float64 65 or 129, the fewest at which a point's
    integral is off the one at half of them by at most 10 (atol + rtol int |div b|); and by the
    steps of the solver itself if no rule suffices, if steps are fixed, or if the field cannot
    compute its divergence. Points are centred, so that relative tolerances refer to their spread.

    Reference: Chen et al. (2018), arXiv 1806.07366, eq. 8; Albergo et al. (2023),
        arXiv 2303.08797, sec. 2.6

    Args:
        velocity: b(s, x) with s of shape (B, 1) and x of shape (B, D).
        x: points at the first time, shape (B, D).
        times: inner times of start and end.
        divergence: trace estimator.
        solver: integrator; its error control covers points and divergence.
        generator: source of random probes.

    Raises:
        NumericsError: if the integration fails.
    """
    stochastic = divergence.stochastic(x.shape[1])
    directions = divergence.directions(x, generator)
    if times[0] == times[1] or not len(x):
        nothing = torch.zeros_like(x[:, 0])
        return Change(x, nothing, nothing, 0)
    center = x.mean(dim=0)
    y, seen = x - center, about(velocity, center)
    loss = _Loss(seen, directions, stochastic, solver)
    if isinstance(solver, Adaptive) and isinstance(seen, Traced):
        end, losses, done, nfe = integrate(loss, y, times, solver)
        rough = (~done).nonzero()[:, 0]
        if len(rough):
            found = loss.of(rough).stepped(y[rough], times, each=True)
            end[rough], losses[rough], more = found
            nfe += more
    else:
        end, losses, nfe = loss.stepped(y, times)
    end = end + center
    count = losses.shape[1]
    error = losses.std(dim=1) / count**0.5 if stochastic else torch.zeros_like(losses[:, 0])
    return Change(end, losses.mean(dim=1), error, nfe)


@dataclass(frozen=True)
class _Loss:
    """Divergence along paths, exact or estimated, as an integrand.

    Args:
        velocity: b(s, x).
        directions: directions of the derivatives, shape (P, B, D) or (P, 1, D).
        stochastic: whether they are random probes.
        solver: integrator of the paths.
    """

    velocity: VectorField
    directions: Tensor
    stochastic: bool
    solver: Solver

    def of(self, rows: Tensor) -> "_Loss":
        """Restrict to some points."""
        assert isinstance(self.velocity, Traced)
        own = self.velocity.of(rows)
        probes = self.directions[:, rows] if self.stochastic else self.directions
        return _Loss(own, probes, self.stochastic, self.solver)

    def path(
        self, x: Tensor, times: list[float], solver: Solver, every: int
    ) -> tuple[list[Tensor], int]:
        """Carry points through times."""

        def rate(s: Tensor, state: State) -> State:
            return (self.velocity(_clock(s, x), state[0]),)

        states, nfe = solver.solve(rate, (x,), times, each=True, every=every)
        return [place for (place,) in states], nfe

    def at(self, time: float, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity, and the divergence, shape (B, 1), or its estimates, shape (B, P)."""
        return self._rates(torch.tensor(time, dtype=torch.float64), x)

    def stepped(
        self, x: Tensor, times: tuple[float, float], *, each: bool = False
    ) -> tuple[Tensor, Tensor, int]:
        """Integrate with the solver's own steps; return end points, integrals and evaluations."""
        count = len(self.directions) if self.stochastic else 1
        start = torch.zeros(len(x), count, dtype=x.dtype, device=x.device)

        def rates(s: Tensor, state: State) -> State:
            return self._rates(s, state[0])

        states, nfe = self.solver.solve(rates, (x, start), list(times), 2, each=each)
        end, losses = states[-1]
        return end, losses, nfe

    def _rates(self, s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity, and the divergence or estimates of it."""
        clock = _clock(s, x)
        if isinstance(self.velocity, Traced) and not self.stochastic:
            rate, trace = self.velocity.traced(clock, x)
            return rate, trace[:, None]
        rate, terms = traces(lambda y: self.velocity(clock, y), x, self.directions)
        return rate, terms if self.stochastic else terms.sum(dim=1, keepdim=True)


def _clock(s: Tensor, x: Tensor) -> Tensor:
    """Expand one time for all points, shape (B, 1)."""
    return s.to(x).expand(len(x), 1)


def traces(
    function: Callable[[Tensor], Tensor], x: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """Evaluate a vector field and its derivatives e . (db/dx) e along directions.

    Args:
        function: b, shape (B, D) -> (B, D).
        x: points, shape (B, D).
        directions: e, shape (P, B, D) or (P, 1, D).

    Returns:
        b at x, shape (B, D), and the derivatives, shape (B, P).
    """

    def along(e: Tensor) -> tuple[Tensor, Tensor]:
        tangent = e.expand_as(x)
        value, change, *_ = jvp(function, (x,), (tangent,))
        return value, (change * tangent).sum(dim=1)

    found: tuple[Tensor, Tensor] = vmap(along, out_dims=(None, 1))(directions)  # type: ignore[arg-type]
    return found
