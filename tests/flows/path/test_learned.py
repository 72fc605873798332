"""Laws of learned paths: the value of the game, its slopes, and the transports at its saddle."""

import math

import pytest
import torch
from torch import Tensor

from cfmcli.flows.path.interpolants import Ends, Interpolant, PathDraw
from cfmcli.flows.path.learned import Learned, LearnedBridge, LearnedPath, game
from cfmcli.flows.training.triple import built
from tests import oracles
from tests.oracles import Oracle

SPECS = [Learned(3, 0), Learned(2, 5), LearnedBridge(3, 0, 0.3), LearnedBridge(2, 5, 0.3)]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=str)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def module(spec: Interpolant, dim: int) -> LearnedPath:
    """The module of a spec, in float64."""
    found = built(spec, dim, seeded(1))
    assert isinstance(found, LearnedPath)
    return found.double()


def trained(spec: Interpolant, dim: int) -> LearnedPath:
    """A module whose parameters are no longer what they were at the start."""
    found = module(spec, dim)
    with torch.no_grad():
        for k, p in enumerate(found.parameters()):
            p.add_(0.5 * normals(*p.shape, seed=k))
    return found


def clock(t: float, n: int) -> Tensor:
    return torch.full((n, 1), t, dtype=torch.float64)


@each_spec
def test_any_parameters_keep_the_ends(spec: Interpolant) -> None:
    """x_0 = x0 and x_1 = x1 whatever was learned, which in between does change the path."""
    path, start = trained(spec, 3), module(spec, 3)
    x0, x1, z = normals(3, 10, 3)
    ends = Ends(x0, x1)
    for t, place in ((0.0, x0), (1.0, x1)):
        torch.testing.assert_close(path.draw(clock(t, 10), ends, z).x_t, place)
    with torch.no_grad():
        moved = path.mean(clock(0.4, 10), ends) - start.mean(clock(0.4, 10), ends)
    assert float(moved.abs().max()) > 0.05


@each_spec
def test_rates_equal_finite_differences(spec: Interpolant) -> None:
    path, h = trained(spec, 3), 1e-6
    x0, x1, z = normals(3, 10, 3)
    later, earlier = (path.draw(clock(0.3 + d, 10), Ends(x0, x1), z).x_t for d in (h, -h))
    found = path.draw(clock(0.3, 10), Ends(x0, x1), z).velocity
    torch.testing.assert_close(found, (later - earlier) / (2 * h), rtol=1e-6, atol=1e-7)


@each_spec
def test_slopes_of_the_game_reach_every_parameter(spec: Interpolant) -> None:
    """Its gradient is the central difference of the value, through x_t and through its rate."""
    path = trained(spec, 2)
    x0, x1, z = normals(3, 40, 2)
    t = torch.linspace(0.05, 0.95, 40, dtype=torch.float64)[:, None]

    def value() -> Tensor:
        draw = path.draw(t, Ends(x0, x1), z)
        return game(draw, (draw.x_t * (1 + t)).sin(), path.epsilon)

    value().backward()  # type: ignore[no-untyped-call]
    for p in path.parameters():
        assert p.grad is not None
        push, h = normals(*p.shape, seed=9), 1e-5
        with torch.no_grad():
            p.add_(push, alpha=h)
            above = value()
            p.sub_(push, alpha=2 * h)
            below = value()
            p.add_(push, alpha=h)
        slope = float((p.grad * push).sum())
        assert slope == pytest.approx(float(above - below) / (2 * h), rel=1e-6)
        assert abs(slope) > 1e-6


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("t", [0.2, 0.7])
def test_the_field_that_descends_is_the_drift(epsilon: float, t: float) -> None:
    """G is least at b + epsilon s, where it is minus half its mean square, by the closed form."""
    spec = LearnedBridge(2, 0, epsilon) if epsilon else Learned(2, 0)
    published = oracles.PUBLISHED["learned-bridge" if epsilon else "learned"](epsilon)
    oracle = Oracle(oracles.TILTED, oracles.NARROW, published)
    x0, x1, z = oracles.ends(oracle, 300, seeded())
    draw = module(spec, 2).draw(clock(t, 300), Ends(x0, x1), z)
    drift = oracle.velocity(t, draw.x_t) + epsilon * oracle.score(t, draw.x_t)
    least = game(draw, drift, epsilon)
    torch.testing.assert_close(least, -drift.square().mean() / 2)
    change = draw.x_t @ torch.tensor([[0.3, -1.0], [0.7, 0.2]]).double() + 0.5
    more = game(draw, drift + change, epsilon)
    torch.testing.assert_close(more - least, change.square().mean() / 2)


def test_the_unit_of_the_points_is_the_corrections() -> None:
    """With all points moved and scaled, a settled correction is scaled alike."""
    plain, settled, bare = (trained(Learned(2, width), 2) for width in (5, 5, 0))
    shift, scale = torch.tensor([3.0, -1.0], dtype=torch.float64), 20.0
    settled.settle(shift, scale)
    x0, x1 = normals(2, 10, 2)
    t, small, large = (
        clock(0.4, 10),
        Ends(x0, x1),
        Ends(shift + scale * x0, shift + scale * x1),
    )
    found = settled.mean(t, large) - bare.mean(t, large)
    torch.testing.assert_close(found, scale * (plain.mean(t, small) - bare.mean(t, small)))


def test_the_generator_makes_the_weights() -> None:
    one, same, other = (Learned().build(3, seeded(k)).state_dict() for k in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def features(t: Tensor, x: Tensor, degree: int = 6) -> Tensor:
    """What a field affine in x and polynomial in t is linear in."""
    orders = range(1, degree + 1)
    u = 2 * t - 1
    waves = [torch.special.legendre_polynomial_p(u, k) * (2 * k + 1) ** 0.5 for k in orders]
    clocks = torch.cat((torch.ones_like(t), *waves), dim=1)
    return torch.cat((clocks, *(clocks * x[:, k : k + 1] for k in range(x.shape[1]))), dim=1)


def pairs(path: LearnedPath, ends: tuple[Tensor, Tensor], n: int, g: torch.Generator) -> PathDraw:
    """Draws between independent Gaussians of given (mean, deviation), antithetic in z."""
    margin = path.t_margin
    strata = (torch.arange(n) + torch.rand(n, generator=g, dtype=torch.float64)) / n
    t = (margin + (1 - 2 * margin) * strata)[:, None]
    x0, x1, z = torch.randn(3, n, ends[0].shape[1], generator=g, dtype=torch.float64)
    x0, x1 = (mean + sd * x for (mean, sd), x in zip(ends, (x0, x1), strict=True))
    twice = [torch.cat((v, v)) for v in (t, x0, x1)]
    return path.draw(twice[0], Ends(twice[1], twice[2]), torch.cat((z, -z)))


def play(spec: Interpolant, ends: tuple[Tensor, Tensor], steps: int) -> LearnedPath:
    """One backward pass a step: the field descends the value, the path ascends it."""
    generator, dim = seeded(2), ends[0].shape[1]
    path = module(spec, dim)
    linear = torch.zeros(7 * (dim + 1), dim, dtype=torch.float64, requires_grad=True)
    up = torch.optim.Adam(path.parameters(), maximize=True)
    down = torch.optim.Adam([linear])
    for k in range(steps):
        decay = 0.5 * (1 + math.cos(math.pi * k / steps))
        up.param_groups[0]["lr"] = 1e-2 * decay * min(1.0, k / 50)
        down.param_groups[0]["lr"] = 6e-2 * decay
        draw = pairs(path, ends, 256, generator)
        value = game(draw, features(draw.t, draw.x_t) @ linear, path.epsilon)
        up.zero_grad()
        down.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        up.step()
        down.step()
    return path


def answer(spec: Interpolant, ends: tuple[Tensor, Tensor], steps: int) -> LearnedPath:
    """The path ascends against the field that is best against it, by least squares."""
    generator = seeded(3)
    path = module(spec, ends[0].shape[1])
    up = torch.optim.Adam(path.parameters(), maximize=True)
    for k in range(steps):
        up.param_groups[0]["lr"] = 2e-2 * 0.5 * (1 + math.cos(math.pi * k / steps))
        draw = pairs(path, ends, 512, generator)
        seen = features(draw.t, draw.x_t)
        best = torch.linalg.lstsq(seen.detach(), draw.velocity.detach()).solution
        up.zero_grad()
        game(draw, seen @ best).backward()  # type: ignore[no-untyped-call]
        up.step()
    return path


def table(*rows: tuple[list[float], list[float]]) -> tuple[Tensor, Tensor]:
    """(mean, deviation) of source and target, shape (2, D) each."""
    source, target = (torch.tensor(row, dtype=torch.float64) for row in rows)
    return source, target


def squared_distance(ends: tuple[Tensor, Tensor]) -> float:
    """W2^2 between Gaussians with diagonal covariances."""
    return float((ends[0] - ends[1]).square().sum())


def energy(path: LearnedPath, ends: tuple[Tensor, Tensor]) -> float:
    """Least integral of E |v|^2 over fields affine in x, which carry the moments: at least W2^2."""
    with torch.no_grad():
        draw = pairs(path, ends, 50_000, seeded(4))
    seen = features(draw.t, draw.x_t, degree=12)
    best = seen @ torch.linalg.lstsq(seen, draw.velocity).solution
    return float(best.square().sum(dim=1).mean())


def weights(path: LearnedPath, t: Tensor) -> tuple[Tensor, Tensor]:
    """a(t) and b(t)."""
    one, zero = torch.ones_like(t), torch.zeros_like(t)
    with torch.no_grad():
        return path.mean(t, Ends(one, zero)), path.mean(t, Ends(zero, one))


def length(path: LearnedPath, ends: tuple[Tensor, Tensor]) -> float:
    """Energy of a Gaussian flow on a line, integral of m'^2 + s'^2, by differences on a grid."""
    a, b = weights(path, torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None])
    mean = a * ends[0][0] + b * ends[1][0]
    deviation = ((a * ends[0][1]) ** 2 + (b * ends[1][1]) ** 2).sqrt()
    return 4000 * float((mean.diff(dim=0) ** 2 + deviation.diff(dim=0) ** 2).sum())


def test_the_shortest_path_is_the_optimal_transport() -> None:
    """Learned harmonics take a flow between two Gaussians on a line from 1.2 W2^2 to W2^2."""
    ends = table(([0.0], [1.0]), ([0.5], [2.5]))
    least = squared_distance(ends)
    assert length(module(Learned(4, 0), 1), ends) > 1.2 * least
    assert length(play(Learned(4, 0), ends, 700), ends) == pytest.approx(least, rel=0.02)


def test_a_correction_reaches_what_weights_cannot() -> None:
    """Three dimensions that should shrink, grow and stay: a and b alone end at 1.11 W2^2."""
    ends = table(([0.0] * 3, [1.0, 0.1, 1.0]), ([0.0] * 3, [0.1, 1.0, 1.0]))
    least = squared_distance(ends)
    assert energy(answer(Learned(4, 0), ends, 120), ends) > 1.08 * least
    assert energy(answer(Learned(4, 16), ends, 250), ends) == pytest.approx(least, rel=0.04)


def test_the_bridge_is_the_schrodinger_bridge() -> None:
    """Its variance along t becomes the closed form of N(0, 1) to N(0, 1), noise sigma = 1.

    Reference: Tong et al. (2024), arXiv 2307.03672 (Gaussian Schrodinger bridge).
    """
    ends = table(([0.0], [1.0]), ([0.0], [1.0]))
    t = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
    exact = (1 - t) ** 2 + t**2 + t * (1 - t) * math.sqrt(4 + 1)

    def off(path: LearnedPath) -> float:
        a, b = weights(path, t)
        return float((a**2 + b**2 + path.variance(t) - exact).abs().max())

    assert off(module(LearnedBridge(4, 0, 0.5), 1)) > 0.15
    assert off(play(LearnedBridge(4, 0, 0.5), ends, 700)) < 0.015
