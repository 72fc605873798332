"""Laws of objectives: the loss of each head is least at the closed form of what it regresses."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.flows.interpolants import PathDraw
from cfmcli.flows.objectives import Objective
from tests import oracles
from tests.oracles import Oracle

T = 0.35
TRUTH: dict[str, Callable[[Oracle, Tensor], Tensor]] = {
    "velocity": lambda oracle, x: oracle.velocity(T, x),
}
each_objective = pytest.mark.parametrize("name", catalog.names("objectives"))
each_path = pytest.mark.parametrize("path", catalog.names("interpolants"))


def problem(name: str, path: str) -> tuple[Objective, PathDraw, dict[str, Tensor]]:
    """An objective, draws with exact moments, and the true outputs of its heads there."""
    oracle = Oracle(oracles.TILTED, oracles.NARROW, oracles.PUBLISHED[path](0.4))
    x0, x1, z = oracles.ends(oracle, 300, torch.Generator().manual_seed(1))
    t = torch.full((300, 1), T, dtype=torch.float64)
    draw = catalog.build("interpolants", f"{path}:sigma=0.4").draw(t, x0, x1, z)
    objective: Objective = catalog.build("objectives", name)
    return objective, draw, {head: TRUTH[head](oracle, draw.x_t) for head in objective.heads}


@each_objective
@each_path
def test_gaussian_minimiser(name: str, path: str) -> None:
    """At the truth, the slope of the loss along any affine change of a head is zero."""
    objective, draw, truth = problem(name, path)
    slopes = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    moved = {head: value + draw.x_t @ slopes + shift for head, value in truth.items()}
    losses = objective.losses(moved, draw)
    assert set(losses) == set(objective.heads)
    for loss in losses.values():
        for slope in torch.autograd.grad(loss, (slopes, shift), retain_graph=True):
            assert float(slope.abs().max()) < 1e-10


@each_path
def test_velocity_loss_is_pythagorean(path: str) -> None:
    """Loss(b + change) = loss(b) + mean |change|^2 / D for an affine change of the minimiser."""
    objective, draw, truth = problem("velocity", path)
    change = draw.x_t @ torch.tensor([[0.3, -1.0], [0.7, 0.2]]).double() + 0.5
    least = objective.losses(truth, draw)["velocity"]
    more = objective.losses({"velocity": truth["velocity"] + change}, draw)["velocity"]
    torch.testing.assert_close(more - least, change.square().sum() / change.numel())
    assert float(least) > 0
