"""Laws of the travelling Dirac: ends, continuity, least action, and its limit, a straight line."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from cfmcli.errors import ConfigError
from cfmcli.flows.path.growing import TravellingDirac
from cfmcli.flows.path.interpolants import Ends, PathDraw

CASES = [(0.3, 2.0, 1.0, 0.7), (1.0, 1.0, 0.5, 1.2), (2.0, 0.1, 3.0, 2.0), (1.0, 3.0, 1.0, 0.0)]
each_case = pytest.mark.parametrize(("m0", "m1", "delta", "d"), CASES)


def ends(m0: float, m1: float, delta: float, d: float) -> Ends:
    """One pair at a distance d along a slanted line, with masses of mean 1."""
    scale = 2 / (m0 + m1)
    number = (torch.tensor([[v]], dtype=torch.float64) for v in (m0 * scale, m1 * scale, delta))
    x0 = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    return Ends(x0, x0 + d * torch.tensor([[0.6, 0.8]], dtype=torch.float64), None, None, *number)


def draw(t: float, pair: Ends, sigma: float = 0.0) -> PathDraw:
    """The path at a time, its latent one."""
    clock = torch.full((1, 1), t, dtype=torch.float64)
    return TravellingDirac(sigma).draw(clock, pair, torch.ones_like(pair.x0))


@each_case
def test_it_joins_both_ends_with_their_masses(m0: float, m1: float, delta: float, d: float) -> None:
    pair = ends(m0, m1, delta, d)
    start, end = draw(0.0, pair), draw(1.0, pair)
    for found, wanted in (
        (start.x_t, pair.x0),
        (end.x_t, pair.x1),
        (start.mass, pair.m0),
        (end.mass, pair.m1),
    ):
        assert wanted is not None
        torch.testing.assert_close(found, wanted)


@each_case
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_continuity(m0: float, m1: float, delta: float, d: float, t: float) -> None:
    """dm/dt = g m and dx/dt is the velocity, by finite differences."""
    pair, h = ends(m0, m1, delta, d), 1e-5
    before, here, after = (draw(s, pair, 0.3) for s in (t - h, t, t + h))
    slope = (after.mass - before.mass) / (2 * h)
    torch.testing.assert_close(here.growth * here.mass, slope, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        here.velocity, (after.x_t - before.x_t) / (2 * h), rtol=1e-6, atol=1e-8
    )


@each_case
def test_its_action_is_the_squared_distance(m0: float, m1: float, delta: float, d: float) -> None:
    """½ ∫ m (|v|² + δ² g²) dt = 2 δ² (m0 + m1 - 2 √(m0 m1) cos(d / 2δ)): no path costs less."""
    pair = ends(m0, m1, delta, d)

    def density(t: float) -> float:
        here = draw(t, pair)
        speed, growth = here.velocity.square().sum(), here.growth.square()
        return float(0.5 * here.mass * (speed + delta**2 * growth))

    a, b = (float(m) for m in (pair.m0, pair.m1) if m is not None)
    exact = 2 * delta**2 * (a + b - 2 * math.sqrt(a * b) * math.cos(d / (2 * delta)))
    assert quad(density, 0, 1, epsabs=1e-10)[0] == pytest.approx(exact, rel=1e-7)


@each_case
def test_mass_is_the_quadratic_and_speed_what_it_leaves(
    m0: float, m1: float, delta: float, d: float
) -> None:
    """m = A t² - 2 B t + m0 and m |dx/dt| = 2 δ √(m0 m1) sin θ, the same at all times."""
    pair = ends(m0, m1, delta, d)
    a, b = (float(m) for m in (pair.m0, pair.m1) if m is not None)
    q = math.sqrt(a * b) * math.cos(d / (2 * delta))
    momentum = 2 * delta * math.sqrt(a * b) * math.sin(d / (2 * delta))
    for t in (0.2, 0.6):
        here = draw(t, pair)
        assert float(here.mass) == pytest.approx((a + b - 2 * q) * t * t - 2 * (a - q) * t + a)
        assert float(here.mass * here.velocity.norm()) == pytest.approx(momentum, abs=1e-9)


@each_case
def test_a_length_of_each_axis_is_a_scale_of_it(
    m0: float, m1: float, delta: float, d: float
) -> None:
    """The path with lengths by axis is that with one length, in units of them."""
    unit = torch.tensor([[0.2, 5.0]], dtype=torch.float64)
    pair = ends(m0, m1, delta, d)
    scaled = replace(pair, x0=pair.x0 * unit, x1=pair.x1 * unit, delta=delta * unit)
    for t in (0.2, 0.7):
        one, other = draw(t, pair), draw(t, scaled)
        torch.testing.assert_close(other.x_t, one.x_t * unit)
        torch.testing.assert_close(other.velocity, one.velocity * unit)
        torch.testing.assert_close(other.mass, one.mass)
        torch.testing.assert_close(other.growth, one.growth)


def test_large_delta_and_equal_masses_are_the_straight_line() -> None:
    times: Tensor = torch.linspace(0, 1, 5, dtype=torch.float64)
    for t in times.tolist():
        for delta in (1e5, math.inf):
            pair = ends(1.0, 1.0, delta, 2.0)
            here = draw(t, pair)
            torch.testing.assert_close(here.x_t, pair.x0 + t * (pair.x1 - pair.x0))
            assert abs(float(here.growth)) < 1e-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_dies_or_is_born_stays_where_it_is(dtype: torch.dtype) -> None:
    """m = m0 (1 - t)² or m1 t², with a regression that stays finite: m g² = 4 m0 or 4 m1."""
    t = torch.tensor([[1e-4], [0.3], [0.7], [1 - 1e-3]], dtype=dtype)
    x, one, none = torch.ones(4, 2, dtype=dtype), torch.full_like(t, 2.0), torch.zeros_like(t)
    for m0, m1, wanted in ((one, none, (1 - t) ** 2), (none, one, t**2)):
        pair = Ends(x, x, None, None, m0, m1, torch.ones_like(t))
        here = TravellingDirac().draw(t, pair, x)
        torch.testing.assert_close(here.mass, 2 * wanted, rtol=1e-4, atol=1e-12)
        torch.testing.assert_close(
            here.mass * here.growth**2, torch.full_like(t, 8.0), rtol=1e-3, atol=0
        )
        assert not here.velocity.any()


def test_a_blur_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="sigma"):
        TravellingDirac(sigma=-0.1)
    assert np.isclose(float(TravellingDirac(0.2).variance(torch.zeros(1, 1))), 0.04)
