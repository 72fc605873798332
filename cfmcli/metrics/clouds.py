"""Clouds: checked inputs of metrics, in float64, with weights of sum one."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cfmcli.errors import DataError

Array = npt.NDArray[np.float64]
Points = npt.ArrayLike
Weights = npt.ArrayLike | None


class Clouds(NamedTuple):
    """Two checked clouds in float64, with weights of sum one each."""

    x: Array
    y: Array
    a: Array
    b: Array


def root(square: float) -> float:
    """Square root of a square that rounding may have made negative."""
    return float(np.sqrt(max(square, 0.0)))


def checked(x: Points, y: Points, a: Weights, b: Weights) -> Clouds:
    """Check that two clouds are comparable."""
    xs, ys = as_cloud(x, "x"), as_cloud(y, "y")
    if xs.shape[1] != ys.shape[1]:
        raise DataError(
            f"x has {xs.shape[1]} features and y has {ys.shape[1]}; compare clouds of same features"
        )
    return Clouds(xs, ys, as_weights(a, len(xs), "a"), as_weights(b, len(ys), "b"))


def as_cloud(x: Points, name: str) -> Array:
    """Check and convert a cloud to float64: (n, D), not empty, finite."""
    points = np.ascontiguousarray(x, np.float64)
    if points.ndim != 2 or points.size == 0:
        raise DataError(f"{name} must be a cloud of shape (n, D), got shape {points.shape}")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise DataError(f"{name} is not finite at row index {row}; remove such points first")
    return points


def as_weights(a: Weights, n: int, name: str) -> Array:
    """Check and normalise weights: (n,), non-negative, finite, not all zero."""
    if a is None:
        return np.full(n, 1 / n)
    weights = np.asarray(a, np.float64)
    if weights.shape != (n,):
        raise DataError(f"weights {name}: expected shape ({n},), got {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise DataError(f"weights {name} must be finite and >= 0 with a positive sum")
    return np.asarray(weights / weights.sum())
