"""Trends: weighted means and quantiles of features over groups of points."""

from collections.abc import Sequence

import numpy as np

from cfmcli.data.arrays import Array


def means(values: Array, shares: Array) -> Array:
    """Weighted mean of each feature in each group.

    Args:
        values: shape (n, d).
        shares: weight of each point in each group, shape (n, G), columns of sum 1.

    Returns:
        Shape (G, d).
    """
    return np.asarray(shares.T @ values)


def quantiles(values: Array, shares: Array, levels: Sequence[float]) -> Array:
    """Weighted quantiles of each feature.

    Q(q) = min {v : share of points with value <= v is at least q}

    Args:
        values: shape (n, d).
        shares: weight of each point, shape (n,), sum 1.
        levels: q, each in (0, 1).

    Returns:
        Shape (len(levels), d).
    """
    order = np.argsort(values, axis=0, kind="stable")
    ranked = np.take_along_axis(values, order, axis=0)
    below = np.cumsum(shares[order], axis=0)
    slack = 1e-12  # for rounding errors in sums of shares
    places = [(below >= level - slack).argmax(axis=0) for level in levels]
    return np.stack([np.take_along_axis(ranked, p[None], axis=0)[0] for p in places])


def change(trends: Array, scale: Array) -> Array:
    """Largest rise or fall of a mean between two times, in units of the scale.

    Args:
        trends: means at T times, shape (T, d).
        scale: standard deviation of each feature, shape (d,); where it is 0 the change is 0.

    Returns:
        Shape (d,): positive if the highest mean comes after the lowest.
    """
    size = trends.max(axis=0) - trends.min(axis=0)
    rises = trends.argmax(axis=0) >= trends.argmin(axis=0)
    known = scale > 0
    return np.where(known, np.where(rises, size, -size) / np.where(known, scale, 1.0), 0.0)
