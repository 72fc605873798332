"""Floors: values of distances between two samples of the same distribution."""

from collections.abc import Callable

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.errors import DataError
from cfmcli.flows.coupling.resampling import thinned
from cfmcli.metrics.clouds import Points, Weights, as_cloud, as_weights

Distance = Callable[..., float]


def floor(
    distance: Distance,
    y: Points,
    b: Weights = None,
    n: int | None = None,
    *,
    rng: np.random.Generator,
    splits: int = 1,
) -> float:
    """Value of a distance between two samples of one cloud: the least to expect of a model.

    F = mean over splits of d(y_I, y_J),  I and J of disjoint halves, |I| = |J| = min(n, m/2)

    Two finite samples of the same distribution differ, by order n^(-1/D) for W₁ and W₂, so no model
    scores 0. If a cloud has fewer than 2n points, its halves have fewer than n each and are farther
    apart than two samples of n points would be: the split-half floor, slightly too high. From
    larger halves the samples are drawn by weight.

    Reference: Fournier & Guillin (2015), arXiv 1312.2128, theorem 1, for the rate.

    Args:
        distance: f(x, y, a, b) -> float.
        y: observed cloud, shape (m, D), at least 2 points of positive weight.
        b: weights of y, shape (m,), >= 0; those of each sample are normalised; None is uniform.
        n: number of points at which the model is scored; None for as many as there are.
        rng: source of randomness for the splits.
        splits: number of splits to average over, >= 1.

    Returns:
        The mean distance, in the unit of the distance.

    Raises:
        DataError: fewer than 2 points of positive weight.
    """
    cloud = as_cloud(y, "y")
    weights = as_weights(b, len(cloud), "b")
    rows = np.flatnonzero(weights)
    if len(rows) < 2:
        raise DataError(f"floor: {len(rows)} point of positive weight; 2 or more can be split")
    half = len(rows) // 2
    found = []
    for _ in range(splits):
        halves = rng.permutation(rows)[: 2 * half].reshape(2, half)
        (i, a), (j, b) = (_sample(own, weights, n or half, rng) for own in halves)
        found.append(distance(cloud[i], cloud[j], a, b))
    return float(np.mean(found))


def _sample(
    rows: IntArray, weights: Array, n: int, rng: np.random.Generator
) -> tuple[IntArray, Array]:
    """Sample at most n of some points by weight, with the weight of each."""
    places, shares = thinned(weights[rows], n, rng)
    return rows[places], shares
