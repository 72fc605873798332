"""Laws of quadrature along paths: exact on polynomials, within its tolerance, and never alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from cfmcli.flows.dynamics.likelihood import (
    Exact,
    Hutchinson,
    density_change,
    traces,
)
from cfmcli.flows.dynamics.quadrature import INTERVALS, STEPS, rule
from cfmcli.flows.dynamics.solvers import Adaptive, FixedStep
from cfmcli.flows.dynamics.vectors import VectorField
from cfmcli.flows.fields import MLP, Shape
from cfmcli.flows.objective.reading import Drift, Guide, Local, Reading
from tests import oracles
from tests.oracles import Oracle

ENDS = [(oracles.TILTED, oracles.NARROW), (oracles.TWO, oracles.THREE)]
LOOSE, TIGHT = Adaptive("dopri5"), Adaptive("dopri8", 1e-7, 1e-7)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass
class Own:
    """A field of the points y' = b(s, y), each times a factor of its own, and its divergence.

    Args:
        function: b(s, y).
        factor: shape (B, 1).
        calls: points whose divergence was asked for.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    factor: Tensor
    calls: list[int] = field(default_factory=list)

    def __call__(self, s: Tensor, x: Tensor) -> Tensor:
        """The field."""
        return self.factor * self.function(s, x)

    def traced(self, s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The field and its divergence."""
        self.calls.append(len(x))
        value, terms = traces(lambda y: self(s, y), x, Exact().directions(x, seeded()))
        return value, terms.sum(dim=1)

    def of(self, rows: Tensor) -> "Own":
        """That of some points."""
        return Own(self.function, self.factor[rows], self.calls)


def plain(velocity: VectorField) -> VectorField:
    """The same field, not telling that it knows its divergence."""
    return partial(velocity)


@pytest.mark.parametrize("n", [2, 8, 16, 32])
def test_a_rule_integrates_polynomials_of_its_degree(n: int) -> None:
    nodes, weights = rule(n)
    for degree in range(n + 2):
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1), rel=1e-12)
    np.testing.assert_allclose(rule(2 * n)[0][::2], nodes, atol=1e-15)
    assert (weights > 0).all()


@pytest.mark.parametrize("solver", [LOOSE, TIGHT], ids=["loose", "tight"])
@pytest.mark.parametrize("ends", ENDS)
def test_log_density_is_within_the_tolerance(
    ends: tuple[oracles.Mixture, oracles.Mixture], solver: Adaptive
) -> None:
    """Of the integral and of the path, on the closed-form field."""
    oracle = Oracle(*ends, oracles.linear(0.4))
    x = oracle.target.sample(6, seeded())
    own = Own(oracle.field, torch.ones(6, 1, dtype=torch.float64))
    back = density_change(own, x, (1.0, 0.0), Exact(), solver, seeded())
    wrong = oracle.log_prob(0.0, back.x) + back.loss - oracle.log_prob(1.0, x)
    assert float(wrong.abs().max()) < 10 * STEPS * (solver.atol + solver.rtol)


def test_each_point_keeps_its_own_field_and_takes_the_nodes_that_it_needs() -> None:
    """Half of the points hardly move and are done with the first rule."""
    oracle = Oracle(oracles.TWO, oracles.THREE, oracles.linear(0.2))
    x = oracle.target.sample(20, seeded())
    factor = torch.where(torch.arange(20) % 2 == 0, 1.0, 1e-6)[:, None].double()
    own = Own(oracle.field, factor)
    found = density_change(own, x, (1.0, 0.0), Exact(), LOOSE, seeded())
    first = INTERVALS[False][1] + 1
    assert own.calls[:first] == [20] * first
    assert all(calls <= 10 for calls in own.calls[first:])
    truth = density_change(plain(own), x, (1.0, 0.0), Exact(), TIGHT, seeded())
    torch.testing.assert_close(found.loss, truth.loss, rtol=1e-3, atol=1e-3)


def test_what_is_too_rough_for_nodes_is_left_to_the_solver() -> None:
    """A divergence that jumps: b = x (1 + h(s)), int h = 1, so points move to e^2 x."""

    def jump(s: Tensor, x: Tensor) -> Tensor:
        return x * (s > 0.43) / 0.57

    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    own = Own(lambda s, y: jump(s, y) + y, torch.ones(5, 1, dtype=torch.float64))
    found = density_change(own, x, (0.0, 1.0), Exact(), LOOSE, seeded())
    assert len(own.calls) > INTERVALS[False][-1] + 1
    torch.testing.assert_close(found.loss, torch.full_like(found.loss, 4), rtol=0, atol=5e-3)
    torch.testing.assert_close(found.x, x * torch.e**2, rtol=5e-3, atol=0)


@pytest.mark.parametrize(
    ("method", "tol"), [("dopri5", 1e-4), ("dopri5", 1e-7), ("dopri8", 1e-7), ("bosh3", 1e-4)]
)
def test_nodes_of_all_rules_lie_on_the_path(method: str, tol: float) -> None:
    """x' = x cos(40 s) 20, so x(s) = x(0) exp(sin(40 s) / 2): too rough for the first rules."""
    places: list[tuple[float, Tensor]] = []

    def wave(s: Tensor, y: Tensor) -> Tensor:
        return 20 * torch.cos(40 * s) * y

    class Seen(Own):
        """It tells where it has been asked for its divergence."""

        def traced(self, s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            """The field and its divergence."""
            places.append((float(s[0]), x))
            return super().traced(s, x)

        def of(self, rows: Tensor) -> "Seen":
            """That of some points."""
            return Seen(self.function, self.factor[rows], self.calls)

    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    own = Seen(wave, torch.ones(2, 1, dtype=torch.float64))
    found = density_change(own, x, (0.0, 1.0), Exact(), Adaptive(method, tol, tol), seeded())
    assert float((found.loss - np.sin(40) / 2).abs().max()) < STEPS * tol
    assert len(places) > INTERVALS[False][2] + 1
    for s, y in places:
        assert float((y - x * np.exp(np.sin(40 * s) / 2)).abs().max()) < 2 * STEPS * tol


def test_finer_rules_cost_no_more_than_their_nodes() -> None:
    """Paths are solved once: rougher divergences of points at rest take more nodes, not steps."""
    x, costs = torch.zeros(8, 1), []
    for waves in (1, 60):

        def ripple(s: Tensor, y: Tensor, waves: int = waves) -> Tensor:
            return torch.cos(waves * s) * y

        own = Own(ripple, torch.ones(8, 1))
        found = density_change(own, x, (0.0, 1.0), Exact(), LOOSE, seeded())
        costs.append((len(own.calls), found.nfe - len(own.calls)))
    (few, steps), (many, same) = costs
    assert few < many
    assert same == steps


@pytest.mark.parametrize("offset", [30.0, 100.0, 1000.0])
def test_clouds_away_from_the_origin_cost_no_more(offset: float) -> None:
    """The same points elsewhere: as exact, and by few nodes more where they are rounded."""
    x, seen = 0.5 * torch.randn(300, 2, generator=seeded()), []
    for shift, points in ((0.0, x), (offset, x + offset)):

        def wave(s: Tensor, y: Tensor, shift: float = shift) -> Tensor:
            return 1 - (y - shift) / (2 - s) + torch.sin(3 * (y - shift)) / 2

        own = Own(wave, torch.ones(len(x), 1))
        found = density_change(own, points, (1.0, 0.0), Exact(), LOOSE, seeded())
        exact = Own(wave, torch.ones(len(x), 1, dtype=torch.float64))
        fine = FixedStep("rk4", 100)
        true = density_change(exact, points.double(), (1.0, 0.0), Exact(), fine, seeded())
        torch.testing.assert_close(found.loss.double(), true.loss, rtol=0, atol=3e-4)
        torch.testing.assert_close(found.x.double(), true.x, rtol=0, atol=3e-4)
        seen.append(found.nfe)
    assert seen[1] <= 3 * seen[0]


def test_nothing_is_lost_by_no_points() -> None:
    own = Own(lambda s, y: y, torch.ones(0, 1))
    found = density_change(own, torch.empty(0, 2), (0.0, 1.0), Exact(), LOOSE, seeded())
    assert found.x.shape == (0, 2)
    assert found.loss.shape == (0,)


def test_probes_are_kept_along_a_path() -> None:
    """The estimates at nodes are those of the solver's steps with the same probes."""
    oracle = Oracle(oracles.TILTED, oracles.NARROW, oracles.linear(0.4))
    x = oracle.target.sample(8, seeded())
    own = Own(oracle.field, torch.ones(8, 1, dtype=torch.float64))
    by_nodes = density_change(own, x, (1.0, 0.0), Hutchinson(5), LOOSE, seeded(3))
    by_steps = density_change(oracle.field, x, (1.0, 0.0), Hutchinson(5), TIGHT, seeded(3))
    torch.testing.assert_close(by_nodes.loss, by_steps.loss, rtol=0, atol=1e-3)
    torch.testing.assert_close(by_nodes.error, by_steps.error, rtol=0, atol=1e-3)


def test_a_network_knows_the_conditions_of_some_of_its_points() -> None:
    network = MLP(width=16, depth=2).build(("velocity",), Shape(3, 2, 4), seeded())
    for parameter in network.parameters():
        parameter.data *= 3
    guide = Guide(torch.randn(12, 4, generator=seeded(1)), 1.5)
    local = Local(Drift(network, Reading(), 1, guide))
    x = torch.randn(12, 3, generator=seeded(2))
    fine = Adaptive("dopri5", 1e-7, 1e-7)
    with torch.no_grad():
        found = density_change(local, x, (1.0, 0.0), Exact(), LOOSE, seeded())
        exact = Local(Drift(network.double(), Reading(), 1, Guide(guide.values.double(), 1.5)))
        truth = density_change(plain(exact), x.double(), (1.0, 0.0), Exact(), fine, seeded())
    torch.testing.assert_close(found.loss.double(), truth.loss, rtol=1e-3, atol=1e-3)


def passed(x: Tensor) -> Tensor:
    """A velocity with a bump that a path passes in a tenth of the time, shape (B, 1)."""
    return 1 + 2 * torch.exp(-(((x - 0.3) / 0.08) ** 2))


def flattened(x: Tensor) -> Tensor:
    """The same bump in a flow that spreads its second coordinate while it passes."""
    rate = 4 * torch.exp(-(((x[:, :1] - 0.3) / 0.05) ** 2))
    return torch.cat([torch.ones_like(rate), rate * x[:, 1:]], dim=1)


@pytest.mark.parametrize("tol", [1e-3, 1e-4])
def test_rare_points_are_within_the_tolerance(tol: float) -> None:
    """A path through a steady velocity b in one dimension: int b' dt = log b(x_1) / b(x_0).

    The worst of many points, of which few end on the bump, with what the path itself is off.
    """
    x = torch.randn(100, 1, generator=seeded())
    own = Own(lambda s, y: passed(y), torch.ones(100, 1))
    found = density_change(own, x, (0.0, 1.0), Exact(), Adaptive("dopri5", tol, tol), seeded())
    truth = (passed(found.x) / passed(x)).log()[:, 0]
    assert float((found.loss - truth).abs().max()) < 10 * STEPS * tol


@pytest.mark.parametrize("tol", [1e-3, 1e-4])
def test_what_lies_between_the_nodes_is_seen_by_the_way(tol: float) -> None:
    """int div b dt = log of how far the second coordinate has been spread."""
    x = torch.randn(100, 2, generator=seeded())
    own = Own(lambda s, y: flattened(y), torch.ones(100, 1))
    found = density_change(own, x, (0.0, 1.0), Exact(), Adaptive("dopri5", tol, tol), seeded())
    truth = (found.x[:, 1] / x[:, 1]).log()
    far = x[:, 1].abs() > 0.1
    assert far.float().mean() > 0.9
    assert float((found.loss - truth)[far].abs().max()) < 10 * STEPS * tol / 0.1
