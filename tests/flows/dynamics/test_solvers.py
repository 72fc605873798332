"""Laws of solvers: order, cost, tolerance, exact times, the way back, and honest failure."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.dynamics import solvers
from cfmcli.flows.dynamics.solvers import Adaptive, Derivative, Solver, State
from tests import oracles
from tests.oracles import Oracle

ORDER = {
    "euler": 1,
    "midpoint": 2,
    "heun2": 2,
    "heun3": 3,
    "rk4": 4,
    "explicit_adams": 4,
    "implicit_adams": 4,
}
# Its two embedded formulas differ by 1/512 of a slope, so it sees that little of its error.
SLACK = {"fehlberg2": 512}
STAGES = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
NAMES = [n for n in catalog.names("solvers") if ".solvers:" in catalog.entry("solvers", n).target]
FIXED = [n for n in NAMES if catalog.entry("solvers", n).target.endswith(":FixedStep")]
ADAPTIVE = [n for n in NAMES if n not in FIXED]
LINE: State = (torch.tensor([[1.0]], dtype=torch.float64),)
ORACLE = Oracle(oracles.TILTED, oracles.NARROW, oracles.trigonometric(0.2))
each_solver = pytest.mark.parametrize("name", NAMES)
each_fixed = pytest.mark.parametrize("name", FIXED)
each_adaptive = pytest.mark.parametrize("name", ADAPTIVE)


def built(name: str, steps: int = 50, tol: float = 1e-6) -> Solver:
    """A solver of either kind."""
    options = f"steps={steps}" if name in FIXED else f"atol={tol},rtol={tol}"
    solver: Solver = catalog.build("solvers", f"{name}:{options}")
    return solver


def oracle_field(s: Tensor, state: State) -> State:
    return (ORACLE.velocity(float(s), state[0]),)


def swing(s: Tensor, state: State) -> State:
    """x' = cos(3 s) x, hence x(s) = x(0) exp(sin(3 s) / 3)."""
    return (torch.cos(3 * s) * state[0],)


def moment_error(name: str, end: float, **options: float) -> float:
    """How far particles with exact moments of rho_0 end from the moments of rho_end.

    An affine flow carries mean and covariance exactly: there is no sampling noise.
    """
    x0 = oracles.ends(ORACLE, 64, torch.Generator().manual_seed(0))[0]
    x0 = x0 + 0.2 * (oracles.matched(64, 2, torch.Generator().manual_seed(1)))
    mean0, cov0, *_ = (part[0] for part in ORACLE.moments(0.0))
    factor = torch.linalg.cholesky(torch.cov(x0.T, correction=0))
    white = torch.linalg.solve_triangular(factor, (x0 - x0.mean(0)).T, upper=False).T
    start = mean0 + white @ torch.linalg.cholesky(cov0).T
    solver = built(name, **options)  # type: ignore[arg-type]
    (_, (found,)), _ = solver.solve(oracle_field, (start,), [0.0, end])
    mean, cov, *_ = (part[0] for part in ORACLE.moments(end))
    wrong = torch.cov(found.T, correction=0) - cov
    return float((found.mean(0) - mean).norm() + wrong.norm())


def test_every_fixed_step_solver_states_its_order() -> None:
    assert set(FIXED) == set(ORDER)


@each_fixed
def test_observed_order_is_the_textbook_order(name: str) -> None:
    """Slope of log error on log step, particles with exact moments, oracle velocity."""
    steps = [32, 45, 64, 91, 128] if ORDER[name] < 4 else [24, 34, 48, 68, 96]
    errors = [moment_error(name, 1.0, steps=k) for k in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(ORDER[name], abs=0.3)


@each_adaptive
def test_error_follows_the_tolerance(name: str) -> None:
    tolerances = (1e-2, 1e-4, 1e-6)
    errors = [moment_error(name, 1.0, tol=tol) for tol in tolerances]
    assert errors[0] > errors[1] > errors[2]
    for error, tol in zip(errors, tolerances, strict=True):
        assert error < SLACK.get(name, 10) * tol


@each_adaptive
def test_inner_times_are_as_exact_as_the_end(name: str) -> None:
    times = [0.0, 0.21, 0.5, 0.83, 1.0]
    states, _ = built(name, tol=1e-6).solve(swing, LINE, times)
    for s, (x,) in zip(times, states, strict=True):
        off = abs(x.item() - math.exp(math.sin(3 * s) / 3))
        assert off < SLACK.get(name, 10) * 1e-6


@each_adaptive
@pytest.mark.parametrize("end", [0.0, 2.0])
def test_times_between_the_ends_of_steps_cost_nothing(name: str, end: float) -> None:
    """By interpolants, which are off by a few times the error of the steps where that is said."""
    solver = built(name, tol=1e-6)
    many = [1 + (end - 1) * k / 64 for k in range(65)]
    _, fewer = solver.solve(swing, LINE, many[::32])
    states, nfe = solver.solve(swing, LINE, many, every=32)
    assert nfe == fewer
    assert isinstance(solver, Adaptive)
    worst = max(
        abs(x.item() - math.exp((math.sin(3 * s) - math.sin(3)) / 3))
        for s, (x,) in zip(many, states, strict=True)
    )
    assert not solver.dense or worst < 3e-5


@each_adaptive
def test_finer_tolerances_are_those_that_float64_resolves(name: str) -> None:
    fine, finest = built(name, tol=1e-6), built(name, tol=3e-14)
    assert isinstance(fine, Adaptive)
    assert isinstance(finest, Adaptive)
    assert fine.finer(0.1).rtol == pytest.approx(1e-7)
    assert finest.finer(0.1) == finest


@each_solver
def test_evaluations_are_counted(name: str) -> None:
    seen: list[float] = []

    def watched(s: Tensor, state: State) -> State:
        seen.append(float(s))
        return swing(s, state)

    _, nfe = built(name, steps=12).solve(watched, LINE, [0.0, 0.5, 1.0])
    assert nfe == len(seen)
    assert nfe == 12 * STAGES.get(name, nfe / 12)


@each_solver
@pytest.mark.parametrize("times", [[0.0, 0.3, 1.0], [2.0, 1.9, 0.4]])
def test_no_evaluation_lies_outside_the_times(name: str, times: list[float]) -> None:
    """A field is never asked where it has not learnt."""
    seen: list[float] = []

    def watched(s: Tensor, state: State) -> State:
        seen.append(float(s))
        return swing(s, state)

    built(name, tol=1e-3).solve(watched, LINE, times)
    assert min(times) <= min(seen)
    assert max(seen) <= max(times)


@each_solver
def test_times_are_met_exactly(name: str) -> None:
    """For x' = 1 the state is the clock, forward and backward, at uneven times."""
    times = [0.0, 0.1234, 0.5, 0.51, 1.7]
    start = (torch.zeros(1, 1, dtype=torch.float64),)
    for order in (times, times[::-1]):
        states, _ = built(name, steps=7).solve(lambda s, x: (torch.ones_like(x[0]),), start, order)
        for time, (x,) in zip(order, states, strict=True):
            assert x.item() == pytest.approx(time - order[0], abs=1e-12)


@each_fixed
def test_stopping_on_the_way_changes_little(name: str) -> None:
    """Uneven stops keep the accuracy of the method, also where it remembers earlier steps."""
    (*_, (straight,)), _ = built(name, steps=100).solve(swing, LINE, [0.0, 1.0])
    (*_, (stopped,)), _ = built(name, steps=100).solve(swing, LINE, [0.0, 0.333, 0.4, 1.0])
    exact = math.exp(math.sin(3) / 3)
    off = abs(straight.item() - exact)
    assert abs(stopped.item() - exact) < 3 * off + 1e-8


@each_solver
def test_the_way_back_returns_to_the_start(name: str) -> None:
    (_, there), _ = built(name, steps=400, tol=1e-5).solve(swing, LINE, [0.0, 1.0])
    (_, (back,)), _ = built(name, steps=400, tol=1e-5).solve(swing, there, [1.0, 0.0])
    assert back.item() == pytest.approx(
        1.0, abs=5e-3 if name == "euler" else SLACK.get(name, 10) * 1e-5
    )


@pytest.mark.parametrize("name", FIXED)
def test_a_contracting_field_contracts(name: str) -> None:
    """x' = -10 x with 100 steps: every method is within its domain of stability."""
    for dtype in (torch.float32, torch.float64):
        start = (torch.ones(1, 1, dtype=dtype),)
        (_, (end,)), _ = built(name, steps=100).solve(lambda s, x: (-10 * x[0],), start, [0.0, 1.0])
        assert 0 < end.item() < 2 * math.exp(-10)


@each_solver
def test_state_may_have_several_parts(name: str) -> None:
    """Parts of different shapes ride along: the second is the integral of cos(3 s)."""

    def both(s: Tensor, state: State) -> State:
        return torch.cos(3 * s) * state[0], torch.cos(3 * s).expand(2)

    state = (LINE[0].expand(5, 1).contiguous(), torch.zeros(2, dtype=torch.float64))
    (_, (x, integral)), _ = built(name, steps=400, tol=1e-4).solve(both, state, [0.0, 1.0], steer=2)
    assert x.shape == (5, 1)
    torch.testing.assert_close(x[:, 0].log(), integral[:1].expand(5), rtol=0, atol=5e-3)
    assert integral[0].item() == pytest.approx(math.sin(3) / 3, abs=5e-3)


@each_adaptive
def test_riders_do_not_steer(name: str) -> None:
    """A wild second part costs nothing when only the first steers."""

    def wild(s: Tensor, state: State) -> State:
        return swing(s, state)[0], torch.cos(100 * s).expand(1)

    state = (*LINE, torch.zeros(1, dtype=torch.float64))
    counts = [built(name, tol=1e-3).solve(wild, state, [0.0, 1.0], steer=k)[1] for k in (1, 2)]
    alone = built(name, tol=1e-3).solve(swing, LINE, [0.0, 1.0])[1]
    assert counts[0] == alone
    assert counts[1] > alone


def explosive(s: Tensor, state: State, power: float = 2.0) -> State:
    """x' = x^2 from 4 is infinite at s = 1/4."""
    return (state[0].abs() ** power,)


FAILURES: dict[str, tuple[Derivative, float]] = {
    "nan": (lambda s, x: (x[0] * math.nan,), 1.0),
    "nan half-way": (lambda s, x: (x[0] * (math.nan if s > 0.5 else 1.0),), 1.0),
    "infinite": (partial(explosive, power=2.0), 4.0),
    "stiff": (lambda s, x: (-1e9 * (x[0] - torch.cos(s)),), 1.0),
}


@each_solver
@pytest.mark.filterwarnings("ignore:Functional iteration")
@pytest.mark.parametrize("failure", FAILURES)
def test_failures_are_numerics_errors(
    name: str, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solvers, "MAX_STEPS", 200)
    field, start = FAILURES[failure]
    state = (torch.full((1, 1), start, dtype=torch.float64),)
    with pytest.raises(NumericsError, match=f"The solver {name}"):
        built(name, steps=60).solve(field, state, [0.0, 1.0])


@pytest.mark.parametrize(
    "spec", ["rk4:steps=0", "dopri5:atol=0", "dopri5:rtol=-1", "dopri5:atol=inf", "bosh3:rtol=nan"]
)
def test_impossible_settings_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        catalog.build("solvers", spec)


def test_tight_tolerances_ask_for_float64() -> None:
    assert built("dopri5", tol=1e-8).double
    assert not built("dopri5", tol=1e-5).double
    assert not built("rk4").double
