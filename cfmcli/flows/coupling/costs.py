"""Costs: pairwise cost functions, named as the distances in SciPy and POT."""

import numpy as np

from cfmcli.catalog import did_you_mean
from cfmcli.data.arrays import Array
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.coupling.plans import squared_distances

SQUARED = "sqeuclidean"

METRICS = (
    SQUARED,
    "euclidean",
    "cosine",
    "cityblock",
    "chebyshev",
    "correlation",
    "canberra",
    "braycurtis",
    "mahalanobis",
    "minkowski",
    "seuclidean",
    "hamming",
    "jaccard",
)
"""Numeric (not boolean) distances supported by both POT's `ot.dist` and SciPy's `cdist`."""


def check_metric(coupling: str, metric: str) -> None:
    """Raise if a cost is unknown.

    Args:
        coupling: name of the coupling, for the message.
        metric: name of a cost.

    Raises:
        ConfigError: it is not one of `METRICS`.
    """
    if metric not in METRICS:
        raise ConfigError(f"{coupling}: unknown cost '{metric}'.{did_you_mean(metric, METRICS)}")


def cost_matrix(x0: Array, x1: Array, metric: str) -> Array:
    """Compute the costs of all pairs.

    Args:
        x0: source points, shape (n0, D).
        x1: target points, shape (n1, D).
        metric: one of `METRICS`.

    Returns:
        Costs, shape (n0, n1), float64, >= 0.

    Raises:
        NumericsError: some are not finite, or the metric is not defined for these points.
    """
    if metric == SQUARED:
        return squared_distances(x0, x1)
    from scipy.spatial.distance import cdist

    points = np.asarray(x0, np.float64), np.asarray(x1, np.float64)
    try:
        with np.errstate(all="ignore"):
            costs: Array = cdist(*points, metric)
    except (ValueError, np.linalg.LinAlgError) as cause:
        raise NumericsError(
            f"The cost '{metric}' is not defined for {len(x0)} source and {len(x1)} target points "
            f"in {x0.shape[1]} dimensions ({cause}); use cost=euclidean."
        ) from None
    if not np.isfinite(costs).all():
        raise NumericsError(
            f"The cost '{metric}' between {len(x0)} source and {len(x1)} target points is not "
            "finite everywhere (a zero vector has no angle, a constant feature no scale); use "
            "cost=euclidean, or look for missing and extreme values."
        )
    return np.maximum(costs, 0.0)


def relative_costs(x0: Array, x1: Array, metric: str = SQUARED) -> Array:
    """Compute the costs of all pairs up to terms of one end alone, which change no optimal plan.

    |x0_i - mean x0 - x1_j + mean x1|² for squared distances: exact transport takes fewer steps to
    find the plan, and loses fewer digits. Other costs are those of `cost_matrix`.

    Args:
        x0: source points, shape (n0, D).
        x1: target points, shape (n1, D).
        metric: one of `METRICS`.

    Returns:
        Costs, shape (n0, n1), float64, >= 0.

    Raises:
        NumericsError: some are not finite, or the metric is not defined for these points.
    """
    if metric != SQUARED:
        return cost_matrix(x0, x1, metric)
    return squared_distances(*aligned(x0, x1))


def aligned(
    x0: Array, x1: Array, w0: Array | None = None, w1: Array | None = None
) -> tuple[Array, Array]:
    """Translate the target onto the mean of the source.

    This changes no optimal plan for squared distances, and takes from the cost of every plan the
    same |mean x0 - mean x1|². Clouds too far apart for float64 stay where they are.

    Args:
        x0: source points, shape (n0, D).
        x1: target points, shape (n1, D).
        w0: weights of the source, shape (n0,), or None for equal ones.
        w1: weights of the target, shape (n1,), or None for equal ones.

    Returns:
        Both clouds, shapes (n0, D) and (n1, D), float64.
    """
    x0, x1 = np.asarray(x0, np.float64), np.asarray(x1, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        gap = _mean(x1, w1) - _mean(x0, w0)
        near = np.isfinite(gap @ gap)
    return x0, x1 - gap if near else x1


def _mean(x: Array, w: Array | None) -> Array:
    """The weighted mean, shape (D,)."""
    return np.asarray(x.mean(0) if w is None else (w / w.sum()) @ x)
