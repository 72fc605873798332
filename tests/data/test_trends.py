import numpy as np
import pytest

from cfmcli.data.trends import change, means, quantiles

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(41, 5)).round(1)
SHARES = RNG.dirichlet(np.ones(41), 2).T


def test_means_are_weighted_means() -> None:
    """NumPy's, group by group."""
    found = means(VALUES, SHARES)
    for g in range(2):
        np.testing.assert_allclose(found[g], np.average(VALUES, axis=0, weights=SHARES[:, g]))


@pytest.mark.parametrize("level", [0.01, 0.25, 0.5, 0.75, 0.99])
def test_quantiles_are_those_of_numpy(level: float) -> None:
    """With any weights, and with equal ones."""
    for shares in (SHARES[:, 0], np.full(41, 1 / 41)):
        rival = np.quantile(VALUES, level, axis=0, weights=shares, method="inverted_cdf")
        np.testing.assert_array_equal(quantiles(VALUES, shares, (level,))[0], rival)


def test_equal_shares_meet_round_levels() -> None:
    """The lower quartile of twenty is the fifth, though twentieths do not add up to a quarter."""
    found = quantiles(np.arange(20.0)[:, None], np.full(20, 1 / 20), (0.25, 0.5, 0.75))
    assert found[:, 0].tolist() == [4, 9, 14]


def test_changes_have_a_direction() -> None:
    """A rise, a fall, a peak late after its low, nothing, and a feature that does not vary."""
    trends = np.array([[0.0, 4, 1, 2, 0], [1, 3, 5, 2, 9], [3, 1, 0, 2, 9]])
    found = change(trends, np.array([1.0, 2, 5, 1, 0]))
    np.testing.assert_allclose(found, [3, -1.5, -1, 0, 0])
