"""Laws of paths: every interpolant of the catalogue meets its ends, its rates and its oracle."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jvp

from cfmcli import catalog
from cfmcli.cards import describe
from cfmcli.errors import ConfigError
from cfmcli.flows.path.bridge import Brownian
from cfmcli.flows.path.interpolants import Ends, Interpolant, PathDraw
from cfmcli.flows.training.triple import built
from tests import oracles
from tests.oracles import LATENTS, Oracle, Path

NAMES = catalog.names("interpolants")
OPTIONS = {n: {o.name for o in describe("interpolants", n).options} for n in NAMES}
TIMES = (0.03, 0.3, 0.48, 0.85)
SHAPES = [name for name in LATENTS if name != "none"]
each_path = pytest.mark.parametrize("name", NAMES)
each_time = pytest.mark.parametrize("t", TIMES)
each_shape = pytest.mark.parametrize("gamma", SHAPES)
each_schedule = pytest.mark.parametrize("schedule", oracles.DIFFUSIONS)

# Paths with a choice of latent: what is published of them for a latent of scale a.
CHOSEN = {
    "linear": lambda gamma, a: oracles.with_latent(oracles.linear(0.3), gamma, a),
    "trigonometric": lambda gamma, a: oracles.with_latent(oracles.trigonometric(0.3), gamma, a),
    "spline": lambda gamma, a: oracles.with_latent(oracles.linear(0.3), gamma, a),
    "bent": lambda gamma, a: oracles.with_latent(oracles.linear(0.3), gamma, a),
    "density": lambda gamma, a: oracles.with_latent(oracles.linear(0.3), gamma, a),
    "encdec": oracles.through_noise,
    "vp": oracles.preserving,
    "mirror": oracles.mirror,
}


def build(spec: str) -> Interpolant:
    """The path of a spec."""
    built: Interpolant = catalog.build("interpolants", spec)
    return built


def blurred(name: str, noise: float = 0.4) -> Interpolant:
    """A path of the catalogue with a noise other than the default, where it has one."""
    return build(oracles.spec(name, noise))


def latent(name: str, gamma: str, a: float = 0.8) -> Interpolant:
    """A path with a latent of its own, and a blur where it has one."""
    blur = ",sigma=0.3" if "sigma" in OPTIONS[name] else ""
    return build(f"{name}:gamma={gamma},a={a}{blur}")


def clock(t: float, n: int = 1) -> Tensor:
    return torch.full((n, 1), t, dtype=torch.float64)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bent(n: int, dim: int) -> tuple[Ends, Tensor]:
    """Random ends with random tangents, and a latent."""
    x0, x1, v0, v1, z = normals(5, n, dim)
    return Ends(x0, x1, v0, v1), z


def flat(oracle: Oracle, path: Interpolant, t: float, n: int = 400) -> PathDraw:
    """Draws with exact moments between the ends of a Gaussian oracle."""
    x0, x1, z = oracles.ends(oracle, n, torch.Generator().manual_seed(5))
    return path.draw(clock(t, n), oracles.joined(x0, x1), z)


def test_every_choice_of_latent_is_judged() -> None:
    """The tables of this file miss no name of the catalogue."""
    assert set(CHOSEN) == {name for name in NAMES if "gamma" in OPTIONS[name]}
    assert set(oracles.PUBLISHED) == set(NAMES)


@each_path
@each_time
def test_rates_equal_finite_differences(name: str, t: float) -> None:
    path, h = blurred(name), 1e-6
    ends, z = bent(50, 4)
    later, earlier = (path.draw(clock(t + d, 50), ends, z).x_t for d in (h, -h))
    found = path.draw(clock(t, 50), ends, z).velocity
    torch.testing.assert_close(found, (later - earlier) / (2 * h), rtol=1e-6, atol=1e-7)


@each_path
def test_a_draw_is_the_sum_of_its_parts(name: str) -> None:
    """velocity = dm/dt + (d gamma/dt) z, with gamma^2 the variance and dm/dt the rate at z = 0."""
    path, t = blurred(name), clock(0.37, 30)
    ends, z = bent(30, 3)
    draw, still = path.draw(t, ends, z), path.draw(t, ends, torch.zeros_like(z))
    torch.testing.assert_close(draw.gamma.square(), path.variance(t))
    torch.testing.assert_close(draw.mean_rate, still.velocity)
    torch.testing.assert_close(draw.velocity - still.velocity, draw.gamma_rate * z)
    torch.testing.assert_close(draw.x_t - still.x_t, draw.gamma * draw.z)
    assert torch.equal(draw.t, t)


@each_path
def test_every_row_has_its_own_time(name: str) -> None:
    path = blurred(name)
    ends, z = bent(len(TIMES), 3)
    together = path.draw(torch.tensor(TIMES, dtype=torch.float64)[:, None], ends, z)
    for k, t in enumerate(TIMES):
        row = slice(k, k + 1)
        own = {key: value[row] for key, value in vars(ends).items() if value is not None}
        alone = path.draw(clock(t), Ends(**own), z[row])
        torch.testing.assert_close(together.x_t[row], alone.x_t)
        torch.testing.assert_close(together.velocity[row], alone.velocity)


@each_path
def test_path_joins_its_ends(name: str) -> None:
    """x_0 = x0, z where it is the source, or x1 where both are one; x_1 = x1; up to the blur."""
    path = blurred(name)
    ends, z = bent(20, 3)
    start, end = (path.draw(clock(t, 20), ends, z).x_t for t in (0.0, 1.0))
    noise = path.variance(clock(1.0)).sqrt() * z
    source = ends.x1 if path.needs_mirror_source else ends.x0
    torch.testing.assert_close(end, ends.x1 + noise)
    torch.testing.assert_close(start, z if path.needs_gaussian_source else source + noise)


@each_path
def test_draws_are_finite_at_both_ends(name: str) -> None:
    for dtype in (torch.float32, torch.float64):
        x0, x1, z = normals(3, 8, 2).to(dtype)
        for t in (0.0, 1.0):
            draw = blurred(name).draw(clock(t, 8).to(dtype), oracles.joined(x0, x1), z)
            assert draw.x_t.isfinite().all()
            assert draw.velocity.isfinite().all()
            assert draw.velocity.dtype == dtype


@each_path
@each_time
def test_coefficients_are_the_published_ones(name: str, t: float) -> None:
    found = vars(oracles.read_off(blurred(name))(t))
    assert found == pytest.approx(vars(oracles.PUBLISHED[name](0.4)(t)), abs=1e-8)


@each_time
@each_shape
@pytest.mark.parametrize("name", CHOSEN)
def test_latents_are_the_published_ones(name: str, gamma: str, t: float) -> None:
    """Latent variances add up, and vp gives them room; beside those of each name's default."""
    published: Path = CHOSEN[name](gamma, 0.8)
    found = vars(oracles.read_off(latent(name, gamma))(t))
    assert found == pytest.approx(vars(published(t)), abs=1e-8)


@each_time
@each_schedule
def test_bridges_are_the_published_ones(schedule: str, t: float) -> None:
    path = Brownian(0.7, schedule)
    published = oracles.bridge(schedule, 0.7)
    assert vars(oracles.read_off(path)(t)) == pytest.approx(vars(published(t)), abs=1e-8)
    assert path.total_variance == pytest.approx(oracles.spread(schedule, 0.7, 1.0), rel=1e-10)


@each_path
@each_time
def test_rates_are_the_published_ones(name: str, t: float) -> None:
    """alpha, beta, gamma and their rates, where the mean is linear in the ends."""
    path, c = blurred(name), oracles.PUBLISHED[name](0.4)(t)
    if not path.linear_mean:
        with pytest.raises(ConfigError, match="linear"):
            path.rates(clock(t))
        return
    gamma = math.sqrt(c.v)
    slope = c.dv / (2 * gamma) if gamma else 0.0
    found = [float(value) for value in vars(path.rates(clock(t))).values()]
    assert found == pytest.approx([c.a, c.b, gamma, c.da, c.db, slope], abs=1e-10)


@each_time
@pytest.mark.parametrize("name", [n for n in NAMES if build(n).linear_mean])
def test_a_linear_mean_is_linear(name: str, t: float) -> None:
    """m = alpha x0 + beta x1 exactly where `linear_mean` says so."""
    path, at = blurred(name), clock(t, 10)
    ends, _ = bent(10, 3)
    rates = path.rates(at)
    torch.testing.assert_close(path.mean(at, ends), rates.alpha * ends.x0 + rates.beta * ends.x1)


@each_path
def test_a_margin_is_kept_where_the_latent_rate_explodes(name: str) -> None:
    """Towards an end |d gamma/dt| grows without bound exactly for the paths with a margin."""
    path = blurred(name)
    pair = oracles.joined(*normals(2, 1, 2))
    far, near = (
        max(
            float(path.draw(clock(t), pair, normals(1, 2)).gamma_rate.abs())
            for t in (step, 1 - step)
        )
        for step in (1e-3, 1e-7)
    )
    assert path.t_margin == (1e-3 if near > 50 * (far + 1e-9) else 0.0)
    assert near > 50 * far or near < 1.5 * far + 1e-9


@each_path
def test_a_latent_is_one_inside(name: str) -> None:
    """has_latent = whether gamma > 0 at all inner times."""
    for path in (build(name), blurred(name)):
        inner = path.variance(torch.linspace(0.01, 0.99, 99, dtype=torch.float64)[:, None])
        assert path.has_latent == bool((inner > 0).all()) == bool((inner > 0).any())


@each_shape
@pytest.mark.parametrize("name", CHOSEN)
def test_variance_is_smooth_to_the_ends(name: str, gamma: str) -> None:
    """gamma^2 is at least 0 and has a rate at t = 0 and 1, the limit of its one-sided slopes."""
    path = latent(name, gamma)
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None]
    assert float(path.variance(grid).min()) >= 0
    for t, step in ((0.0, 1e-4), (1.0, -1e-4)):
        _, rate, *_ = jvp(path.variance, (clock(t),), (clock(1.0),))
        near, mid, far = (float(path.variance(clock(t + k * step))) for k in (0, 1, 2))
        slope = (4 * mid - 3 * near - far) / (2 * step)
        assert float(rate) == pytest.approx(slope, abs=1e-5)


@each_time
@pytest.mark.parametrize(
    "spec",
    [
        "trigonometric",
        *(f"vp:gamma={gamma},a=0.8" for gamma in LATENTS),
        "onesided-trigonometric",
        "onesided-sbdm",
    ],
)
def test_unit_variance_is_preserved(spec: str, t: float) -> None:
    """Standardised independent ends give a standardised x_t, for every t."""
    draw = flat(Oracle(oracles.STANDARD, oracles.STANDARD, oracles.linear(0.0)), build(spec), t)
    cov = draw.x_t.T @ draw.x_t / len(draw.x_t)
    torch.testing.assert_close(cov, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_code_of_encdec_is_standard_normal() -> None:
    """x_1/2 = z, whatever the ends."""
    ends, z = bent(30, 3)
    torch.testing.assert_close(build("encdec").draw(clock(0.5, 30), ends, z).x_t, z)


def test_encdec_forgets_the_other_end() -> None:
    ends, z = bent(30, 3)
    path, other = build("encdec"), normals(30, 3, seed=9)
    for t, changed in ((0.3, Ends(ends.x0, other)), (0.7, Ends(other, ends.x1))):
        found = path.draw(clock(t, 30), changed, z)
        assert torch.equal(found.x_t, path.draw(clock(t, 30), ends, z).x_t)


@each_time
def test_a_mirror_needs_no_source(t: float) -> None:
    """x0 plays no role, and the law at t is that at 1 - t."""
    ends, z = bent(30, 3)
    path = build("mirror")
    lost = Ends(torch.full_like(ends.x0, torch.nan), ends.x1)
    found = path.draw(clock(t, 30), lost, z)
    torch.testing.assert_close(found.x_t, path.draw(clock(1 - t, 30), ends, z).x_t)
    torch.testing.assert_close(found.velocity, -path.draw(clock(1 - t, 30), ends, z).velocity)


@each_path
def test_a_path_is_bound_before_a_run(name: str) -> None:
    """A fixed path is its own and learns nothing; a learned one begins as its spec says."""
    path = blurred(name)
    bound = built(path, 3, torch.Generator().manual_seed(0))
    x0, x1, z = normals(3, 20, 3).float()
    t, ends = torch.full((20, 1), 0.4), oracles.joined(x0, x1)
    for mine, its in zip(
        vars(path.draw(t, ends, z)).values(), vars(bound.draw(t, ends, z)).values(), strict=True
    ):
        torch.testing.assert_close(its, mine)
    assert (bound is path) == (not list(bound.parameters()))
    assert (bound.t_margin, bound.has_latent) == (path.t_margin, path.has_latent)
    assert (bound.linear_mean, bound.epsilon) == (path.linear_mean, path.epsilon)


@each_schedule
@pytest.mark.parametrize("t", [0.2, 0.7])
def test_brownian_is_a_bridge(schedule: str, t: float) -> None:
    """Moments of draws = moments of a Brownian motion, slowed by F(t), pinned at both ends."""
    n, sigma = 40_000, 0.7
    x0, x1 = normals(1, 2, seed=1), normals(1, 2, seed=2)
    ends = Ends(x0.expand(n, 2), x1.expand(n, 2))
    drawn = Brownian(sigma, schedule).draw(clock(t, n), ends, normals(n, 2)).x_t
    now, end = (oracles.spread(schedule, sigma, s) for s in (t, 1.0))
    w_t = now**0.5 * normals(n, 2, seed=3)
    w_1 = w_t + (end - now) ** 0.5 * normals(n, 2, seed=4)
    pinned = x0 + w_t + now / end * (x1 - x0 - w_1)
    error = (now * (1 - now / end) / n) ** 0.5
    assert float((drawn.mean(0) - pinned.mean(0)).abs().max()) < 4.5 * 2**0.5 * error
    torch.testing.assert_close(drawn.var(0), pinned.var(0), rtol=4.5 * (4 / n) ** 0.5, atol=0)


@each_path
@each_time
def test_gaussian_minimiser_is_the_oracle(name: str, t: float) -> None:
    """Least squares on particles with exact moments = the closed-form velocity, exactly."""
    path = blurred(name)
    oracle = Oracle(oracles.TILTED, oracles.NARROW, oracles.PUBLISHED[name](0.4))
    draw = flat(oracle, path, t)
    inputs = torch.cat((torch.ones(400, 1, dtype=torch.float64), draw.x_t), dim=1)
    head = torch.linalg.lstsq(inputs, draw.velocity).solution
    torch.testing.assert_close(inputs @ head, oracle.velocity(t, draw.x_t), rtol=0, atol=1e-9)


@each_path
@each_time
def test_mixture_velocity_is_the_conditional_mean(name: str, t: float) -> None:
    """In each bin of x_t the mean of dx_t/dt - b(x_t) is zero within its standard error."""
    n, generator = 60_000, torch.Generator().manual_seed(6)
    source, target = (
        oracles.Mixture(
            torch.tensor(w, dtype=torch.float64),
            torch.tensor(m, dtype=torch.float64)[:, None],
            torch.tensor(s, dtype=torch.float64)[:, None, None] ** 2,
        )
        for w, m, s in (
            ((0.4, 0.6), (-1.5, 1.0), (0.3, 0.5)),
            ((0.7, 0.3), (2.0, -2.0), (0.4, 0.2)),
        )
    )
    x0, x1 = source.sample(n, generator), target.sample(n, generator)
    draw = blurred(name).draw(clock(t, n), oracles.joined(x0, x1), normals(n, 1, seed=7))
    oracle = Oracle(source, target, oracles.PUBLISHED[name](0.4))
    rest = (draw.velocity - oracle.velocity(t, draw.x_t))[draw.x_t[:, 0].argsort(), 0]
    bins = rest.reshape(40, -1)
    z = bins.mean(dim=1) / (bins.std(dim=1) / bins.shape[1] ** 0.5)
    assert float(z.abs().max()) < 4.5
    assert float(rest.std()) > 0.01


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
AMOUNTS = [(n, key) for n in NAMES for key in sorted(OPTIONS[n] & {"sigma", "a", "epsilon"})]


@given(st.sampled_from(AMOUNTS), NUMBERS.filter(lambda v: not 0 <= v < math.inf))
def test_impossible_amounts_are_refused(where: tuple[str, str], value: float) -> None:
    """A negative, infinite or undefined amount is refused by its name."""
    name, key = where
    with pytest.raises(ConfigError, match=key):
        build(f"{name}:{key}={value}")


@given(st.sampled_from(AMOUNTS), st.floats(1e-3, 0.9), st.floats(0, 1))
def test_possible_amounts_give_a_path(where: tuple[str, str], value: float, t: float) -> None:
    """A finite point and a variance of at least 0 at every time."""
    name, key = where
    path = build(f"{name}:{key}={value}")
    ends, z = bent(2, 2)
    assert path.draw(clock(t, 2), ends, z).x_t.isfinite().all()
    assert float(path.variance(clock(t))) >= 0


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        *((f"{name}:gamma=cubic", "Known: none, sqrt") for name in CHOSEN),
        *((f"{name}:a=0", "a=0") for name in CHOSEN),
        ("encdec:gamma=none", "gamma=none"),
        ("mirror:gamma=none", "gamma=none"),
        ("vp:gamma=sine,a=1", "below 1"),
        ("vp:gamma=sqrt,a=4", "below 4"),
        ("vp:gamma=quadratic,a=16.1", "below 16"),
        ("vp:gamma=sigmoid,a=5.02", "below 5.01"),
        ("brownian:sigma=0", "sigma"),
        ("brownian:schedule=falling", "constant, linear, cosine"),
        ("onesided-linear:sigma=0", "sigma"),
        ("onesided-linear:sigma=1", "sigma"),
        ("learned:terms=0", "terms=0"),
        ("learned:width=-1", "width=-1"),
        ("learned-bridge:epsilon=0", "epsilon=0"),
    ],
)
def test_impossible_options_are_refused(spec: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build(spec)
