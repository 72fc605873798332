"""Laws of paths: every interpolant of the catalogue meets its ends, its rates and its oracle."""

import pytest
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.flows.interpolants import Brownian, Interpolant
from tests import oracles
from tests.oracles import Oracle

NAMES = catalog.names("interpolants")
TIMES = (0.03, 0.3, 0.5, 0.85)
each_path = pytest.mark.parametrize("name", NAMES)
each_time = pytest.mark.parametrize("t", TIMES)


def blurred(name: str, sigma: float = 0.4) -> Interpolant:
    """A path of the catalogue with a latent noise of its own."""
    built: Interpolant = catalog.build("interpolants", f"{name}:sigma={sigma}")
    return built


def clock(t: float, n: int = 1) -> Tensor:
    return torch.full((n, 1), t, dtype=torch.float64)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_path
@each_time
def test_rates_equal_finite_differences(name: str, t: float) -> None:
    path, h = blurred(name), 1e-6
    x0, x1, z = normals(3, 50, 4)
    later, earlier = (path.draw(clock(t + d, 50), x0, x1, z).x_t for d in (h, -h))
    found = path.draw(clock(t, 50), x0, x1, z).velocity
    torch.testing.assert_close(found, (later - earlier) / (2 * h), rtol=1e-6, atol=1e-7)


@each_path
def test_every_row_has_its_own_time(name: str) -> None:
    path = blurred(name)
    x0, x1, z = normals(3, len(TIMES), 3)
    together = path.draw(torch.tensor(TIMES, dtype=torch.float64)[:, None], x0, x1, z)
    for k, t in enumerate(TIMES):
        alone = path.draw(clock(t), x0[k : k + 1], x1[k : k + 1], z[k : k + 1])
        torch.testing.assert_close(together.x_t[k], alone.x_t[0])
        torch.testing.assert_close(together.velocity[k], alone.velocity[0])


@each_path
def test_path_joins_its_ends(name: str) -> None:
    """x_0 = x0, or z where z is the source; x_1 = x1; both up to the latent noise."""
    path = blurred(name)
    x0, x1, z = normals(3, 20, 3)
    start, end = (path.draw(clock(t, 20), x0, x1, z).x_t for t in (0.0, 1.0))
    noise = path.variance(clock(1.0)).sqrt() * z
    torch.testing.assert_close(end, x1 + noise)
    torch.testing.assert_close(start, z if path.needs_gaussian_source else x0 + noise)


@each_path
def test_draws_are_finite_at_both_ends(name: str) -> None:
    for dtype in (torch.float32, torch.float64):
        x0, x1, z = normals(3, 8, 2).to(dtype)
        for t in (0.0, 1.0):
            draw = blurred(name).draw(clock(t, 8).to(dtype), x0, x1, z)
            assert draw.x_t.isfinite().all()
            assert draw.velocity.isfinite().all()
            assert draw.velocity.dtype == dtype


@each_path
@each_time
def test_coefficients_are_the_published_ones(name: str, t: float) -> None:
    found = vars(oracles.read_off(blurred(name))(t))
    assert found == pytest.approx(vars(oracles.PUBLISHED[name](0.4)(t)), abs=1e-8)


@pytest.mark.parametrize("t", [0.2, 0.7])
def test_brownian_is_a_bridge(t: float) -> None:
    """Moments of draws = moments of a Brownian motion pinned at both ends."""
    n, sigma = 40_000, 0.7
    x0, x1 = normals(1, 2, seed=1), normals(1, 2, seed=2)
    drawn = Brownian(sigma).draw(clock(t, n), x0.expand(n, 2), x1.expand(n, 2), normals(n, 2)).x_t
    w_t = t**0.5 * normals(n, 2, seed=3)
    w_1 = w_t + (1 - t) ** 0.5 * normals(n, 2, seed=4)
    pinned = x0 + t * (x1 - x0) + sigma * (w_t - t * w_1)
    error = sigma * (t * (1 - t) / n) ** 0.5
    assert float((drawn.mean(0) - pinned.mean(0)).abs().max()) < 4.5 * 2**0.5 * error
    torch.testing.assert_close(drawn.var(0), pinned.var(0), rtol=4.5 * (4 / n) ** 0.5, atol=0)
    mean = (1 - t) * x0 + t * x1
    assert float((drawn.mean(0) - mean).abs().max()) < 4.5 * error


@each_path
@each_time
def test_gaussian_minimiser_is_the_oracle(name: str, t: float) -> None:
    """Least squares on particles with exact moments = the closed-form velocity, exactly."""
    path = blurred(name)
    oracle = Oracle(oracles.TILTED, oracles.NARROW, oracles.PUBLISHED[name](0.4))
    x0, x1, z = oracles.ends(oracle, 400, torch.Generator().manual_seed(5))
    draw = path.draw(clock(t, 400), x0, x1, z)
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
    draw = blurred(name).draw(clock(t, n), x0, x1, normals(n, 1, seed=7))
    oracle = Oracle(source, target, oracles.PUBLISHED[name](0.4))
    rest = (draw.velocity - oracle.velocity(t, draw.x_t))[draw.x_t[:, 0].argsort(), 0]
    bins = rest.reshape(40, -1)
    z = bins.mean(dim=1) / (bins.std(dim=1) / bins.shape[1] ** 0.5)
    assert float(z.abs().max()) < 4.5
    assert float(rest.std()) > 0.1


@pytest.mark.parametrize(
    "spec",
    [
        *(f"{name}:sigma={bad}" for name in NAMES for bad in ("-0.1", "nan", "inf")),
        "brownian:sigma=0",
        "onesided-linear:sigma=0",
        "onesided-linear:sigma=1",
    ],
)
def test_impossible_sigmas_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="sigma"):
        catalog.build("interpolants", spec)
