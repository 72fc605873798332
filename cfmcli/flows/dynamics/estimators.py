"""Estimators: densities as mean weights of paths to a time of known density.

Let paths Y run from a point x at the first of two times to the second, backward or forward. The
density of the model that starts from rho_end at the second time is rho(x) = E exp(log w), where
log w = log rho_end(Y_end) + the change of an estimator along Y. Backward paths give the density of
the forward equation's model, forward paths that of the backward equation's.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.likelihood import Divergence, density_change, traces
from cfmcli.flows.dynamics.sde import Meter, Process, StochasticHeun, check_finite
from cfmcli.flows.dynamics.solvers import Solver

GAUSS = math.sqrt(1 / 12)
"""Offset of the two Gauss points from the middle of an interval of length 1."""


@dataclass(frozen=True)
class Means:
    """Numerical settings of an estimator.

    Args:
        divergence: trace estimator. Stochastic dynamics draw fresh probes at each step;
            their noise then biases log_prob upward by |S|^2 / (steps probes) nats, |S|^2 the sum
            of squares off the diagonal of the symmetric Jacobian, averaged over the path.
        solver: integrator of deterministic dynamics.
        generator: source of randomness for noise and probes, on the CPU.
    """

    divergence: Divergence
    solver: Solver
    generator: torch.Generator


@dataclass(frozen=True)
class Carried:
    """End points of paths, and the log weights collected along them.

    Args:
        x: end points, shape (..., D).
        change: log w - log rho_end(x), shape (...).
        error: its standard error if probes are kept along a path, shape (...).
        nfe: evaluations of velocity and score.
    """

    x: Tensor
    change: Tensor
    error: Tensor
    nfe: int


class Estimator(ABC):
    """Base class of estimators of a model's log density from its dynamics."""

    @property
    @abstractmethod
    def paths(self) -> int:
        """Number of paths per point."""

    @abstractmethod
    def carry(
        self, process: Process, x: Tensor, times: tuple[float, float], means: Means
    ) -> Carried:
        """Carry one path from each point.

        Args:
            process: velocity, score and diffusion of one gap.
            x: points at the first time, shape (B, D).
            times: first and last time, in [0, 1], in either order.
            means: numerical settings.

        Raises:
            ConfigError: if the estimator needs a score and there is none.
            NumericsError: if paths become non-finite.
        """


@dataclass(frozen=True)
class Ode(Estimator):
    """Exact change of variables along the flow: log w = log rho_end(Y_end) + int div b dt.

    Reference: Chen et al. (2018), arXiv 1806.07366, eq. 8; Albergo et al. (2023),
        arXiv 2303.08797, sec. 2.6

    Use: the default; the density of deterministic dynamics.
    """

    @property
    def paths(self) -> int:
        """One path, since there is no noise."""
        return 1

    def carry(
        self, process: Process, x: Tensor, times: tuple[float, float], means: Means
    ) -> Carried:
        """Carry the points along the flow."""
        found = density_change(
            process.velocity, x, times, means.divergence, means.solver, means.generator
        )
        return Carried(found.x, found.loss, found.error, found.nfe)


@dataclass(frozen=True)
class Controlled(Estimator):
    """Importance-weighted paths, led by the score to where the model comes from.

    Backward paths dY = (b - epsilon s) dt + sqrt(2 epsilon) dW, judged by the forward equation's
    model with drift b_F = b + epsilon s, weigh by Girsanov's theorem
    log w = log rho_0(Y_0) - int (div b_F + epsilon |s|^2) dt - sqrt(2 epsilon) int s . dB, the last
    two integrals along the path. With a Stratonovich integral div s and epsilon drop out, and both
    directions of time read alike:

        log w = log rho_end(Y_end) + int (div b + b . s) dt - int s o dY.

    E exp(log w) is the model's density whatever s is, and E log w a lower bound of its logarithm.
    Where s is the model's own score, all paths weigh the same. Paths (Heun) and integrals
    (trapezium in time; Gauss along each step at its middle time) are of weak order 2.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 2.6 and app. B.4

    Use: the density of stochastic dynamics.

    Args:
        paths: paths for each point, at least 2.
        steps: steps per gap, at least 1.

    Raises:
        ConfigError: if there are too few paths or steps.
    """

    paths: int = 16
    steps: int = 100

    def __post_init__(self) -> None:
        _check("sde", self.paths, self.steps)

    def carry(
        self, process: Process, x: Tensor, times: tuple[float, float], means: Means
    ) -> Carried:
        """Carry the points along the process itself."""
        meter = Meter()
        watched, sign = meter.watch(process), math.copysign(1, times[1] - times[0])

        def rates(t: float, y: Tensor) -> tuple[Tensor, Tensor]:
            velocity, divergence = _traced(lambda p: watched.velocity_at(t, p), y, means)
            score = watched.score_at(t, y)
            drift = velocity + sign * watched.epsilon_at(t) * score
            return drift, divergence + (velocity * score).sum(dim=1)

        y, change = x, torch.zeros_like(x[:, 0])
        for step in _walk(watched, sign, x, times, self.steps, rates, means.generator):
            change = change + step.integral - _work(watched, step)
            y = step.after
        return _arrived(y, change, meter)


@dataclass(frozen=True)
class FeynmanKac(Estimator):
    """Plain Feynman-Kac average: paths of the model's own drift, run the other way.

    Backward, dY = b_F dt + sqrt(2 epsilon) dW with b_F = b + epsilon s weighs
    log w = log rho_0(Y_0) - int div b_F dt; forward, dY = b_B dt + sqrt(2 epsilon) dW with
    b_B = b - epsilon s weighs log w = log rho_1(Y_1) + int div b_B dt. Few paths end where rho_end
    is not negligible, and their share falls exponentially with the dimension.

    Reference: Albergo et al. (2023), arXiv 2303.08797, eq. 2.58

    Use: a check of `sde` in one or two dimensions, with very many paths.

    Args:
        paths: paths for each point, at least 2.
        steps: steps per gap, at least 1.

    Raises:
        ConfigError: if there are too few paths or steps.
    """

    paths: int = 1000
    steps: int = 100

    def __post_init__(self) -> None:
        _check("feynman-kac", self.paths, self.steps)

    def carry(
        self, process: Process, x: Tensor, times: tuple[float, float], means: Means
    ) -> Carried:
        """Carry the points along the drift of the reverse direction."""
        meter = Meter()
        watched, sign = meter.watch(process), math.copysign(1, times[0] - times[1])

        def rates(t: float, y: Tensor) -> tuple[Tensor, Tensor]:
            return _traced(lambda p: watched.drift(t, p, sign), y, means)

        y, change = x, torch.zeros_like(x[:, 0])
        for step in _walk(watched, sign, x, times, self.steps, rates, means.generator):
            y, change = step.after, change + step.integral
        return _arrived(y, change, meter)


@dataclass(frozen=True)
class _Step:
    """One time step of a batch of paths.

    Args:
        middle: its middle time.
        before, after: positions at its start and end, shape (B, D).
        integral: integral of the rate over the step, shape (B,).
    """

    middle: float
    before: Tensor
    after: Tensor
    integral: Tensor


def _walk(
    process: Process,
    sign: float,
    x: Tensor,
    times: tuple[float, float],
    steps: int,
    rates: Callable[[float, Tensor], tuple[Tensor, Tensor]],
    generator: torch.Generator,
) -> Iterator[_Step]:
    """Yield the steps of paths from x, with integrals of a rate by the trapezium rule.

    `rates` returns the drift b + sign epsilon s and the rate.
    """
    solver = StochasticHeun(steps)
    here, (slope, rate) = x, rates(times[0], x)
    for span in pairwise(solver.grid(*times)):
        there = solver.led(process, sign, here, slope, span, generator)
        slope, ahead = rates(span[1], there)
        yield _Step(sum(span) / 2, here, there, (span[1] - span[0]) / 2 * (rate + ahead))
        here, rate = there, ahead


def _work(process: Process, step: _Step) -> Tensor:
    """Line integral of the score along a step, by Gauss quadrature at mid-time, shape (B,)."""
    move, middle = step.after - step.before, (step.before + step.after) / 2
    places = (middle - GAUSS * move, middle + GAUSS * move)
    first, second = (process.score_at(step.middle, place) for place in places)
    return ((first + second) / 2 * move).sum(dim=1)


def _traced(function: Callable[[Tensor], Tensor], y: Tensor, means: Means) -> tuple[Tensor, Tensor]:
    """A vector field, shape (B, D), and its divergence, shape (B,), with fresh probes."""
    directions = means.divergence.directions(y, means.generator)
    value, terms = traces(function, y, directions)
    stochastic = means.divergence.stochastic(y.shape[1])
    return value, terms.mean(dim=1) if stochastic else terms.sum(dim=1)


def _arrived(y: Tensor, change: Tensor, meter: Meter) -> Carried:
    """Collect finished paths, after checking that they are finite."""
    check_finite(torch.cat((y, change[:, None]), dim=1))
    return Carried(y, change, torch.zeros_like(change), meter.count)


def _check(name: str, paths: int, steps: int) -> None:
    """Raise unless there are at least two paths, for a standard error, and one step."""
    if paths < 2:
        raise ConfigError(f"{name}:paths={paths}: expected at least 2, for a standard error.")
    if steps < 1:
        raise ConfigError(f"{name}:steps={steps}: expected at least 1.")
