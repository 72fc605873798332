"""Laws of semidiscrete transport: cells of the right mass, closed forms, and optimal cost."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning
from cfmcli.flows.coupling import semidiscrete
from cfmcli.flows.coupling.couplings import Exact
from cfmcli.flows.coupling.semidiscrete import Potential, SemiDiscrete, fit_potential
from tests.flows.clouds import matrix, plain, solve, weighted


def normal(dim: int, place: float = 0.0, scale: float = 1.0) -> semidiscrete.Draw:
    """A sampler of N(place, scale² I)."""
    return lambda n, rng: place + scale * rng.normal(size=(n, dim))


def target(n: int, dim: int, seed: int) -> tuple[Array, Array]:
    """A cloud with weights of different sizes."""
    rng = np.random.default_rng(seed)
    return rng.exponential(size=(n, dim)) * 3, rng.dirichlet(np.full(n, 3.0))


def test_on_a_line_cells_are_quantiles() -> None:
    """The k-th target from the left takes the source between two quantiles of N(0, 1)."""
    x1, w1 = target(8, 1, seed=0)
    potential = fit_potential(normal(1), x1, w1, np.random.default_rng(0), 0.005)
    order = np.argsort(x1[:, 0])
    edges = norm.ppf(np.concatenate([[0], np.cumsum(w1[order])]).clip(0, 1))
    found = [
        (potential.prices[b] - potential.prices[a] - x1[b, 0] ** 2 + x1[a, 0] ** 2)
        / (2 * (x1[a, 0] - x1[b, 0]))
        for a, b in pairwise(order)
    ]
    assert norm.cdf(found) == pytest.approx(norm.cdf(edges[1:-1]), abs=0.005)


@pytest.mark.parametrize("dim", [1, 2, 10])
def test_fresh_points_meet_the_weights(dim: int) -> None:
    """Within the tolerance plus the noise of counting, and the error is measured as such."""
    x1, w1 = target(60, dim, seed=1)
    potential = fit_potential(normal(dim), x1, w1, np.random.default_rng(1))
    n = 200_000
    share = (
        np.bincount(potential.assign(normal(dim)(n, np.random.default_rng(2))), minlength=60) / n
    )
    noise = np.sqrt(2 * w1 * (1 - w1) / (np.pi * n)).sum()
    assert np.abs(share - w1).sum() < 0.05 + noise
    assert potential.error < 0.05


def test_measured_error_is_the_distance() -> None:
    """Prices that are off by a known shift: the estimate is near the true L1 distance."""
    x1 = np.linspace(-2, 2, 21)[:, None]
    cells = np.diff(norm.cdf(np.concatenate([[-np.inf], (x1[1:, 0] + x1[:-1, 0]) / 2, [np.inf]])))
    noise = np.random.default_rng(3).normal(size=21)
    w1 = cells * (1 + 0.2 * (noise - cells @ noise))
    draws = normal(1)(100_000, np.random.default_rng(4))
    error = semidiscrete._distance(Potential(x1, np.zeros(21), np.nan), draws, w1)
    assert error == pytest.approx(np.abs(cells - w1).sum(), rel=0.25)
    exact = semidiscrete._distance(Potential(x1, np.zeros(21), np.nan), draws, cells)
    assert exact < 0.02


def test_measured_error_is_free_of_counting_noise() -> None:
    """2,000 cells counted on 20,000 points: the counts are 0.25 off, the shares are not."""
    x1 = np.linspace(-2, 2, 2000)[:, None]
    cells = np.diff(norm.cdf(np.concatenate([[-np.inf], (x1[1:, 0] + x1[:-1, 0]) / 2, [np.inf]])))
    draws = normal(1)(20_000, np.random.default_rng(4))
    potential = Potential(x1, np.zeros(2000), np.nan)
    counted = np.bincount(potential.assign(draws), minlength=2000) / 20_000
    assert np.abs(counted - cells).sum() > 0.2
    assert semidiscrete._distance(potential, draws, cells) < 0.07


def test_pairs_cost_as_little_as_the_exact_plan() -> None:
    """Against an exact plan from a large pool: the same mean squared distance, within a few %."""
    x1, w1 = target(50, 3, seed=5)
    potential = fit_potential(normal(3), x1, w1, np.random.default_rng(5))
    pool = normal(3)(8_000, np.random.default_rng(6))
    least = solve(Exact(), pool, x1, np.full(8_000, 1 / 8_000), w1).mean_cost(pool, x1)
    found = ((pool - x1[potential.assign(pool)]) ** 2).sum(1).mean()
    assert found == pytest.approx(least, rel=0.02)


def test_assignment_is_the_nearest_after_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """argmin |x0 - x1|² - g by brute force, far from the origin and in small chunks too."""
    x1, _ = target(40, 3, seed=7)
    prices = np.random.default_rng(7).normal(size=40)
    x0 = normal(3, 1e4)(300, np.random.default_rng(8))
    brute = (((x0[:, None] - x1 - 1e4) ** 2).sum(2) - prices).argmin(1)
    potential = Potential(x1 + 1e4, prices, np.nan)
    assert np.array_equal(potential.assign(x0), brute)
    monkeypatch.setattr(semidiscrete, "_CHUNK", 100)
    assert np.array_equal(potential.assign(x0), brute)
    assert len(potential.assign(x0[:0])) == 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_units_do_not_matter(scale: float) -> None:
    """Scaling source and target scales the prices by the square and moves no point."""
    x1, w1 = target(30, 2, seed=9)
    fits = [
        fit_potential(normal(2, scale=s), s * x1, w1, np.random.default_rng(9))
        for s in (1.0, scale)
    ]
    x0 = normal(2)(2000, np.random.default_rng(10))
    assert (fits[0].assign(x0) == fits[1].assign(scale * x0)).mean() > 0.999


def test_seed_decides_prices() -> None:
    """Equal generators give equal prices."""
    x1, w1 = target(20, 2, seed=11)
    one, other = (fit_potential(normal(2), x1, w1, np.random.default_rng(11)) for _ in range(2))
    assert np.array_equal(one.prices, other.prices)


def test_one_target_takes_all() -> None:
    """A cloud of a single point needs no prices."""
    potential = fit_potential(normal(2), np.ones((1, 2)), np.ones(1), np.random.default_rng(0))
    assert potential.assign(np.zeros((5, 2))).tolist() == [0] * 5


def test_a_tolerance_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best prices found come with a warning that names the error."""
    monkeypatch.setattr(semidiscrete, "_EFFORT", 0)
    monkeypatch.setattr(semidiscrete, "_STEP", 0.0)
    monkeypatch.setattr(semidiscrete, "_POOL", 500)
    x1, w1 = target(100, 2, seed=12)
    with pytest.warns(
        CfmWarning, match=r"off by 0\.\d+ in total, more than 0\.05.*did not suffice"
    ):
        potential = fit_potential(normal(2), x1, w1, np.random.default_rng(12))
    assert potential.error > 0.05


# The coupling


def test_finite_clouds_keep_their_source_weights() -> None:
    """Each source point goes whole to one target; the target's weights are nearly met."""
    x0, x1, w0, w1 = weighted(2000, 12, 2, seed=13)
    plan = solve(SemiDiscrete(), x0, x1, w0, w1)
    i, _, _ = plan.arrays()
    mass0, mass1 = plan.marginals()
    assert np.array_equal(i, np.arange(2000))
    assert mass0 == pytest.approx(w0, abs=1e-15)
    assert 0 < np.abs(mass1 - w1).sum() < 0.02


def test_source_points_go_where_most_of_them_goes() -> None:
    """The heaviest target of each row of the exact plan."""
    x0, x1, w0, w1 = weighted(60, 30, 2, seed=17)
    with pytest.warns(CfmWarning, match="whole points"):
        _, j, _ = solve(SemiDiscrete(), x0, x1, w0, w1).arrays()
    assert np.array_equal(j, matrix(solve(Exact(), x0, x1, w0, w1)).argmax(1))


def test_finite_clouds_beyond_exact_plans_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices from draws of the source do as well as the exact plan."""
    x0, x1, w0, w1 = weighted(5000, 12, 2, seed=14)
    exact = solve(SemiDiscrete(), x0, x1, w0, w1).mean_cost(x0, x1)
    monkeypatch.setattr(semidiscrete, "fits_exact", lambda n0, n1: False)
    fitted = solve(SemiDiscrete(), x0, x1, w0, w1)
    assert fitted.mean_cost(x0, x1) == pytest.approx(exact, rel=0.02)
    assert np.abs(fitted.marginals()[1] - w1).sum() < 0.05


def test_equal_clouds_are_matched_exactly() -> None:
    """n uniform points to n uniform points: the optimal permutation."""
    x0, x1 = plain(60, 2, seed=15)
    one, other = (solve(c, x0, x1).arrays() for c in (SemiDiscrete(), Exact()))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_weights_that_whole_points_cannot_meet_are_told() -> None:
    """Few heavy sources cannot fill many targets."""
    x0, x1, w0, w1 = weighted(5, 40, 2, seed=16)
    with pytest.warns(CfmWarning, match="off by .* whole points of the source cannot meet them"):
        solve(SemiDiscrete(), x0, x1, w0, w1)
