"""Stochastic dynamics: SDEs that share the marginals of a flow, and their solvers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.dynamics.diffusions import Epsilon
from cfmcli.flows.dynamics.vectors import VectorField

T = TypeVar("T")
Pair = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Process:
    """Velocity, score and diffusion of one gap: dX = (b +- epsilon s) dt + sqrt(2 epsilon) dW.

    The sign follows the direction of time, so that both directions have the marginals rho_t
    whose velocity is b and whose score is s. With epsilon = 0 both are the flow dX = b dt.

    Reference: Albergo et al. (2023), arXiv 2303.08797 (forward and backward SDEs)

    Args:
        velocity: b(t, x) with t of shape (B, 1), in [0, 1], and x of shape (B, D).
        score: grad log rho_t(x), the same shapes; may be None if epsilon = 0.
        epsilon: diffusion level t -> epsilon(t) >= 0, for t of shape (1, 1).
        margin: score and epsilon are evaluated at times clamped this far from 0 and 1.
        least: the velocity is the same at all times closer to 0 or 1 than this.
        still: whether epsilon is 0 throughout, so that this is the flow.
        both: velocity and score from one evaluation, if available.
    """

    velocity: VectorField
    score: VectorField | None
    epsilon: Epsilon
    margin: float = 0.0
    least: float = 0.0
    still: bool = False
    both: Pair | None = None

    def velocity_at(self, t: float, x: Tensor) -> Tensor:
        """b(t, x), shape (B, D)."""
        return self.velocity(_clock(t, x), x)

    def score_at(self, t: float, x: Tensor) -> Tensor:
        """The score at a time, shape (B, D).

        Raises:
            ConfigError: if there is none.
        """
        if self.score is None:
            raise ConfigError(
                "Stochastic dynamics need a score, and this flow has none: fit an objective that "
                "learns the score."
            )
        return self.score(_clock(_inside(t, self.margin), x), x)

    def both_at(self, t: float, x: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity and score, from a single evaluation if both use the same time."""
        inside = _inside(t, self.margin)
        if self.both and inside == _inside(t, self.least):
            return self.both(_clock(inside, x), x)
        return self.velocity_at(t, x), self.score_at(t, x)

    def epsilon_at(self, t: float) -> float:
        """The diffusion level epsilon(t)."""
        return float(self.epsilon(torch.full((1, 1), _inside(t, self.margin), dtype=torch.float64)))

    def drift(self, t: float, x: Tensor, sign: float) -> Tensor:
        """The field b + sign epsilon s, shape (B, D); the score is not evaluated if epsilon = 0."""
        epsilon = self.epsilon_at(t)
        if not epsilon:
            return self.velocity_at(t, x)
        velocity, score = self.both_at(t, x)
        return velocity + sign * epsilon * score


def _inside(t: float, margin: float) -> float:
    """Clamp a time away from the ends."""
    return min(max(t, margin), 1 - margin)


def _clock(t: float, x: Tensor) -> Tensor:
    """Expand one time for all points, shape (B, 1)."""
    return torch.full((1, 1), t, dtype=x.dtype, device=x.device).expand(len(x), 1)


@dataclass
class Meter:
    """Counts evaluations of velocity, of score, or of both at once.

    Args:
        count: evaluations so far; a pass that also takes derivatives counts once.
    """

    count: int = 0

    def watch(self, process: Process) -> Process:
        """Wrap a process so that its evaluations are counted."""
        score, both = process.score, process.both
        return replace(
            process,
            velocity=self._counted(process.velocity),
            score=score and self._counted(score),
            both=both and self._counted(both),
        )

    def _counted(self, function: Callable[[Tensor, Tensor], T]) -> Callable[[Tensor, Tensor], T]:
        """Wrap a function so that its evaluations are counted."""

        def call(s: Tensor, x: Tensor) -> T:
            self.count += 1
            return function(s, x)

        return call


class StochasticSolver(ABC):
    """Base class of solvers of SDEs over one gap with a fixed number of steps."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps per gap."""

    @abstractmethod
    def step(
        self, process: Process, x: Tensor, times: tuple[float, float], generator: torch.Generator
    ) -> Tensor:
        """Take one step of points x, shape (B, D), from the first time to the second."""

    def grid(self, start: float, end: float) -> list[float]:
        """Times of equal steps between two times, both included."""
        count = max(1, math.ceil(abs(end - start) * self.steps - 1e-9))
        return [start + (end - start) * k / count for k in range(count)] + [end]

    def solve(
        self, process: Process, x: Tensor, times: list[float], generator: torch.Generator
    ) -> tuple[list[Tensor], int]:
        """Integrate; return the points at each time and the number of evaluations of b and s.

        Noise is drawn step by step for all points at once, so results depend on which points share
        a generator: use a separate generator for each chunk.

        Args:
            process: the process to integrate.
            x: points at the first time, shape (B, D).
            times: times in [0, 1], at least one, strictly monotone; descending times integrate
                the backward equation.
            generator: source of the noise, on the CPU.

        Raises:
            ConfigError: if epsilon > 0 and there is no score.
            NumericsError: if points become non-finite.
        """
        meter = Meter()
        watched, states = meter.watch(process), [x]
        for start, end in pairwise(times):
            here = states[-1]
            for span in pairwise(self.grid(start, end)):
                here = self.step(watched, here, span, generator)
            states.append(here)
        check_finite(states[-1])
        return states, meter.count


@dataclass(frozen=True)
class EulerMaruyama(StochasticSolver):
    """Euler-Maruyama, weak order 1: one evaluation of velocity and score a step.

    x' = x + h (b +- epsilon s) + sqrt(2 epsilon |h|) xi, all at the time where the step begins.

    Reference: Kloeden & Platen (1992), ch. 14

    Use: stochastic dynamics where Heun's second evaluation costs too much.

    Args:
        steps: steps per gap, at least 1.

    Raises:
        ConfigError: if steps is below 1.
    """

    steps: int = 200

    def __post_init__(self) -> None:
        _check_steps("euler-maruyama", self.steps)

    def step(
        self, process: Process, x: Tensor, times: tuple[float, float], generator: torch.Generator
    ) -> Tensor:
        """Take one step."""
        start, h = times[0], times[1] - times[0]
        noise = _noise(x, 2 * process.epsilon_at(start) * abs(h), generator)
        return x + h * process.drift(start, x, math.copysign(1, h)) + noise


@dataclass(frozen=True)
class StochasticHeun(StochasticSolver):
    """Heun with additive noise, weak order 2: two evaluations of velocity and score a step.

    With f = b +- epsilon s and a noise n of variance (epsilon(t) + epsilon(t')) |h|, the step from
    t to t' = t + h is x' = x + h/2 (f(t, x) + f(t', x + h f(t, x) + n)) + n.

    Reference: Kloeden & Platen (1992), ch. 15 (predictor-corrector, additive noise)

    Use: the default of stochastic dynamics.

    Args:
        steps: steps per gap, at least 1.

    Raises:
        ConfigError: if steps is below 1.
    """

    steps: int = 100

    def __post_init__(self) -> None:
        _check_steps("stochastic-heun", self.steps)

    def step(
        self, process: Process, x: Tensor, times: tuple[float, float], generator: torch.Generator
    ) -> Tensor:
        """Take one step."""
        sign = math.copysign(1, times[1] - times[0])
        return self.led(process, sign, x, process.drift(times[0], x, sign), times, generator)

    def led(
        self,
        process: Process,
        sign: float,
        x: Tensor,
        slope: Tensor,
        times: tuple[float, float],
        generator: torch.Generator,
    ) -> Tensor:
        """Take one step along the drift b + sign epsilon s, given its value at the start."""
        start, end = times
        h = end - start
        spread = process.epsilon_at(start) + process.epsilon_at(end)
        noise = _noise(x, spread * abs(h), generator)
        ahead = process.drift(end, x + h * slope + noise, sign)
        return x + h / 2 * (slope + ahead) + noise


def _noise(x: Tensor, variance: float, generator: torch.Generator) -> Tensor:
    """Normal noise of the shape and precision of x; zeros, without drawing, for variance 0."""
    if variance == 0:
        return torch.zeros_like(x)
    draw = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return math.sqrt(variance) * draw.to(x.device)


def _check_steps(name: str, steps: int) -> None:
    """Raise for fewer than one step."""
    if steps < 1:
        raise ConfigError(f"{name}:steps={steps}: expected at least 1.")


def check_finite(x: Tensor) -> None:
    """Raise if stochastic paths are not finite.

    Raises:
        NumericsError: if some are not.
    """
    if not bool(x.isfinite().all()):
        raise NumericsError(
            "The stochastic dynamics left the finite numbers: use more steps (--solver "
            "stochastic-heun:steps=400), a smaller diffusion or one that vanishes at the ends "
            "(bridge, gamma), and check that the points lie where the model has learnt."
        )


def denoise(x: Tensor, eta: Tensor, here: tuple[float, float], end: tuple[float, float]) -> Tensor:
    """Take the final, noise-free step along a one-sided path x_t = alpha z + beta x1.

    x' = (beta' / beta) x + (alpha' - alpha beta' / beta) eta: the path on which z = eta stays, and
    hence exact for a constant denoiser; it equals the flow as the step goes to 0. Stochastic
    dynamics stop where alpha is small, and this step takes them to t = 1, where alpha = 0.

    Reference: Albergo et al. (2023), arXiv 2303.08797 (one-sided interpolants)

    Args:
        x: points at t, shape (B, D).
        eta: the denoiser E[z | x_t = x], shape (B, D).
        here: alpha and beta at t, beta above 0.
        end: alpha and beta at the end of the step.

    Returns:
        Points at the end, shape (B, D).
    """
    ratio = end[1] / here[1]
    return ratio * x + (end[0] - here[0] * ratio) * eta
