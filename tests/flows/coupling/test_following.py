"""Laws of paths that follow the density: where it is even they are straight, around a ring bent."""

import numpy as np
import pytest
import torch

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.following import Density, FollowingPairs, following
from cfmcli.flows.coupling.layout import Layout
from cfmcli.flows.coupling.pairing import PlannedPairs
from cfmcli.flows.coupling.plans import PairPlan
from cfmcli.flows.path.curves import Dense
from cfmcli.flows.path.interpolants import Ends
from cfmcli.flows.streams import Streams

COUNT = 200
RNG = np.random.default_rng(0)


def paired(x0: Array, x1: Array) -> PlannedPairs:
    """Each point with that of its row."""
    own = np.arange(len(x0))
    return PlannedPairs(x0, x1, PairPlan(own, own, np.full(len(x0), 1 / len(x0)), (len(x0),) * 2))


def half_way(pairs: FollowingPairs, amplitude: float) -> Array:
    """Where the paths of some pairs are half-way."""
    drawn = pairs.draw(0, COUNT, 0, Streams(0))
    ends = Ends(*(torch.from_numpy(v).double() for v in Layout(2, 0, True).ends(*drawn)))
    clock = torch.full((COUNT, 1), 0.5, dtype=torch.float64)
    return np.asarray(Dense(amplitude=amplitude).mean(clock, ends))


def ring(low: float, high: float) -> Array:
    """Points of a thin ring of radius 1 between two angles."""
    angle = np.linspace(low, high, COUNT)
    radius = 1 + 0.05 * RNG.standard_normal(COUNT)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def followed(x0: Array, x1: Array) -> FollowingPairs:
    """Optimal pairs whose paths follow the density."""
    pairs = paired(x0, x1)
    return FollowingPairs(pairs, 2, following(pairs, 2, 0, Streams(0)))


@pytest.fixture(scope="module")
def around() -> tuple[Array, Array, FollowingPairs]:
    """From one end of half a ring to the other, each end a quarter: their points, and the pairs."""
    x0, x1 = ring(0.0, 1.6), ring(1.5, np.pi)
    return x0, x1, followed(x0, x1)


def test_around_a_ring_paths_bend_outwards(around: tuple[Array, Array, FollowingPairs]) -> None:
    """The chord leaves the ring, the path less, by the share that the amplitude says."""
    x0, x1, pairs = around
    straight, half, whole = (np.linalg.norm(half_way(pairs, a), axis=1) for a in (0.0, 0.5, 1.0))
    chord = np.linalg.norm((x0 + x1) / 2, axis=1)
    assert np.sort(straight) == pytest.approx(np.sort(chord), abs=1e-5)
    error = [abs(radius - 1).mean() for radius in (straight, half, whole)]
    assert error[2] < 0.5 * error[0]
    assert error[1] < 0.8 * error[0]


def test_where_points_are_alike_everywhere_paths_stay_straight() -> None:
    """On a lattice that both ends fill the metric is even, but for its edges."""
    side = np.linspace(-3, 3, 21)
    lattice = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    inner = np.abs(lattice).max(axis=1) < 1.5
    moved = np.where(inner[:, None], lattice + np.array([0.9, 0.0]), lattice)
    found = followed(lattice, moved).draw(0, len(lattice), 0, Streams(0))
    x0, x1, v0, v1 = Layout(2, 0, True).ends(*found)
    moving = np.linalg.norm(x1 - x0, axis=1) > 0.5
    off = (v0 - v1)[moving] / 8
    assert np.linalg.norm(off, axis=1).mean() < 0.1 * 0.9


def test_scales_and_shifts_go_through(around: tuple[Array, Array, FollowingPairs]) -> None:
    """Points in other units, elsewhere, depart alike in these units."""
    x0, x1, pairs = around
    shift = np.array([40.0, -7.0])
    other = followed(30 * x0 + shift, 30 * x1 + shift)
    plain = half_way(pairs, 1.0)
    assert np.abs((half_way(other, 1.0) - shift) / 30 - plain).max() < 0.02


def test_densities_are_sums_of_gaussians_over_their_mean() -> None:
    """By brute force; repeated points weigh more, and one point alone has a density too."""
    x = RNG.standard_normal((60, 2))
    doubled = np.concatenate([x, x[:20]])
    density = Density(doubled)
    weights = np.repeat([2.0, 1.0], [20, 40])
    where = torch.from_numpy(RNG.standard_normal((10, 2))).float()
    gaps = np.linalg.norm(where.numpy()[:, None] - x[None], axis=2)
    exact = np.exp(-(gaps**2) / (2 * density.width**2)) @ (weights / weights.sum())
    near = np.linalg.norm(x[:, None] - x[None], axis=2)
    mean = weights / weights.sum() @ np.exp(-(near**2) / (2 * density.width**2))
    mean = mean @ (weights / weights.sum())
    assert density(where).numpy() == pytest.approx(exact / mean, rel=1e-4)
    assert float(Density(np.zeros((5, 2)))(torch.zeros(1, 2))[0]) == 1.0
