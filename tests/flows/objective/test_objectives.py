"""Laws of objectives: losses are least at closed forms, and heads tell velocity and score."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.cards import describe
from cfmcli.errors import ConfigError
from cfmcli.flows.fields import LENGTHS
from cfmcli.flows.objective.objectives import Objective, Place, score_from_velocity
from cfmcli.flows.path.interpolants import Interpolant, PathDraw
from cfmcli.flows.path.learned import LearnedPath
from cfmcli.flows.training.triple import built as with_parameters
from tests import oracles
from tests.oracles import Coefficients, Oracle, Path

N = 60
TIMES = (0.12, 0.35, 0.48, 0.8)
SHAPES = [name for name in oracles.LATENTS if name != "none"]
SHAPED: dict[str, Callable[[str, float], Path]] = {
    "linear": lambda gamma, a: oracles.with_latent(oracles.linear(0.0), gamma, a),
    "trigonometric": lambda gamma, a: oracles.with_latent(oracles.trigonometric(0.0), gamma, a),
    "spline": lambda gamma, a: oracles.with_latent(oracles.linear(0.0), gamma, a),
    "bent": lambda gamma, a: oracles.with_latent(oracles.linear(0.0), gamma, a),
    "density": lambda gamma, a: oracles.with_latent(oracles.linear(0.0), gamma, a),
    "encdec": oracles.through_noise,
    "vp": oracles.preserving,
    "mirror": oracles.mirror,
}
PATHS: dict[str, Path] = (
    {oracles.spec(n, 0.4): oracles.PUBLISHED[n](0.4) for n in catalog.names("interpolants")}
    | {
        f"{name}:gamma={gamma},a=0.8": published(gamma, 0.8)
        for name, published in SHAPED.items()
        for gamma in SHAPES
    }
    | {
        f"brownian:sigma=0.7,schedule={name}": oracles.bridge(name, 0.7)
        for name in ("linear", "cosine")
    }
)
OBJECTIVES = [n for n in catalog.names("objectives") if n != "static"]
OBJECTIVES += ["velocity+score:weighted=false", "v+score:weighted=false"]


def rebuilt(path: Path, change: Callable[[Coefficients], Coefficients]) -> Path:
    """A path with other rates of its coefficients."""
    return lambda t: change(path(t))


# What each head regresses is Gaussian given x_t, as the velocity is: its closed form is that of the
# velocity of a path whose rates are those of the regressed thing. dm/dt has no share of z, and z
# itself has no share of the ends and the covariance gamma with x_t.
TRUTH: dict[str, Callable[[Oracle, float, Tensor], Tensor]] = {
    "velocity": Oracle.velocity,
    "score": Oracle.score,
    "mean_velocity": lambda oracle, t, x: replace(
        oracle, path=rebuilt(oracle.path, lambda c: replace(c, dv=0.0))
    ).velocity(t, x),
    "denoiser": lambda oracle, t, x: replace(
        oracle, path=rebuilt(oracle.path, lambda c: replace(c, da=0.0, db=0.0, dv=2 * c.v**0.5))
    ).velocity(t, x),
    "growth": lambda oracle, t, x: torch.zeros(len(x), 1, dtype=x.dtype),
}


@cache
def built(spec: str) -> Interpolant:
    """A path, a learned one with fresh parameters."""
    path: Interpolant = catalog.build("interpolants", spec)
    found = with_parameters(path, 2, torch.Generator().manual_seed(3))
    return found.double() if isinstance(found, LearnedPath) else found


@cache
def legal(spec: str) -> list[str]:
    """The objectives that a path has everything for."""
    path, found = built(spec), []
    for name in OBJECTIVES:
        objective: Objective = catalog.build("objectives", name)
        lacks = objective.needs_latent and not path.has_latent
        sided = objective.needs_normal and not path.needs_gaussian_source
        if not (lacks or sided):
            found.append(name)
    return found


each_path = pytest.mark.parametrize("spec", PATHS)


@cache
def drawn(spec: str, t: float) -> tuple[Oracle, PathDraw]:
    """Draws with exact moments between two Gaussians, and their oracle."""
    oracle = Oracle(oracles.TILTED, oracles.NARROW, PATHS[spec])
    x0, x1, z = oracles.ends(oracle, N, torch.Generator().manual_seed(1))
    clock = torch.full((N, 1), t, dtype=torch.float64)
    return oracle, built(spec).draw(clock, oracles.joined(x0, x1), z)


@cache
def told(name: str, spec: str, t: float) -> tuple[Objective, PathDraw, dict[str, Tensor], Oracle]:
    """An objective, draws, and the true outputs of its heads there."""
    objective: Objective = catalog.build("objectives", name)
    oracle, draw = drawn(spec, t)
    return objective, draw, {h: TRUTH[h](oracle, t, draw.x_t) for h in objective.heads}, oracle


def weight(name: str, head: str, draw: PathDraw) -> Tensor:
    """What the square of a head's error weighs in its loss."""
    weighted = head == "score" and "false" not in name
    return draw.gamma.square() if weighted else torch.ones_like(draw.gamma)


def test_every_objective_is_judged() -> None:
    """The tables of this file miss no name of the catalogue, and each objective has its paths."""
    assert set(SHAPED) == {
        name
        for name in catalog.names("interpolants")
        if "gamma" in {o.name for o in describe("interpolants", name).options}
    }
    assert {name for spec in PATHS for name in legal(spec)} == set(OBJECTIVES)


@each_path
def test_gaussian_minimiser(spec: str) -> None:
    """At the truth, the slope of each loss along any affine change of its head is zero."""
    for t, name in product(TIMES, legal(spec)):
        objective, draw, truth, _ = told(name, spec, t)
        slopes = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
        shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        moved = {head: value + draw.x_t @ slopes + shift for head, value in truth.items()}
        losses = objective.losses(moved, draw)
        assert set(losses) == set(objective.heads)
        for loss in losses.values():
            for slope in torch.autograd.grad(loss, (slopes, shift), retain_graph=True):
                assert float(slope.abs().max()) < 1e-9


@each_path
def test_losses_are_pythagorean(spec: str) -> None:
    """Loss(truth + change) = loss(truth) + mean weight |change|^2 / D for an affine change."""
    for t, name in product(TIMES, legal(spec)):
        objective, draw, truth, _ = told(name, spec, t)
        change = draw.x_t @ torch.tensor([[0.3, -1.0], [0.7, 0.2]]).double() + 0.5
        least = objective.losses(truth, draw)
        more = objective.losses({h: value + change for h, value in truth.items()}, draw)
        for head in objective.heads:
            gain = (weight(name, head, draw) * change.square()).mean()
            torch.testing.assert_close(more[head] - least[head], gain)


@each_path
def test_heads_tell_velocity_and_score(spec: str) -> None:
    """b = v + gamma' eta = v - gamma gamma' s, s = -eta / gamma, and the one-sided formula."""
    for t, name in product(TIMES, legal(spec)):
        objective, draw, truth, oracle = told(name, spec, t)
        place = Place(draw.t, draw.x_t, built(spec))
        velocity, score = objective.velocity(truth, place), objective.score(truth, place)
        torch.testing.assert_close(velocity, oracle.velocity(t, draw.x_t))
        assert (score is not None) == objective.has_score
        if score is not None:
            torch.testing.assert_close(score, oracle.score(t, draw.x_t))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_scale_as_lengths_say(name: str) -> None:
    """In another unit of length, heads and losses change by the powers that are declared."""
    objective, draw, truth, _ = told(name, "onesided-sbdm", 0.35)
    outputs = {head: value + 0.3 for head, value in truth.items()}
    unit = 7.0
    lengths = ("x_t", "velocity", "mean_rate", "gamma", "gamma_rate")
    larger = replace(draw, **{name: unit * getattr(draw, name) for name in lengths})
    before = objective.losses(outputs, draw)
    after = objective.losses({h: v * unit ** LENGTHS[h] for h, v in outputs.items()}, larger)
    assert set(objective.lengths()) == set(objective.heads)
    for head, power in objective.lengths().items():
        torch.testing.assert_close(after[head], before[head] * unit**power)


@each_path
def test_a_velocity_tells_the_score_of_a_normal_source(spec: str) -> None:
    """From N(0, I), independent of the target, whatever the target and the latent."""
    path = built(spec)
    oracle = Oracle(oracles.STANDARD, oracles.THREE, PATHS[spec])
    x = oracles.TWO.sample(200, torch.Generator().manual_seed(5))
    for t in (0.01, *TIMES, 0.5, 0.99):
        place = Place(torch.full((200, 1), t, dtype=torch.float64), x, path)
        if not path.linear_mean:
            with pytest.raises(ConfigError, match="linear or trigonometric"):
                score_from_velocity(oracle.velocity(t, x), place)
        elif not path.needs_mirror_source:
            found = score_from_velocity(oracle.velocity(t, x), place)
            torch.testing.assert_close(found, oracle.score(t, x), rtol=1e-5, atol=1e-6)


def test_nothing_is_read_off_no_heads() -> None:
    """The static objective has no losses, no score, and refuses to tell a velocity."""
    _, draw = drawn("linear:sigma=0.4", 0.3)
    place = Place(draw.t, draw.x_t, built("linear"))
    objective: Objective = catalog.build("objectives", "static")
    assert objective.losses({}, draw) == objective.lengths() == {}
    assert objective.score({}, place) is None
    with pytest.raises(ConfigError, match="no heads"):
        objective.velocity({}, place)
