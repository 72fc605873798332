from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cfmcli.data import maps
from cfmcli.data.blocks import READ
from cfmcli.data.maps import covariance, moments
from cfmcli.data.snapshots import BackedCloud, Cloud, Snapshots
from cfmcli.errors import ConfigError, DataError


def cloud(time: float, n: int = 3, *, held_out: bool = False) -> Cloud:
    """A cloud of n points at a time, with unequal weights."""
    weights = np.arange(1, n + 1) / (n * (n + 1) / 2)
    obs = pd.DataFrame({"k": range(n)}, index=[f"{time:g}-{k}" for k in range(n)])
    points = np.full((n, 2), time) + np.arange(n)[:, None]
    return Cloud(points, weights, obs, f"t{time:g}", time, held_out)


def test_rows_keep_points_weights_and_annotations_together() -> None:
    """An index moves all three alike, and the weights sum to one again."""
    part = cloud(1.0, 4).rows(np.array([3, 0]))
    assert part.points[:, 0].tolist() == [4.0, 1.0]
    assert part.obs.index.tolist() == ["1-3", "1-0"]
    assert part.weights == pytest.approx([0.8, 0.2])
    assert cloud(1.0, 4).rows(np.array([False, True, True, False])).weights.sum() == 1.0


def test_held_out_clouds_are_not_learnt_from() -> None:
    """They are there, and in none of what training sees."""
    found = Snapshots((cloud(0.0), cloud(1.0, held_out=True), cloud(4.0)))
    assert [c.time for c in found.clouds] == [0.0, 1.0, 4.0]
    assert found.timeline.times == (0.0, 4.0)
    assert found.timeline.labels == ("t0", "t4")
    assert found.stacked().shape == (6, 2)


def test_a_gaussian_source_stands_one_unit_before() -> None:
    """One cloud, and N(0, I) as its source."""
    line = Snapshots((cloud(3.0),), gaussian_source=True).timeline
    assert (line.times, line.labels) == ((2.0, 3.0), ("gaussian", "t3"))
    with pytest.raises(ConfigError, match="one cloud"):
        Snapshots((cloud(0.0), cloud(1.0)), gaussian_source=True)


def test_too_little_is_refused() -> None:
    """Fewer than two clouds, or than two points, with what to do."""
    with pytest.raises(DataError, match="--time-key"):
        Snapshots((cloud(0.0),))
    with pytest.raises(DataError, match="--time-key"):
        Snapshots((cloud(0.0), cloud(1.0, held_out=True)))
    with pytest.raises(DataError, match="t1 has 1 point"):
        Snapshots((cloud(0.0), cloud(1.0, 1)))


def test_encoding_moves_points_alone() -> None:
    """Every cloud is mapped, the held-out ones too; nothing else changes."""
    found = Snapshots((cloud(0.0), cloud(1.0, held_out=True), cloud(4.0)))
    moved = found.encoded(lambda x: 2 * np.asarray(x))
    for before, after in zip(found.clouds, moved.clouds, strict=True):
        np.testing.assert_array_equal(after.points, 2 * before.points)
        assert (after.label, after.time, after.held_out) == (
            before.label,
            before.time,
            before.held_out,
        )


def test_sparse_clouds_stay_sparse() -> None:
    """Stacking makes no dense copy."""
    one, other = cloud(0.0), cloud(1.0)
    made = Snapshots(
        tuple(
            Cloud(sparse.csr_matrix(c.points), c.weights, c.obs, c.label, c.time)
            for c in (one, other)
        )
    )
    stacked: Any = made.stacked()
    assert sparse.issparse(stacked)
    np.testing.assert_array_equal(stacked.toarray(), np.concatenate([one.points, other.points]))


def test_moments_of_snapshots_are_those_of_all_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their weights, and whatever number of them is looked at at once."""
    rng = np.random.default_rng(0)
    clouds = [
        replace(cloud(t, n), points=rng.normal(t, 1 + t, (n, 3)))
        for t, n in ((0.0, 9), (1.0, 40), (2.0, 7))
    ]
    found = Snapshots(tuple(clouds))
    x, w = np.asarray(found.stacked()), found.stacked_weights
    mean = np.average(x, axis=0, weights=w)
    variance = np.average((x - mean) ** 2, axis=0, weights=w)
    for numbers in (2**22, 12):
        monkeypatch.setattr(maps, "NUMBERS", numbers)
        center, spread = covariance([cloud.points for cloud in clouds])
        np.testing.assert_allclose(center, x.mean(axis=0))
        np.testing.assert_allclose(spread, np.cov(x.T))
        for got in (moments(x, w), moments(x.astype(np.float32), w)):
            np.testing.assert_allclose(got[0], mean, rtol=1e-6)
            np.testing.assert_allclose(got[1], variance, rtol=1e-6)


def test_a_cloud_that_is_read_is_the_cloud() -> None:
    """Its rows in any order, and all of it, read by blocks that begin where blocks begin."""
    whole = replace(cloud(1.0, 9000), points=np.random.default_rng(0).normal(size=(9000, 2)))
    asked: list[slice] = []

    def read(rows: slice) -> Any:
        asked.append(rows)
        return np.asarray(whole.points)[rows]

    backed = BackedCloud(BackedCloud.of(whole).head, read)
    order = np.random.default_rng(1).permutation(9000)[:500]
    part, wanted = backed.rows(order), whole.rows(order)
    assert len(part) == 500
    np.testing.assert_array_equal(part.whole().points, wanted.points)
    np.testing.assert_array_equal(part.read(slice(7, 20)), np.asarray(wanted.points)[7:20])
    np.testing.assert_array_equal(part.head.weights, wanted.weights)
    assert part.head.mass == wanted.mass
    assert all(rows.start % READ == 0 for rows in asked)
    np.testing.assert_array_equal(BackedCloud.of(whole).whole().points, whole.points)
