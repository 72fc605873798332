"""Moments: those of the snapshots add up to those of all points."""

import numpy as np
import pandas as pd
import pytest

from cfmcli.data.arrays import Array
from cfmcli.data.moments import Moments
from cfmcli.data.snapshots import Cloud, Snapshots


def cloud(points: Array, time: float, weights: Array | None = None) -> Cloud:
    """A snapshot; points weigh alike unless it is said how."""
    index = pd.Index([str(k) for k in range(len(points))], dtype=object)
    even = np.full(len(points), 1 / len(points)) if weights is None else weights
    return Cloud(points, even, pd.DataFrame(index=index), str(time), time)


def test_moments_of_all_points_are_those_of_the_points_put_together() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((30, 3)), 4 + 2 * rng.standard_normal((70, 3))
    found = Moments.of(Snapshots((cloud(first, 0.0), cloud(second, 1.0))))
    together = np.concatenate([first, second])
    np.testing.assert_allclose(found.center, together.mean(axis=0))
    assert found.scale == pytest.approx(np.sqrt(together.var(axis=0).mean()))
    np.testing.assert_allclose(found.spreads, [np.sqrt(x.var(0).mean()) for x in (first, second)])


def test_a_point_of_weight_two_is_two_points() -> None:
    points, other = np.array([[0.0], [3.0], [5.0]]), np.array([[1.0], [2.0]])
    weighed = cloud(points, 0.0, np.array([0.25, 0.5, 0.25]))
    twice = cloud(points[[0, 1, 1, 2]], 0.0)
    found, wanted = (Moments.of(Snapshots((c, cloud(other, 1.0)))) for c in (weighed, twice))
    np.testing.assert_allclose(found.means, wanted.means)
    np.testing.assert_allclose(found.spreads, wanted.spreads)


def test_a_normal_source_is_the_first_snapshot_and_half_of_all() -> None:
    target = np.array([[1.0, 5.0], [3.0, 9.0]])
    found = Moments.of(Snapshots((cloud(target, 1.0),), True))
    np.testing.assert_allclose(found.means, [[0, 0], [2, 7]])
    np.testing.assert_allclose(found.variances, [[1, 1], [1, 4]])
    np.testing.assert_allclose(found.center, [1, 3.5])


def test_one_point_has_a_unit_of_its_own() -> None:
    same = np.full((49, 2), (0.1, 0.7))
    assert Moments.of(Snapshots((cloud(same, 0.0), cloud(same, 1.0)))).scale == 1.0
