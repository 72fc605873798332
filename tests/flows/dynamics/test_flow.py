"""Laws of flows on a clock: there and back, segments, speeds, energies and densities."""

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfmcli.data.arrays import Array
from cfmcli.data.times import Timeline
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.dynamics import sde_likelihood
from cfmcli.flows.dynamics.estimates import estimate
from cfmcli.flows.dynamics.estimators import Means, Ode
from cfmcli.flows.dynamics.flow import Flow
from cfmcli.flows.dynamics.likelihood import Divergence, Exact, Hutchinson
from cfmcli.flows.dynamics.solvers import Adaptive, FixedStep
from cfmcli.flows.dynamics.stochastic import STILL
from cfmcli.flows.fields import MLP, Field, Head, Shape
from cfmcli.flows.view import View
from tests import oracles
from tests.flows.heads import FormulaHead
from tests.oracles import Oracle

UNEVEN = Timeline((0.0, 2.0, 2.5, 6.0), ("a", "b", "c", "d"))
UNIT = Timeline((0.0, 1.0), ("a", "b"))
TIGHT = Adaptive("dopri5", 1e-8, 1e-8)
ORACLE = Oracle(oracles.TWO, oracles.TILTED, oracles.trigonometric(0.3))


class Closed(FormulaHead):
    """A head that is a formula, of unit scale; its one parameter says device and precision."""

    def __init__(self, formula: oracles.Formula) -> None:
        super().__init__()
        self.formula = formula
        self.one = nn.Parameter(torch.ones(()))
        self.view = View(1, 2)

    def forward(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The formula's value."""
        return self.formula(s, x) * self.one


def closed(formula: oracles.Formula, timeline: Timeline) -> Flow:
    """The flow of a formula."""
    return Flow(Field({"velocity": cast(Head, Closed(formula))}), timeline)


def random_flow() -> Flow:
    """The flow of a random network over three uneven segments."""
    field = MLP(width=16, depth=2).build(
        ("velocity",), Shape(2, 3), torch.Generator().manual_seed(2)
    )
    with torch.no_grad():
        for p in field.parameters():
            p.mul_(2.0)
    return Flow(field, UNEVEN)


def cloud(n: int = 9, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((n, 2))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


class Flat:
    """A density that is one everywhere, and remembers where it was asked."""

    name = "flat"

    def __init__(self) -> None:
        self.asked: list[Array] = []

    def log_prob(self, x: Array) -> Array:
        """0."""
        self.asked.append(x)
        return np.zeros(len(x))


def change(
    flow: Flow,
    x: Array,
    times: tuple[float, float],
    divergence: Divergence | None = None,
    solver: Adaptive | FixedStep = TIGHT,
) -> tuple[Array, Array, Array]:
    """Where points come from, what their log density changes on the way, and its error."""
    base, means = Flat(), Means(divergence or Exact(), solver, seeded())
    found = estimate(flow, x, times, (Ode(), STILL, means), base)
    return np.concatenate(base.asked), found.values, found.error


@pytest.mark.parametrize("solver", [TIGHT, FixedStep("rk4", 100)], ids=["dopri5", "rk4"])
def test_there_and_back(solver: Adaptive | FixedStep) -> None:
    flow, x = random_flow(), cloud()
    there = flow.paths(x, (0.0, 6.0), solver)
    back = flow.paths(there.points[-1], (6.0, 0.0), solver)
    assert np.abs(there.points[-1] - x).max() > 0.3
    np.testing.assert_allclose(back.points[-1], x, atol=1e-5)
    np.testing.assert_allclose(back.energy, there.energy, rtol=1e-4)


def test_a_path_in_parts_is_the_whole_path() -> None:
    """Times in any spacing, across snapshots, with repeats: each is where a direct trip ends."""
    flow, x = random_flow(), cloud()
    times = (0.5, 0.5, 2.0, 2.3, 5.0, 5.0, 6.0)
    found = flow.paths(x, times, TIGHT)
    assert found.points.shape == (7, 9, 2)
    for time, points in zip(times, found.points, strict=True):
        direct = flow.paths(x, (0.5, time), TIGHT).points[-1]
        np.testing.assert_allclose(points, direct, atol=1e-6)
    legs = [
        flow.paths(p, leg, TIGHT).energy
        for p, leg in zip(found.points[[0, 3]], ((0.5, 2.3), (2.3, 6.0)), strict=True)
    ]
    np.testing.assert_allclose(sum(legs), found.energy, rtol=1e-5)


def test_staying_costs_nothing() -> None:
    x = cloud()
    found = random_flow().paths(x, (2.3, 2.3), TIGHT)
    assert np.array_equal(found.points, np.stack((x, x)))
    assert not found.energy.any()
    assert found.nfe == 0


@pytest.mark.parametrize("solver", [TIGHT, FixedStep("midpoint", 20)], ids=["dopri5", "midpoint"])
def test_chunks_do_not_change_results(
    solver: Adaptive | FixedStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, x = random_flow(), cloud(30)
    whole, velocity = flow.paths(x, (0.0, 4.0), solver), flow.velocity(x, 1.0)
    monkeypatch.setattr("cfmcli.flows.dynamics.flow.CHUNK", 7)
    parts = flow.paths(x, (0.0, 4.0), solver)
    np.testing.assert_allclose(parts.points, whole.points, atol=2e-6)
    np.testing.assert_allclose(parts.energy, whole.energy, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(flow.velocity(x, 1.0), velocity, atol=1e-6)


def test_chunks_do_not_change_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, x = random_flow(), cloud(150)
    solver = FixedStep("rk4", 10)
    whole = change(flow, x, (4.0, 0.0), solver=solver)
    monkeypatch.setattr(sde_likelihood, "COORDINATES", 128)
    parts = change(flow, x, (4.0, 0.0), solver=solver)
    np.testing.assert_allclose(parts[0], whole[0], atol=2e-6)
    np.testing.assert_allclose(parts[1], whole[1], atol=2e-6)


@pytest.mark.parametrize("time", [0.7, 1.9, 2.2, 4.0])
def test_velocity_is_the_derivative_of_paths_by_the_clock(time: float) -> None:
    flow, x, h = random_flow(), cloud(), 1e-3
    later, earlier = (flow.paths(x, (time, time + d), TIGHT).points[-1] for d in (h, -h))
    np.testing.assert_allclose(flow.velocity(x, time), (later - earlier) / (2 * h), atol=1e-4)


@pytest.mark.parametrize("time", [0.0, 2.0, 2.5, 6.0])
def test_at_a_snapshot_each_side_has_its_own_speed(time: float) -> None:
    """The gap after it, or the one before; at the ends of the clock there is only one."""
    flow, x, h = random_flow(), cloud(), 1e-3
    after, before = (flow.velocity(x, time, forward=forward) for forward in (True, False))
    if time < 6.0:
        step = flow.paths(x, (time, time + h), TIGHT).points[-1]
        np.testing.assert_allclose((step - x) / h, after, atol=5e-3)
    if time > 0.0:
        step = flow.paths(x, (time, time - h), TIGHT).points[-1]
        np.testing.assert_allclose((x - step) / h, before, atol=5e-3)
    assert np.array_equal(after, before) is (time in (0.0, 6.0))


def test_a_constant_field_moves_and_costs_what_it_should() -> None:
    """dx/ds = v: x moves v a segment, its energy is |v|^2 a segment, whatever their spans."""
    flow = closed(lambda s, x: torch.tensor([3.0, -4.0]).to(x).expand_as(x), UNEVEN)
    x = cloud()
    for times, moved in (((0.0, 6.0), 3.0), ((1.0, 2.25), 1.0), ((2.5, 0.5), -1.75)):
        found = flow.paths(x, times, TIGHT)
        np.testing.assert_allclose(found.points[-1], x + moved * np.array([3.0, -4.0]), atol=1e-6)
        np.testing.assert_allclose(found.energy, 25 * abs(moved), rtol=1e-6)
    np.testing.assert_allclose(flow.velocity(x, 1.0)[0], [1.5, -2.0])
    np.testing.assert_allclose(flow.velocity(x, 2.25)[0], [6.0, -8.0])


def test_energy_of_a_turning_field() -> None:
    """x' = w J x keeps |x|, so the energy of a unit of time is w^2 |x|^2."""
    turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
    x = cloud()
    found = closed(lambda s, y: y @ turn.to(y).T, UNIT).paths(x, (0.0, 0.5, 1.0), TIGHT)
    np.testing.assert_allclose(found.energy, 4 * (x**2).sum(axis=1), rtol=1e-6)
    angle = np.array([[np.cos(2), np.sin(2)], [-np.sin(2), np.cos(2)]])
    np.testing.assert_allclose(found.points[-1], x @ angle, atol=1e-6)


@pytest.mark.parametrize("time", [0.4, 1.0])
def test_log_density_of_the_closed_form(time: float) -> None:
    """log p_tau(x) - log p_0(origin) = change, to 1e-6."""
    x = ORACLE.target.sample(12, seeded())
    origin, found, error = change(closed(ORACLE.field, UNIT), x.numpy(), (time, 0.0))
    truth = ORACLE.log_prob(time, x) - ORACLE.log_prob(0.0, torch.from_numpy(origin))
    np.testing.assert_allclose(found, truth.numpy(), atol=1e-6)
    assert not error.any()


def test_origins_of_densities_are_those_of_paths() -> None:
    flow, x = random_flow(), cloud()
    origin, _, _ = change(flow, x, (4.0, 0.0))
    np.testing.assert_allclose(origin, flow.paths(x, (4.0, 0.0), TIGHT).points[-1], atol=1e-6)


def test_density_change_is_the_determinant_of_the_map() -> None:
    """change = -log |det d x_tau / d x_0|, by central differences of the paths."""
    flow, x, h = random_flow(), cloud(3), 1e-4
    origin, found, _ = change(flow, x, (6.0, 0.0))
    moves = [
        (
            flow.paths(origin + h * e, (0.0, 6.0), TIGHT).points[-1]
            - flow.paths(origin - h * e, (0.0, 6.0), TIGHT).points[-1]
        )
        / (2 * h)
        for e in np.eye(2)
    ]
    volume = np.linalg.slogdet(np.stack(moves, axis=-1))[1]
    np.testing.assert_allclose(found, -volume, atol=1e-4)


def test_estimated_densities_agree_within_their_errors() -> None:
    flow, x = random_flow(), cloud(200)
    _, exact, _ = change(flow, x, (6.0, 0.0))
    _, rough, error = change(flow, x, (6.0, 0.0), Hutchinson(16), Adaptive("dopri5"))
    z = (rough - exact) / error
    assert 0.8 < float(np.std(z)) < 1.3
    assert abs(float(np.mean(z))) < 0.3


def test_nothing_is_known_outside_the_snapshots() -> None:
    flow, x = random_flow(), cloud()
    for time in (-0.1, 6.1):
        with pytest.raises(ConfigError, match="outside"):
            flow.paths(x, (0.0, time), TIGHT)
        with pytest.raises(ConfigError, match="outside"):
            change(flow, x, (time, 0.0))


def test_paths_that_leave_the_finite_numbers_are_explained() -> None:
    flow = closed(lambda s, x: 1e3 * x**3, UNIT)
    for solver in (Adaptive("dopri5"), FixedStep("rk4", 20)):
        with pytest.raises(NumericsError, match="The solver"):
            flow.paths(cloud(), (0.0, 1.0), solver)
