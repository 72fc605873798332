"""Laws of bends: the mean of bent paths follows the natural spline through the snapshots' means."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.bends import MOST, BentPairs, bends
from cfmcli.flows.coupling.layout import Layout
from cfmcli.flows.coupling.pairing import PlannedPairs
from cfmcli.flows.coupling.plans import PairPlan
from cfmcli.flows.path.curves import Bent
from cfmcli.flows.path.interpolants import Ends
from cfmcli.flows.streams import Streams

TIMES = np.array([0.0, 1.0, 1.5, 4.0])
MEANS = np.array([[0.0, 0.0], [1.0, 0.3], [1.4, 0.6], [4.0, 1.0]])
SHAPE = np.random.default_rng(0).standard_normal((50, 2))


def clouds(means: Array) -> list[Array]:
    """One and the same shape at some means."""
    return [SHAPE - SHAPE.mean(axis=0) + mean for mean in means]


def mean_at(k: int, t: float, bend: float = 1.0, means: Array = MEANS) -> Array:
    """The mean of the bent paths of gap k, from all of its pairs."""
    points, own = clouds(means), np.arange(50)
    pairs = [
        PlannedPairs(x, y, PairPlan(own, own, np.full(50, 0.02), (50, 50)))
        for x, y in pairwise(points)
    ]
    drawn = BentPairs(pairs[k], bends(means, TIMES)[k]).draw(0, 50, k, Streams(0))
    ends = Ends(*(torch.from_numpy(v).double() for v in Layout(2, 0, True).ends(*drawn)))
    clock = torch.full((50, 1), t, dtype=torch.float64)
    return np.asarray(Bent(bend=bend).mean(clock, ends).mean(dim=0))


@pytest.mark.parametrize("k", range(3))
@pytest.mark.parametrize("t", [0.0, 0.25, 0.6, 1.0])
def test_the_mean_follows_scipys_natural_spline(k: int, t: float) -> None:
    curve = CubicSpline(TIMES, MEANS, bc_type="natural")
    tau = TIMES[k] + t * (TIMES[k + 1] - TIMES[k])
    np.testing.assert_allclose(mean_at(k, t), curve(tau), atol=1e-6)


@pytest.mark.parametrize("t", [0.25, 0.6])
def test_without_a_bend_the_mean_goes_straight_and_half_of_one_goes_half_way(t: float) -> None:
    none, half, whole = (mean_at(2, t, bend) for bend in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(none, (1 - t) * MEANS[2] + t * MEANS[3], atol=1e-6)
    np.testing.assert_allclose(half, (none + whole) / 2, atol=1e-6)
    assert np.linalg.norm(whole - none) > 0.01


def test_a_smooth_course_is_met_at_fourth_order() -> None:
    """Halving every gap of a circle's arc leaves a sixteenth of the error inside it."""
    errors = []
    for count in (17, 33):
        times = np.linspace(0, 2, count)
        gap = bends(_arc(times), times)[count // 2]
        chord = _arc(times[[count // 2, count // 2 + 1]]).mean(axis=0)
        errors.append(
            np.linalg.norm(chord + gap.at(0.5) - _arc(times[count // 2] + 1 / (count - 1)))
        )
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)


def test_even_steps_and_two_snapshots_do_not_bend() -> None:
    steady = np.outer(TIMES, [2.0, -1.0])
    for gap in (*bends(steady, TIMES), *bends(MEANS[:2], TIMES[:2])):
        np.testing.assert_allclose([gap.start, gap.end], 0, atol=1e-12)


def test_no_bend_is_longer_than_its_share_of_the_chord() -> None:
    """A course that turns sharply after a long gap would overshoot it."""
    means = np.array([[0.0, 0.0], [0.1, 0.0], [0.1, 9.0], [0.0, 9.0]])
    found = bends(means, TIMES)
    for gap, chord in zip(found, np.diff(means, axis=0), strict=True):
        for part in (gap.start, gap.end):
            assert np.linalg.norm(part) <= MOST * np.linalg.norm(chord) * (1 + 1e-12)
    assert np.linalg.norm(found[0].end) == pytest.approx(MOST * 0.1)


def test_bends_turn_and_scale_with_the_points_and_not_with_the_clock() -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    for gap, other in zip(
        bends(MEANS, TIMES), bends(3 * MEANS @ turn.T + 7, 10 * TIMES - 2), strict=True
    ):
        np.testing.assert_allclose(other.start, 3 * turn @ gap.start, atol=1e-12)
        np.testing.assert_allclose(other.end, 3 * turn @ gap.end, atol=1e-12)


def _arc(angle: Array) -> Array:
    """Places on the unit circle."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
