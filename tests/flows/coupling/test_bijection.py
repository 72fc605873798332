"""Laws of bijections by binary partition: permutations, near the optimum, equal clouds alone."""

import numpy as np
import pytest

from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.coupling.bijection import BinaryPartition, gaussian_alignment, merged, partition
from cfmcli.flows.coupling.couplings import Exact, Independent
from cfmcli.flows.coupling.plans import pair_costs
from tests.flows.clouds import plain, solve


@pytest.mark.parametrize("n", [1, 2, 3, 17, 64, 301])
@pytest.mark.parametrize("dim", [1, 2, 70])
def test_plans_are_permutations(n: int, dim: int) -> None:
    """Each point once on either side, in any number of dimensions, with any number of points."""
    i, j, mass = solve(BinaryPartition(plans=3), *plain(n, dim, seed=n)).arrays()
    assert np.array_equal(i, np.arange(n))
    assert np.array_equal(np.sort(j), np.arange(n))
    assert np.ptp(mass) == 0


@pytest.mark.parametrize(("dim", "share"), [(1, 1e-12), (2, 0.02), (10, 0.12)])
def test_cost_is_near_the_optimum(dim: int, share: float) -> None:
    """Above it by a small share of the way to random pairs."""
    x0, x1 = plain(400, dim, seed=1)
    least, found, most = (
        solve(c, x0, x1).mean_cost(x0, x1) for c in (Exact(), BinaryPartition(), Independent())
    )
    assert least * (1 - 1e-12) <= found < least + share * (most - least)


def test_more_plans_cost_less() -> None:
    """Merging never raises the cost, and the first few bring most."""
    x0, x1 = plain(300, 5, seed=2)
    costs = [solve(BinaryPartition(n), x0, x1, seed=3).mean_cost(x0, x1) for n in (1, 2, 4, 16, 64)]
    assert (np.diff(costs) <= 0).all()
    assert costs[2] < costs[0]


def test_merging_keeps_the_better_of_two() -> None:
    """The merged bijection costs no more than the first, and nothing where the other is perfect."""
    rng = np.random.default_rng(3)
    x0 = rng.normal(size=(100, 3))
    match, truth = rng.permutation(100), rng.permutation(100)
    x1 = x0[np.argsort(truth)]
    better = merged(x0, x1, match, truth)
    before, after = (pair_costs(x0, x1, np.arange(100), m).sum() for m in (match, better))
    assert np.array_equal(np.sort(better), np.arange(100))
    assert after < 1e-9 < before


def test_ties_keep_a_permutation() -> None:
    """On a small grid most swaps gain the same: no point is lost, and the cost never rises."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        x0, x1 = rng.integers(0, 4, size=(2, 60, 2)).astype(float)
        match, other = rng.permutation(60), rng.permutation(60)
        better = merged(x0, x1, match, other)
        before, after = (pair_costs(x0, x1, np.arange(60), m).sum() for m in (match, better))
        assert np.array_equal(np.sort(better), np.arange(60))
        assert after <= before


def test_alignment_makes_the_gaussian_map_the_identity() -> None:
    """Both clouds get the same covariance, and a linear optimal map is found in one partition."""
    rng = np.random.default_rng(4)
    x0 = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4))
    root = rng.normal(size=(4, 4))
    x1 = x0 @ (root @ root.T) + 3
    a0, a1 = gaussian_alignment(x0, x1)
    assert a0.T @ a0 == pytest.approx(a1.T @ a1, rel=1e-6)
    assert np.array_equal(partition(a0, a1, rng), np.arange(500))


def test_flat_and_constant_clouds_do_no_harm() -> None:
    """Covariances without full rank, and none at all."""
    line = np.random.default_rng(5).normal(size=(50, 1)) * np.ones(3)
    for x0, x1 in ((line, line[::-1] + 1), (line, np.zeros((50, 3))), (0 * line, 0 * line)):
        i, j, _ = solve(BinaryPartition(), x0, x1).arrays()
        assert np.array_equal(np.sort(j), i)


def test_other_clouds_are_sent_elsewhere() -> None:
    """Unequal sizes, weights and overflowing points are refused, with what to use."""
    x0, x1 = plain(10, 2, seed=6)
    with pytest.raises(ConfigError, match="10 and 9 points: use blocks"):
        solve(BinaryPartition(), x0, x1[:9])
    with pytest.raises(ConfigError, match="have weights: use blocks"):
        solve(BinaryPartition(), x0, x1, np.ones(10), np.arange(1.0, 11.0))
    with pytest.raises(NumericsError, match="extreme values"):
        solve(BinaryPartition(), x0 * np.nan, x1)
