"""Solvers: torchdiffeq's integrators, with evaluations counted and failures explained."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from cfmcli.errors import CfmWarning, ConfigError, NumericsError

State = tuple[Tensor, ...]
Derivative = Callable[[Tensor, State], State]
MAX_STEPS = 100_000
FINEST = 1e-14
# torchdiffeq's Adams methods go up to order 12, whose stability region is tiny.
ORDER_4: dict[str, dict[str, object]] = {
    "explicit_adams": {"max_order": 5},
    "implicit_adams": {"max_order": 4},
}


@dataclass
class Counted:
    """A right-hand side that counts its evaluations.

    Args:
        function: (s, state) -> d state / ds, s a scalar tensor.
        count: evaluations so far.
    """

    function: Derivative
    count: int = 0

    def __call__(self, s: Tensor, state: State) -> State:
        """Evaluate the function and count the call."""
        self.count += 1
        return self.function(s, state)


class Solver(ABC):
    """Base class of integrators of d state / ds = f(s, state) through given times."""

    @abstractmethod
    def solve(
        self,
        f: Derivative,
        state: State,
        times: list[float],
        steer: int = 1,
        *,
        each: bool = False,
        every: int = 1,
    ) -> tuple[list[State], int]:
        """Integrate; return the state at each time and the number of evaluations of f.

        Args:
            f: right-hand side.
            state: tensors of shape (B, ...), the first of them the points.
            times: at least two, strictly monotone; the state is given at the first.
            steer: number of leading tensors whose errors control adaptive steps.
            each: whether every point must meet the tolerance, instead of their root mean square.
            every: adaptive steps end at every `every`-th time; the others are interpolated.

        Raises:
            NumericsError: if the integration fails or becomes non-finite.
        """

    @property
    @abstractmethod
    def double(self) -> bool:
        """Whether the tolerance requires float64."""


@dataclass(frozen=True)
class Adaptive(Solver):
    """A Runge-Kutta pair that chooses its steps to keep the local error of the points in bounds.

    Reference: Dormand & Prince (1980); torchdiffeq, Chen (2018)

    Use: dopri5 by default; dopri8 for tight tolerances, the others for loose ones.

    Args:
        method: torchdiffeq's name.
        atol: absolute tolerance in flow coordinates, above 0.
        rtol: relative tolerance, above 0.

    Raises:
        ConfigError: if a tolerance is not positive, or both are below what float64 resolves.
    """

    method: str
    atol: float = 1e-5
    rtol: float = 1e-5

    def __post_init__(self) -> None:
        if not (0 < self.atol < math.inf and 0 < self.rtol < math.inf):
            raise ConfigError(
                f"{self.method}: atol={self.atol:g}, rtol={self.rtol:g}: expected positive numbers."
            )
        if max(self.atol, self.rtol) < FINEST:
            raise ConfigError(
                f"{self.method}: atol={self.atol:g}, rtol={self.rtol:g}: float64 resolves no less "
                f"than {FINEST:g}, raise one of them."
            )

    @property
    def double(self) -> bool:
        """Whether a tolerance is below what float32 resolves."""
        return min(self.atol, self.rtol) < 3e-6

    @property
    def dense(self) -> bool:
        """Whether torchdiffeq's interpolation error is only a few times the error of its steps."""
        return self.method == "dopri5"

    def finer(self, part: float) -> "Adaptive":
        """Scale the tolerances by a factor, unless float64 cannot resolve the result."""
        if part * max(self.atol, self.rtol) < FINEST:
            return self
        return replace(self, atol=part * self.atol, rtol=part * self.rtol)

    def solve(
        self,
        f: Derivative,
        state: State,
        times: list[float],
        steer: int = 1,
        *,
        each: bool = False,
        every: int = 1,
    ) -> tuple[list[State], int]:
        """Integrate with steps that adapt to the error of the controlling tensors."""
        # Steps end at times: interpolating between them would exceed the tolerance, and
        # the last step would look beyond the end.
        grid = torch.tensor(times, dtype=torch.float64, device=state[0].device)
        options = {
            "norm": partial(_norm, steer=steer, each=each),
            "max_num_steps": MAX_STEPS,
            "step_t": grid[every::every],
        }
        return _solve(f, state, times, self.method, options, self.atol, self.rtol)


@dataclass(frozen=True)
class FixedStep(Solver):
    """A method with a fixed number of steps for each gap between snapshots.

    Reference: Hairer, Norsett & Wanner (1993); torchdiffeq, Chen (2018)

    Use: a known cost, or results that do not depend on how points are batched.

    Args:
        method: torchdiffeq's name.
        steps: steps per gap, at least 1.

    Raises:
        ConfigError: if steps is below 1.
    """

    method: str
    steps: int = 100

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"{self.method}:steps={self.steps}: expected at least 1.")

    @property
    def double(self) -> bool:
        """False: float32 is as accurate as the steps."""
        return False

    def solve(
        self,
        f: Derivative,
        state: State,
        times: list[float],
        steer: int = 1,
        *,
        each: bool = False,
        every: int = 1,
    ) -> tuple[list[State], int]:
        """Integrate from each time to the next in equal steps."""
        states, nfe = [state], 0
        options = ORDER_4.get(self.method, {})
        for a, b in pairwise(times):
            count = max(1, math.ceil(abs(b - a) * self.steps - 1e-9))
            grid = [a + (b - a) * k / count for k in range(count)] + [b]
            found, calls = _solve(f, states[-1], grid, self.method, options, 1e-6, 1e-6)
            states.append(found[-1])
            nfe += calls
        return states, nfe


def _norm(state: State, steer: int, each: bool) -> Tensor:
    """Largest root mean square among the controlling tensors, over all points or for the worst."""
    parts = (part.square() for part in state[:steer])
    if each:
        parts = (part.reshape(len(part), -1).mean(dim=1).max() for part in parts)
    return torch.stack([part.mean().sqrt() for part in parts]).max()


def _solve(
    f: Derivative,
    state: State,
    times: list[float],
    method: str,
    options: dict[str, object],
    atol: float,
    rtol: float,
) -> tuple[list[State], int]:
    """Call torchdiffeq and explain its failures."""
    from torchdiffeq import odeint

    counted = Counted(f)
    grid = torch.tensor(times, dtype=torch.float64, device=state[0].device)
    try:
        with warnings.catch_warnings(record=True) as said:
            found = odeint(
                counted, state, grid, method=method, atol=atol, rtol=rtol, options=options
            )
    except AssertionError as error:
        reason = str(error).partition(":")[0]  # the rest is the whole state
        raise NumericsError(
            f"The solver {method} failed ({reason}): the field is too stiff for the tolerance; "
            "raise --atol and --rtol, or use a fixed-step solver such as --solver rk4:steps=50."
        ) from None
    for text in {str(item.message) for item in said if item.category is UserWarning}:
        warnings.warn(f"The solver {method}: {text}", CfmWarning, stacklevel=2)
    if not all(bool(part.isfinite().all()) for part in found):
        raise NumericsError(
            f"The solver {method} left the finite numbers: use more steps or a tighter tolerance, "
            "and check that the points lie where the model has learnt."
        )
    return [tuple(part[k] for part in found) for k in range(len(times))], counted.count
