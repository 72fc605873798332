"""Known growth along paths, against points that grow in closed form."""

from collections.abc import Sequence

import numpy as np
import pytest

from cfmcli.data.arrays import Array
from cfmcli.data.times import Timeline
from cfmcli.flows.dynamics.known import Gains, Known
from cfmcli.flows.dynamics.paths import Paths

CLOCK = Timeline((0.0, 2.0, 3.0), ("a", "b", "c"))
SPEED = np.array([[4.0, 0.5]])
"""Faster than the points of a snapshot are apart, so that they are told apart by their paths."""


def drift(x: Array, times: Sequence[float]) -> Paths:
    """Every point moves alike."""
    frames = np.stack([x + SPEED * (t - times[0]) for t in times])
    return Paths(frames, np.zeros(len(x)), 1)


def started(n: int = 6) -> Array:
    """Points in the plane, one apart from the next."""
    return np.stack([np.arange(n), np.zeros(n)], axis=1).astype(float)


def grown(weights: Array, rates: Array) -> Known:
    """Points that grow at their own rates in both gaps, of two units of the clock and of one."""
    there = started(len(rates)) + SPEED * 2.0
    later = weights * np.exp(2 * rates)
    gaps = (
        Gains.of(started(len(rates)), weights, 2 * rates),
        Gains.of(there, later / later.sum(), rates),
    )
    return Known(gaps, CLOCK)


RATES = np.array([0.7, -0.2, 0.0, 1.1, 0.3, -2.0])
WEIGHTS = np.array([1, 2, 3, 1, 1, 4]) / 12


def exact(time: float) -> Array:
    """What a unit of each point has become since 0, relative to all of them."""
    mass = np.exp(RATES * time)
    return np.asarray(mass / (WEIGHTS @ mass))


@pytest.mark.parametrize("times", [(0.0, 0.5, 2.0, 2.25, 3.0), (0.0, 2.5), (0.0, 3.0, 3.0)])
def test_points_grow_at_their_own_rates_through_all_gaps(times: tuple[float, ...]) -> None:
    found = grown(WEIGHTS, RATES).along(started(), times, drift)
    np.testing.assert_allclose(found.points, drift(started(), times).points, atol=1e-12)
    for k, time in enumerate(times):
        np.testing.assert_allclose(found.masses(k, np.ones(6)), exact(time), rtol=1e-12)
        assert WEIGHTS @ found.masses(k, np.ones(6)) == pytest.approx(1)


@pytest.mark.parametrize("start", [0.4, 2.0, 2.6, 3.0])
@pytest.mark.parametrize("end", [0.0, 0.9, 2.0, 2.2, 3.0])
def test_growth_from_any_time_to_any_other_is_the_ratio(start: float, end: float) -> None:
    """Forward or backward, from a snapshot or from between: paths tell where they began."""
    x = started() + SPEED * start
    found = grown(WEIGHTS, RATES).along(x, (start, end), drift)
    want = np.log(exact(end) / exact(start))
    assert found.log_mass is not None
    np.testing.assert_allclose(found.log_mass[0], 0, atol=1e-12)
    np.testing.assert_allclose(found.log_mass[1], want, atol=1e-12)


def test_a_constant_factor_of_all_growth_is_left_out() -> None:
    """So scores need no unit, and huge ones do not overflow."""
    plain, large = (Gains.of(started(), WEIGHTS, RATES + more) for more in (0.0, 900.0))
    for share in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(plain.at(share), large.at(share), atol=1e-10)


def test_points_in_one_place_grow_as_they_do_together() -> None:
    """Two in one place, of which one grows ninefold and weighs a third: 3.67-fold in the mean."""
    x = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0]])
    gains = Gains.of(x, np.array([0.2, 0.4, 0.4]), np.log([9.0, 1.0, 1.0]))
    one, other, far = gains.at(1.0)
    assert one == other
    assert np.exp(one - far) == pytest.approx(11 / 3)
