"""Laws of the toy clouds: shape, repeatability, moments, and the curves of scikit-learn."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from scipy.spatial import cKDTree
from sklearn.datasets import make_moons, make_s_curve

from cfmcli.data import toys

Array = npt.NDArray[np.float64]
Toy = Callable[[int, np.random.Generator], Array]


def gaussian_3d(n: int, rng: np.random.Generator) -> Array:
    return toys.gaussian(n, 3, rng)


PLANAR: list[Toy] = [
    toys.two_gaussians,
    toys.eight_gaussians,
    toys.moons,
    toys.scurve,
    toys.checkerboard,
]
TOYS: list[Toy] = [*PLANAR, gaussian_3d]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sorted_rows(x: Array) -> Array:
    return np.asarray(x[np.lexsort(x.round(9).T)])


@pytest.mark.parametrize("toy", TOYS)
def test_the_state_of_the_generator_decides_the_points(toy: Toy) -> None:
    points = toy(101, generator(3))
    assert points.shape == (101, points.shape[1])
    assert points.dtype == np.float64
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, toy(101, generator(3)))
    assert not np.isclose(points, toy(101, generator(4))).any()


@pytest.mark.parametrize("toy", PLANAR)
def test_the_global_random_state_is_left_alone(toy: Toy) -> None:
    np.random.seed(0)
    before = np.random.get_state(legacy=False)["state"]["pos"]
    assert toy(50, generator()).shape == (50, 2)
    assert np.random.get_state(legacy=False)["state"]["pos"] == before


@pytest.mark.parametrize("toy", PLANAR)
def test_rows_come_in_no_order(toy: Toy) -> None:
    """The first and the second half of the rows follow one law."""
    points = toy(4000, generator(1))
    for column in points.T:
        assert stats.ks_2samp(column[:2000], column[2000:]).pvalue > 1e-3


def test_gaussian_has_the_stated_moments() -> None:
    points = toys.gaussian(40_000, 3, generator(), mean=-2.0, std=0.5)
    np.testing.assert_allclose(points.mean(axis=0), -2.0, atol=4.5 * 0.5 / 200)
    np.testing.assert_allclose(np.cov(points.T), 0.25 * np.eye(3), atol=0.01)
    assert stats.kstest(points[:, 0], stats.norm(-2, 0.5).cdf).pvalue > 1e-3


def test_two_gaussians_add_the_spread_of_their_means() -> None:
    points = toys.two_gaussians(40_000, generator(), separation=6.0, std=0.5)
    np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=0.02)
    np.testing.assert_allclose(np.cov(points.T), np.diag([9.25, 0.25]), atol=0.03)


@pytest.mark.parametrize("n", [3, 8, 83, 800])
def test_every_mode_gets_the_same_number(n: int) -> None:
    """Without spread the points are the eight means, with counts that differ by one at most."""
    points = toys.eight_gaussians(n, generator(), radius=3.0, std=0.0)
    centres, counts = np.unique(points.round(9), axis=0, return_counts=True)
    assert len(centres) == min(n, 8)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 3.0)
    left, right = np.unique(toys.two_gaussians(n, generator(), std=0.0)[:, 0], return_counts=True)[
        1
    ]
    assert left - right == n % 2


def test_eight_gaussians_have_the_covariance_of_a_ring() -> None:
    """The means add r²/2 to each variance; neighbours on the circle are 45 degrees apart."""
    points = toys.eight_gaussians(40_000, generator(), radius=5.0, std=1.0)
    np.testing.assert_allclose(np.cov(points.T), 13.5 * np.eye(2), atol=0.25)
    ring = np.unique(toys.eight_gaussians(8, generator(), std=0.0).round(9), axis=0)
    gaps = np.diff(np.sort(np.arctan2(ring[:, 1], ring[:, 0])))
    np.testing.assert_allclose(gaps, np.pi / 4)


@pytest.mark.parametrize("n", [2, 100, 101])
def test_clean_moons_are_those_of_scikit_learn(n: int) -> None:
    ours = toys.moons(n, generator(), noise=0.0, scale=1.0, shift=0.0)
    theirs, _ = make_moons(n, noise=None)
    np.testing.assert_allclose(sorted_rows(ours), sorted_rows(theirs), atol=1e-12)


def test_moons_scale_and_then_shift() -> None:
    clean = toys.moons(200, generator(), noise=0.0, scale=1.0, shift=0.0)
    moved = toys.moons(200, generator(), noise=0.0)
    np.testing.assert_allclose(
        np.column_stack([moved[:, 0] + 1, moved[:, 1]]) / 2, clean, atol=1e-12
    )
    np.testing.assert_allclose(moved.mean(axis=0), [0.0, 0.5], atol=0.02)


def test_clean_scurve_is_that_of_scikit_learn() -> None:
    """Every point is on the other's curve, and the curve is filled alike."""
    ours = toys.scurve(3000, generator(), noise=0.0, scale=1.0)
    theirs = make_s_curve(30_000, noise=0.0, random_state=0)[0][:, [0, 2]]
    assert cKDTree(theirs).query(ours)[0].max() < 5e-3
    for axis in (0, 1):
        assert stats.ks_2samp(ours[:, axis], theirs[:, axis]).pvalue > 1e-3


@pytest.mark.parametrize(("toy", "scale"), [(toys.moons, 2.0), (toys.scurve, 1.5)])
def test_noise_is_gaussian_and_scaled_with_the_curve(
    toy: Callable[..., Array], scale: float
) -> None:
    noise = toy(5000, generator(), noise=0.1) - toy(5000, generator(), noise=0.0)
    assert stats.kstest(noise.ravel(), stats.norm(0, 0.1 * scale).cdf).pvalue > 1e-3


def test_checkerboard_fills_the_dark_squares_evenly() -> None:
    points = toys.checkerboard(16_000, generator(), width=2.0)
    assert np.abs(points).max() <= 1.0
    edges = np.linspace(-1, 1, 5)
    counts = np.histogram2d(points[:, 0], points[:, 1], bins=[edges, edges])[0]
    dark = np.add.outer(np.arange(4), np.arange(4)) % 2 == 0
    assert (counts[~dark] == 0).all()
    assert stats.chisquare(counts[dark]).pvalue > 1e-3
    assert stats.kstest(points[:, 0], stats.uniform(-1, 2).cdf).pvalue > 1e-3
