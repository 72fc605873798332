"""Laws of paces: the error that is told covers the true one, and no cheaper steps would do."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning, ConfigError
from cfmcli.flows.coupling.plans import PairPlan
from cfmcli.flows.dynamics import pace as module
from cfmcli.flows.dynamics.choice import deterministic
from cfmcli.flows.dynamics.displacement import Displacement, Gap
from cfmcli.flows.dynamics.flow import Flow, Pilot
from cfmcli.flows.dynamics.motion import Automatic, motion
from cfmcli.flows.dynamics.pace import COSTS, SHARE, Auto, Carry, apart, paced
from cfmcli.flows.dynamics.solvers import Adaptive, FixedStep, Solver, State
from cfmcli.flows.fields import MLP, Field, Head, Shape
from cfmcli.flows.objective.growth import VelocityGrowth
from cfmcli.flows.objective.reading import Guide, Reading
from tests import oracles
from tests.flows.dynamics.test_flow import UNEVEN, UNIT, Closed, closed, random_flow
from tests.oracles import Oracle

AFFINE = Oracle(oracles.TILTED, oracles.NARROW, oracles.trigonometric(0.2))
CURVED = Oracle(oracles.TWO, oracles.THREE, oracles.linear(0.4))
TOLERANCES = [0.3, 1e-2, 1e-3]
DOPRI = Adaptive("dopri5")


def start(oracle: Oracle, n: int = 60, seed: int = 0) -> Tensor:
    return oracle.source.sample(n, torch.Generator().manual_seed(seed))


def carried(oracle: Oracle, x: Tensor) -> Carry:
    """Carries points along an oracle's velocity."""

    def carry(solver: Solver) -> Sequence[Array]:
        def rate(s: Tensor, state: State) -> State:
            return (oracle.field(s.expand(len(x), 1), state[0]),)

        return [solver.solve(rate, (x,), [0.0, 1.0])[0][-1][0].numpy()]

    return carry


def moved(oracle: Oracle, x: Tensor) -> Array:
    """Where an affine flow takes points: x -> m_1 + A (x - m_0), from its moments alone.

    The map solves A' = C_t S_t^-1 A, here by a matrix exponential over many short stretches.
    """
    times = torch.linspace(0, 1, 1001, dtype=torch.float64)
    steps = []
    for t in ((times[1:] + times[:-1]) / 2).tolist():
        zero, unit = torch.zeros(1, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
        at = oracle.velocity(t, torch.cat((zero, unit)))
        steps.append((at[1:] - at[0]).T / (len(times) - 1))
    total = torch.eye(2, dtype=torch.float64)
    for step in torch.linalg.matrix_exp(torch.stack(steps)):
        total = step @ total
    mean0, mean1 = (oracle.moments(t)[0][0] for t in (0.0, 1.0))
    return (mean1 + (x - mean0) @ total.T).numpy()


@pytest.mark.parametrize("tol", TOLERANCES)
def test_the_error_that_is_told_covers_the_true_one(tol: float) -> None:
    """On an affine flow, whose map is known apart from any solver."""
    x = start(AFFINE)
    found, true = paced(carried(AFFINE, x), tol), moved(AFFINE, x)
    off = apart(carried(AFFINE, x)(found.solver), [true])
    assert off <= found.error + 2e-7
    assert found.error <= tol
    assert found.error <= 1.02 * off + 2 * SHARE * tol + 2e-7


@pytest.mark.parametrize("tol", TOLERANCES)
def test_it_holds_for_points_that_were_no_pilots(tol: float) -> None:
    """Most of other points of a curved flow are about as close."""
    found, fresh = paced(carried(CURVED, start(CURVED)), tol), start(CURVED, 500, 1)
    fine = Adaptive("dopri8", 1e-7, 1e-7)
    ends = [carried(CURVED, fresh)(solver)[0] for solver in (found.solver, fine)]
    far = np.sqrt(((ends[0] - ends[1]) ** 2).mean(axis=1))
    assert np.quantile(far, 0.95) <= found.error
    assert math.sqrt((far**2).mean()) <= found.error


@pytest.mark.parametrize("oracle", [AFFINE, CURVED])
@pytest.mark.parametrize("tol", TOLERANCES)
def test_nothing_cheaper_would_do(oracle: Oracle, tol: float) -> None:
    carry = carried(oracle, start(oracle))
    chosen = paced(carry, tol).solver
    assert isinstance(chosen, FixedStep)
    cost = COSTS[chosen.method] * chosen.steps
    true = carry(Adaptive("dopri8", 1e-7, 1e-7))
    for method, steps in module._ladder():
        if COSTS[method] * steps < cost:
            assert apart(carry(FixedStep(method, steps)), true) > (1 - 2 * SHARE) * tol


def test_a_reference_knows_its_error() -> None:
    """The difference of N and 2 N steps tells the error of the latter: order 4."""
    carry, true = carried(AFFINE, start(AFFINE)), [moved(AFFINE, start(AFFINE))]
    ends = {k: carry(FixedStep("rk4", k)) for k in (3, 6, 12)}
    told = [apart(ends[k], ends[2 * k]) / 15 for k in (3, 6)]
    off = [apart(ends[2 * k], true) for k in (3, 6)]
    assert told == pytest.approx(off, rel=0.2)
    assert math.log2(told[0] / told[1]) == pytest.approx(4, abs=0.4)


def test_a_constant_velocity_takes_one_step() -> None:
    flow = piloted(closed(lambda s, x: torch.ones_like(x), UNIT))
    found = flow.pace(1e-3)
    assert str(found) == "euler:steps=1"
    assert found.error < 1e-6
    assert flow.paths(np.zeros((3, 2)), (0.0, 1.0), found.solver).nfe == 1


def piloted(flow: Flow, shift: float = 0.0, unit: float = 1.0) -> Flow:
    """The same with points of every gap on which steps are tried."""

    def pilots(forward: bool) -> list[Pilot]:
        rng = np.random.default_rng(0)
        gaps = zip(flow.timeline.times[:-1], flow.timeline.times[1:], strict=True)
        return [
            Pilot(shift + unit * rng.standard_normal((50, 2)), gap if forward else gap[::-1])
            for gap in gaps
        ]

    return replace(flow, pilots=pilots)


def test_the_hardest_gap_and_the_direction_decide() -> None:
    """A velocity that turns in the last gap alone; and one that spreads points going back."""

    def turns(s: Tensor, x: Tensor) -> Tensor:
        return 1 + 5 * (s - 2).clamp(min=0) * torch.stack([x[:, 1], -x[:, 0]], dim=1)

    calm = piloted(closed(lambda s, x: torch.ones_like(x), UNEVEN)).pace(1e-3)
    assert piloted(closed(turns, UNEVEN)).pace(1e-3).solver.steps > calm.solver.steps  # type: ignore[union-attr]
    draws_in = piloted(closed(lambda s, x: -2 * x, UNIT))
    there, back = (draws_in.pace(1e-3, forward=way).solver for way in (True, False))
    assert COSTS[back.method] * back.steps > COSTS[there.method] * there.steps  # type: ignore[union-attr]


def growing(rate: oracles.Formula) -> Flow:
    """Points that stay where they are, and whose mass grows at a rate of time."""
    heads = {"velocity": Closed(lambda s, x: 0 * x), "growth": Closed(rate)}
    field = Field({name: cast(Head, head) for name, head in heads.items()})
    return Flow(field, UNIT, Reading(VelocityGrowth()))


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("tol", TOLERANCES)
def test_mass_keeps_to_the_tolerance_too(tol: float, forward: bool) -> None:
    """m(t) = (1 + a t)^2 from 1 to 20: one step of Euler gives exp(2 a), more than a thousand."""
    a = math.sqrt(20) - 1
    flow = piloted(growing(lambda s, x: 2 * a / (1 + a * s)))
    found, times = flow.pace(tol, forward=forward), (0.0, 1.0) if forward else (1.0, 0.0)
    log_mass = flow.paths(POINTS, times, found.solver).log_mass
    assert log_mass is not None
    off = np.abs(log_mass[-1] - math.log(20 if forward else 1 / 20)).max()
    assert off <= found.error + SHARE * tol
    assert found.error <= tol


def test_mass_is_not_averaged_with_dimensions() -> None:
    """The log mass of each pilot is a group of its own, in nats."""
    places, masses = piloted(growing(lambda s, x: 3 * s)).piloted(DOPRI)
    assert places.shape == (50, 2)
    np.testing.assert_allclose(masses, np.full((50, 1), 1.5), atol=1e-5)


def test_the_error_of_bfloat16_is_that_of_mass_where_it_is_larger() -> None:
    heads = ("velocity", "growth")
    network = MLP(width=16, depth=2).build(heads, Shape(2), torch.Generator().manual_seed(2))
    with torch.no_grad():
        for p in network.heads["growth"].parameters():
            p.mul_(2.0)
    exact = piloted(Flow(network, UNIT, Reading(VelocityGrowth())))
    rough, solver = replace(exact, bf16=True), FixedStep("rk4", 5)
    (x, ours), (y, theirs) = (flow.piloted(solver) for flow in (rough, exact))
    off = np.quantile(np.abs(ours - theirs), 0.99, method="higher")
    assert off > apart([x], [y])
    assert rough.rounding(solver) == pytest.approx(off)


def test_every_direction_of_trips_is_told() -> None:
    """One as it is, both by name, and nothing of trips that lead nowhere."""
    how, flow = motion("auto:tolerance=0.01"), piloted(closed(lambda s, x: -2 * x, UNIT))
    there, back = (how.told(flow, [trip]) for trip in ((0.0, 1.0), (1.0, 0.2)))
    assert there == {"steps": str(flow.pace(1e-2)), "step_error": flow.pace(1e-2).error}
    assert back["steps"] == str(flow.pace(1e-2, forward=False)) != there["steps"]
    both = how.told(flow, [(0.5, 0.0), (0.5, 0.5), (0.5, 1.0)])
    assert both == {n: {"forward": there[n], "backward": back[n]} for n in ("steps", "step_error")}
    rough = replace(flow, bf16=True)
    assert set(motion("rk4").told(rough, [(0, 1), (1, 0)])["bf16_error"]) == {"forward", "backward"}
    assert how.told(flow, [(1.0, 1.0)]) == how.told(flow, []) == {}


@pytest.mark.parametrize(
    ("start", "times", "ways"),
    [(1.0, [0.0, 0.3], {False}), (0.0, [1.0], {True}), (0.5, [0.0, 1.0], {False, True})],
)
def test_nothing_is_tried_for_trips_that_do_not_happen(
    start: float, times: list[float], ways: set[bool]
) -> None:
    asked: set[bool] = set()
    flow = piloted(random_flow())

    def pilots(forward: bool) -> Sequence[Pilot]:
        asked.add(forward)
        return flow.pilots(forward)

    how, watched = motion("auto:tolerance=0.01"), replace(flow, pilots=pilots)
    how.trajectories(watched, POINTS[:3], times, start)
    assert asked == ways
    asked.clear()
    still = how.paths(watched, POINTS[:3], (start, start))
    np.testing.assert_array_equal(still.points[-1], POINTS[:3])
    assert not asked


def test_a_pace_depends_on_the_pilots_alone_and_is_found_once() -> None:
    flow = piloted(random_flow())
    assert flow.pace(1e-2) is flow.pace(1e-2)
    assert flow.pace(1e-2) == piloted(random_flow()).pace(1e-2)
    few, many = (
        motion("auto:tolerance=0.01").paths(flow, x, (0.0, 6.0)) for x in (POINTS[:7], POINTS)
    )
    np.testing.assert_allclose(few.points, many.points[:, :7], rtol=0, atol=1e-5)
    assert few.nfe == many.nfe


POINTS = np.random.default_rng(4).standard_normal((300, 2))


def test_what_no_steps_suffice_for_is_left_to_dopri5() -> None:
    """A velocity with more turns than the most steps have nodes, said aloud."""
    wild = piloted(closed(lambda s, x: 5 * torch.sin(400 * (x + s * x.square())), UNIT))
    with pytest.warns(CfmWarning, match="dopri5"):
        found = wild.pace(1e-3)
    assert found.solver == DOPRI
    assert str(found) == "dopri5:atol=1e-05,rtol=1e-05"
    with pytest.warns(CfmWarning, match="dopri5"):
        told = Automatic(Auto()).told(wild, [(1.0, 0.0)])
    assert told == {"steps": str(found), "step_error": None}


@pytest.mark.parametrize("tol", [1e-6, 1e-7, 1e-9])
@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_dopri5_keeps_a_tight_tolerance(tol: float, unit: float) -> None:
    """Points on circles, in units of their spread: tighter than rounding to float32 leaves."""
    turns = piloted(closed(lambda s, x: 3 * torch.stack([x[:, 1], -x[:, 0]], dim=1), UNIT), 0, unit)
    cast(Closed, turns.field.heads["velocity"]).view.scale.fill_(unit)
    x = unit * POINTS
    with pytest.warns(CfmWarning, match=f"rtol={SHARE * tol:g} carries"):
        ends = Automatic(Auto(tol)).paths(turns, x, (0.0, 1.0)).points[-1]
    back = np.array([[math.cos(3), -math.sin(3)], [math.sin(3), math.cos(3)]])
    assert apart([ends / unit], [x @ back / unit]) <= tol


@pytest.mark.filterwarnings("error")
def test_adaptive_steps_do_not_follow_the_rounding_of_bfloat16() -> None:
    """Auto refuses what dopri5 itself refuses, before it says that dopri5 carries the points."""
    rough = replace(piloted(random_flow()), bf16=True)
    with pytest.raises(ConfigError, match="--precision bf16: leave it"):
        Automatic(Auto(1e-9)).paths(rough, POINTS, (0.0, 6.0))


def test_what_no_number_can_tell_is_refused() -> None:
    assert Auto(1e-13).tolerance == 1e-13
    with pytest.raises(ConfigError, match="at least 1e-13"):
        Auto(1e-14)


def test_steps_that_leave_the_finite_numbers_are_not_taken() -> None:
    """x' = -300 x: few steps explode, and many do not suffice."""

    def carry(solver: Solver) -> Sequence[Array]:
        x = torch.full((4, 1), 1e30)
        return [solver.solve(lambda s, y: (-300 * y[0],), (x,), [0.0, 1.0])[0][-1][0].numpy()]

    with pytest.warns(CfmWarning, match="dopri5"):
        assert paced(carry, 1e-3).solver == DOPRI


def test_static_pairs_take_no_steps() -> None:
    x, y = POINTS[:5], POINTS[5:10]
    own = np.arange(5)
    pairs = Displacement((Gap(x, y, PairPlan(own, own, np.full(5, 0.2), (5, 5))),), UNIT)
    how = motion("auto")
    np.testing.assert_allclose(how.paths(pairs, x, (0.0, 1.0)).points[-1], y)
    assert how.told(pairs, [(0.0, 1.0)]) == {}


def test_auto_is_for_points_that_are_carried() -> None:
    with pytest.raises(ConfigError, match="auto chooses steps"):
        deterministic("auto")
    with pytest.raises(ConfigError, match="expected a positive"):
        Auto(0.0)


def test_conditions_of_the_pilots_count() -> None:
    """Each pilot is under its own condition, with the guidance that is asked for."""
    network = MLP(width=16, depth=2).build(("velocity",), Shape(2, 1, 1), torch.Generator())
    guide = Guide(torch.randn(300, 1, generator=torch.Generator().manual_seed(0)), 2.5)
    pilots = [Pilot(POINTS, (0.0, 1.0), replace(guide, guidance=1.0))]
    flow = Flow(network, UNIT, pilots=lambda forward: pilots)
    expected = flow.paths(POINTS, (0.0, 1.0), DOPRI, guide).points[-1] / network.scale
    np.testing.assert_array_equal(flow.piloted(DOPRI, guidance=2.5)[0], expected)
    assert apart(flow.piloted(DOPRI), [expected]) > 1e-3


def test_bfloat16_changes_little_and_its_error_is_told() -> None:
    flow = piloted(random_flow())
    rough, solver = replace(flow, bf16=True), FixedStep("rk4", 5)
    told = motion("rk4:steps=5").told(rough, [(0.0, 6.0)])["bf16_error"]
    assert motion("rk4:steps=5").told(flow, [(0.0, 6.0)]) == {}
    ends = [f.paths(POINTS, (0.0, 2.0), solver).points[-1] for f in (rough, flow)]
    far = np.sqrt(((ends[0] - ends[1]) ** 2).mean(axis=1)) / flow.field.scale
    assert 0 < np.quantile(far, 0.5) < told < 0.1
    assert "bf16_error" in motion("auto:tolerance=0.1").told(rough, [(0.0, 6.0)])
