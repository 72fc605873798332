"""Laws of reading: margins, gaps, guidance, and the score of a normal source."""

import math
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.diffusions import diffusion
from cfmcli.flows.dynamics.stochastic import process
from cfmcli.flows.fields import MLP, Field, Head, Shape
from cfmcli.flows.objective.objectives import Objective
from cfmcli.flows.objective.reading import Drift, Guide, Reading
from cfmcli.flows.path.interpolants import Interpolant
from tests import oracles
from tests.oracles import Oracle

Formula = Callable[[Tensor, Tensor, Tensor | None], Tensor]
MARGINS = [
    ("velocity", "linear", 0.0, 1e-3),
    ("velocity", "brownian", 1e-3, 1e-3),
    ("velocity", "linear:gamma=sqrt", 1e-3, 1e-3),
    ("velocity+denoiser", "linear:gamma=sine", 1e-3, 0.011),  # sin(pi t)^2 is 0.001 at t = 0.0101
    ("v+score", "encdec", 1e-3, 0.011),
    ("denoiser", "onesided-linear", 1e-2, 1e-2),
]
X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Closed(nn.Module):
    """A head that is a formula of inner time, points and condition."""

    def __init__(self, formula: Formula) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The formula's value."""
        return self.formula(s, x, c)


def closed(**heads: Formula) -> Field:
    """A field of formulas."""
    return Field({name: cast(Head, Closed(formula)) for name, formula in heads.items()})


def clock(t: float, n: int = len(X)) -> Tensor:
    return torch.full((n, 1), t, dtype=torch.float64)


def seen_time(s: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
    """A head that says at which inner time it was asked."""
    return s.expand_as(x)


def reading(objective: str, path: str, normal: bool = False) -> Reading:
    """What heads of an objective on a path mean."""
    how: Objective = catalog.build("objectives", objective)
    along: Interpolant = catalog.build("interpolants", path)
    return Reading(how, along, normal)


@pytest.mark.parametrize(("objective", "path", "margin", "score_margin"), MARGINS)
def test_heads_are_asked_no_closer_to_the_ends_than_the_margins(
    objective: str, path: str, margin: float, score_margin: float
) -> None:
    """In every gap, for velocity and score each; inside, nothing is moved."""
    asked: list[Tensor] = []

    def note(s: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
        asked.append(s)
        return x

    for segment in (0, 2):
        heads = catalog.build("objectives", objective).heads
        found = Drift(closed(**dict.fromkeys(heads, note)), reading(objective, path, True), segment)
        for t in (0.0, 5e-4, 0.02, 0.7, 1 - 5e-4, 1.0):
            for read, least in ((found.velocity, margin), (found.score, score_margin)):
                asked.clear()
                read(clock(segment + t), X)
                wanted = segment + min(max(t, least), 1 - least)
                for s in asked:
                    torch.testing.assert_close(s, clock(wanted), rtol=0, atol=1e-12)
                assert asked


@pytest.mark.parametrize("objective", ["velocity+score", "velocity+denoiser", "v+denoiser"])
@pytest.mark.parametrize("guide", [None, Guide(torch.ones(len(X), 1), 2.0)])
def test_heads_are_evaluated_once_and_only_where_they_are_needed(
    objective: str, guide: Guide | None
) -> None:
    """Velocity and score together ask each head once, for the same numbers; a velocity, its own."""
    asked: list[str] = []

    def told(name: str) -> Formula:
        def formula(s: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
            asked.append(name)
            return (x + len(name) * s).sin() + (0 if c is None else c)

        return formula

    found = reading(objective, "linear:gamma=sqrt")
    heads = found.objective.heads
    drift = Drift(closed(**{name: told(name) for name in heads}), found, 1, guide)
    times = 1 if guide is None else 2
    velocity, score = drift.both(clock(1.4), X)
    assert sorted(asked) == sorted(heads * times)
    asked.clear()
    assert torch.equal(velocity, drift.velocity(clock(1.4), X))
    assert sorted(asked) == sorted((heads if heads[0] == "mean_velocity" else heads[:1]) * times)
    assert torch.equal(score, drift.score(clock(1.4), X))


@pytest.mark.parametrize("path", ["encdec", "vp:gamma=quadratic", "linear:gamma=sqrt"])
@pytest.mark.parametrize("normal", [False, True])
def test_noise_in_step_with_the_latent_adds_its_level_of_eta(path: str, normal: bool) -> None:
    """epsilon s = -level eta wherever gamma is small, from a normal source too."""
    heads = closed(velocity=lambda s, x, c: x, denoiser=lambda s, x, c: torch.cos(x))
    moving = process(
        Drift(heads, reading("velocity+denoiser", path, normal), 0), diffusion("gamma:level=0.7")
    )
    assert moving.score is not None
    for t in (0.02, 0.1, 0.5, 0.98):
        pull = moving.epsilon(clock(t, 1)) * moving.score(clock(t), X)
        torch.testing.assert_close(pull, -0.7 * torch.cos(X))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_reading_is_finite_at_both_ends(dtype: torch.dtype) -> None:
    """Whatever the heads say, for every objective on every path that it can be trained on."""
    for name in catalog.names("objectives"):
        for path in catalog.names("interpolants"):
            found = reading(name, path, normal=False)
            how, along = found.objective, found.interpolant
            lacks = how.needs_latent and not along.has_latent
            if not how.heads or lacks or (how.needs_normal and not along.needs_gaussian_source):
                continue
            field = closed(**dict.fromkeys(how.heads, lambda s, x, c: 1 + x))
            drift = Drift(field, found, 1)
            for t in (0.0, 0.5, 1.0):
                place = clock(1 + t).to(dtype), X.to(dtype)
                assert drift.velocity(*place).isfinite().all()
                assert drift.velocity(*place).dtype == dtype
                if found.has_score:
                    assert drift.score(*place).isfinite().all()


@pytest.mark.parametrize("path", ["linear", "trigonometric", "vp", "linear:gamma=sqrt", "encdec"])
@pytest.mark.parametrize("segment", [0, 3])
def test_a_normal_source_has_its_score_in_every_gap(path: str, segment: int) -> None:
    """Local time is what counts: the score is the oracle's, up to 1e-3 from the ends."""
    along: Interpolant = catalog.build("interpolants", path)
    oracle = Oracle(oracles.STANDARD, oracles.THREE, oracles.read_off(along))
    field = closed(velocity=lambda s, x, c: oracle.field(s - segment, x))
    found = Drift(field, Reading(interpolant=along, normal_source=True), segment)
    for t in (1e-3, 0.1, 0.6, 0.9):
        score = found.score(clock(segment + t), X)
        torch.testing.assert_close(score, oracle.score(t, X), rtol=1e-4, atol=1e-4)
    for t, near in ((0.0, 1e-3), (1.0, 1 - 1e-3)):
        found_there = found.score(clock(segment + t), X)
        torch.testing.assert_close(found_there, found.score(clock(segment + near), X))


def test_the_denoiser_alone_drives_every_gap() -> None:
    """Velocity and score of the oracle from one head, at the local time of the gap."""
    along: Interpolant = catalog.build("interpolants", "onesided-linear")
    oracle = Oracle(oracles.STANDARD, oracles.TWO, oracles.PUBLISHED["onesided-linear"](0.01))

    def eta(s: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
        t = float(s[0]) - 2
        gamma = math.sqrt(oracle.path(t).v)
        return -gamma * oracle.score(t, x)

    found = Drift(closed(denoiser=eta), Reading(catalog.build("objectives", "denoiser"), along), 2)
    for t in (0.01, 0.3, 0.95):
        torch.testing.assert_close(found.velocity(clock(2 + t), X), oracle.velocity(t, X))
        torch.testing.assert_close(found.score(clock(2 + t), X), oracle.score(t, X))


@pytest.mark.parametrize("objective", ["velocity", "velocity+score", "denoiser"])
def test_who_has_a_score(objective: str) -> None:
    """The objective tells it, or the source is normal; else asking says what to fit."""
    path = "onesided-linear"
    how = catalog.build("objectives", objective)
    field = closed(**dict.fromkeys(how.heads, seen_time))
    assert reading(objective, path, True).has_score
    bare = reading(objective, path)
    assert bare.has_score == (objective != "velocity")
    if not bare.has_score:
        with pytest.raises(ConfigError, match=r"--method sf2m or si.*--coupling independent"):
            Drift(field, bare).score(clock(0.5), X)


def bent_by(s: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
    """A head that no combination of conditions is linear in."""
    assert c is not None
    return (x + c.sum(dim=1, keepdim=True)).sin() + c[:, :2] * s


VALUES = torch.randn(6, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def guided(w: float, objective: str = "velocity+denoiser") -> Drift:
    """The drift of heads that depend on a condition, guided by w."""
    heads = catalog.build("objectives", objective).heads
    field = closed(**dict.fromkeys(heads, bent_by))
    return Drift(field, reading(objective, "linear:gamma=sqrt"), 0, Guide(VALUES, w))


def test_guidance_leaves_the_condition_out_or_follows_it() -> None:
    """w = 0: what an all-zero condition gives; w = 1: what the condition gives."""
    zero, one = (guided(w).velocity(clock(0.4), X) for w in (0.0, 1.0))
    torch.testing.assert_close(zero, bent_by(clock(0.4), X, 0 * VALUES))
    torch.testing.assert_close(one, bent_by(clock(0.4), X, VALUES))


@pytest.mark.parametrize("objective", ["velocity+denoiser", "v+score", "v+denoiser"])
@pytest.mark.parametrize("w", [-1.0, 0.3, 2.0, 5.0])
def test_guidance_is_linear(objective: str, w: float) -> None:
    """Velocity and score move along the line through w = 0 and w = 1."""
    null, full, found = (guided(v, objective) for v in (0.0, 1.0, w))
    for read in ("velocity", "score"):
        ends = (getattr(drift, read)(clock(0.4), X) for drift in (null, full, found))
        start, end, there = ends
        torch.testing.assert_close(there, (1 - w) * start + w * end)
        assert not torch.allclose(start, end)


def test_a_guide_is_cut_as_its_points_are() -> None:
    guide = Guide(VALUES, 2.0).of(slice(1, 4))
    assert torch.equal(guide.values, VALUES[1:4])
    assert torch.equal(Guide(VALUES).of(torch.tensor([5, 0])).values, VALUES[[5, 0]])
    assert guide.guidance == 2.0
    whole = guided(2.0).velocity(clock(0.4), X)
    part = Drift(guided(2.0).field, guided(2.0).reading, 0, guide).velocity(clock(0.4, 3), X[1:4])
    torch.testing.assert_close(part, whole[1:4])


def test_a_field_with_no_condition_is_asked_for_none() -> None:
    field = MLP(width=4, depth=1).build(("velocity",), Shape(2), torch.Generator().manual_seed(0))
    found = Drift(field.double(), Reading()).velocity(clock(0.3), X)
    assert torch.equal(found, field(clock(0.3), X)["velocity"])


@pytest.mark.parametrize("guidance", [0.0, 1.0, 1.7])
@pytest.mark.parametrize(("objective", "path"), [(m[0], m[1]) for m in MARGINS])
def test_divergence_is_the_trace_of_the_jacobian(
    objective: str, path: str, guidance: float
) -> None:
    """Of every kind of reading, where the view moves and widens, guided or not."""
    how = reading(objective, path)
    seed = torch.Generator().manual_seed(1)
    field = MLP(width=16, depth=2).build(how.objective.heads, Shape(2, 3, 4), seed).double()
    means = torch.tensor([[3.0, -2.0], [1.0, 0.5], [0.0, 2.0], [4.0, 4.0]])
    field.view.settle(means, torch.tensor([0.7, 0.01, 0.3, 1.0]), 0.7)
    values = torch.randn(6, 4, generator=seed, dtype=torch.float64)
    drift = Drift(field, how, 1, Guide(values, guidance))
    velocity, divergence = drift.traced(clock(1.4), X)
    torch.testing.assert_close(velocity, drift.velocity(clock(1.4), X))
    slopes = jacrev(lambda y: drift.velocity(clock(1.4), y).sum(dim=0))(X)
    torch.testing.assert_close(divergence, torch.einsum("ibi->b", slopes))
