"""Laws of evaluations: velocity and score at one place are one, counted as it is done."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfmcli import catalog
from cfmcli.data.times import Timeline
from cfmcli.flows.dynamics.choice import stochastic
from cfmcli.flows.dynamics.diffusions import diffusion
from cfmcli.flows.dynamics.estimators import Controlled, Estimator, FeynmanKac
from cfmcli.flows.dynamics.flow import Flow
from cfmcli.flows.dynamics.sde import Process, StochasticHeun
from cfmcli.flows.dynamics.solvers import FixedStep
from cfmcli.flows.dynamics.stochastic import Noise, process, wander
from cfmcli.flows.fields import MLP, Shape
from cfmcli.flows.objective.reading import Reading
from cfmcli.flows.streams import Streams
from tests.processes import means, seeded

STAGES = {"euler-maruyama": 1, "stochastic-heun": 2}
TWO_GAPS = Timeline((0.0, 3.0, 4.0), ("a", "b", "c"))
X = torch.randn(20, 2, generator=seeded())
MARGIN = 0.02


def made(least: float = MARGIN) -> Process:
    """A process whose velocity is level closer to the ends than `least`, evaluated apart."""

    def velocity(s: Tensor, x: Tensor) -> Tensor:
        return (3 * x).sin() * s.clamp(least, 1 - least)

    def score(s: Tensor, x: Tensor) -> Tensor:
        return -x / (0.2 + s)

    return Process(velocity, score, lambda t: 0.4 + 0.3 * t, MARGIN, least)


def joined(apart: Process) -> Process:
    """The same, of which both may be evaluated at once."""
    score: Callable[[Tensor, Tensor], Tensor] | None = apart.score
    assert score is not None
    return replace(apart, both=lambda s, x: (apart.velocity(s, x), score(s, x)))


def learner(spec: str) -> tuple[Flow, Callable[[], list[int]]]:
    """An untrained flow of two gaps, and how often each of its networks has been called."""
    how, path = catalog.build("objectives", spec), catalog.build("interpolants", "brownian")
    field = MLP(width=8).build(how.heads, Shape(2, 2), seeded())
    calls: list[nn.Module] = []
    for head in field.heads.values():
        head.register_forward_hook(lambda head, *_: calls.append(head))
    flow = Flow(field, TWO_GAPS, Reading(how, path))
    return flow, lambda: [calls.count(head) for head in field.heads.values()]


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(("least", "ends"), [(MARGIN, 0), (0.0, 1)])
def test_a_drift_is_one_evaluation(name: str, least: float, ends: int) -> None:
    """The same paths as by two each; at an end, two where velocity and score have their own."""
    solver = stochastic(f"{name}:steps=10")
    ways = (
        solver.solve(way, X, [1.0, 0.35, 0.0], seeded(1))
        for way in (made(least), joined(made(least)))
    )
    (wanted, calls), (found, nfe) = ways
    assert all(map(torch.equal, found, wanted))
    assert calls == 2 * STAGES[name] * (7 + 4)
    assert nfe == STAGES[name] * (7 + 4 + ends)


@pytest.mark.parametrize(("estimator", "calls"), [(Controlled(3, 7), 5), (FeynmanKac(3, 7), 2)])
def test_no_step_begins_with_what_is_known(estimator: Estimator, calls: int) -> None:
    """A step ahead, the rates at its end, and for `sde` two scores between; the same weights."""
    ways = (made(), joined(made()))
    wanted, found = (estimator.carry(way, X, (1.0, 0.0), means()) for way in ways)
    assert torch.equal(found.x, wanted.x)
    assert torch.equal(found.change, wanted.change)
    first = calls - 3 if calls > 3 else 1
    assert found.nfe == 7 * calls + first


@pytest.mark.parametrize("spec", ["velocity+score", "v+denoiser", "sf2m"])
def test_each_network_is_called_once_in_a_drift(spec: str) -> None:
    """As often as is counted; and the paths are those of velocity and score evaluated apart."""
    flow, calls = learner(spec)
    how = Noise(StochasticHeun(10), diffusion("0.3"), Streams(0))
    found = wander(flow, X.double().numpy(), (0.0, 4.0), how)
    assert calls() == [found.nfe] * 2 == [2 * 10 * 2] * 2
    with torch.no_grad():
        one = process(flow.drift(1), diffusion("0.3"))
        (*_, end), nfe = how.solver.solve(one, X, [0.0, 1.0], seeded())
        (*_, wanted), more = how.solver.solve(replace(one, both=None), X, [0.0, 1.0], seeded())
    torch.testing.assert_close(end, wanted)
    assert more == 2 * nfe == 2 * 2 * 10


@pytest.mark.parametrize(("spec", "needed"), [("sf2m", [8, 0]), ("v+denoiser", [8, 8])])
def test_a_flow_calls_the_networks_of_its_velocity(spec: str, needed: list[int]) -> None:
    """A head that tells the score alone stays unasked without noise."""
    flow, calls = learner(spec)
    found = flow.paths(X.double().numpy(), (0.0, 4.0), FixedStep("euler", 4))
    assert calls() == needed
    assert found.nfe == 8
    assert np.isfinite(found.points).all()
