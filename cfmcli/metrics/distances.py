"""Distances between two weighted clouds."""

import warnings
from collections.abc import Callable

import numpy as np

from cfmcli.data.pot import pot
from cfmcli.errors import CfmWarning, DataError
from cfmcli.metrics.clouds import Array, Clouds, Points, Weights, as_cloud, checked, root

Kernel = Callable[[Array, Array], Array]

_BLOCK = 1024
_MAX_ITERATIONS = 10_000_000


def w1(x: Points, y: Points, a: Weights = None, b: Weights = None) -> float:
    """Exact Wasserstein-1 distance, Euclidean ground cost.

    W₁ = min over plans π ≥ 0 with marginals a, b of Σᵢⱼ πᵢⱼ |xᵢ - yⱼ|

    Reference: Peyré & Cuturi (2019), arXiv 1803.00567, eq. 2.11 and prop. 2.2; solved by network
    simplex, Bonneel et al. (2011), doi 10.1145/2070781.2024192.

    Use: the usual score of a left-out time; robust to a few far points.

    Args:
        x: cloud, shape (n, D).
        y: reference cloud, shape (m, D).
        a: weights of x, shape (n,), >= 0; normalised here; None is uniform.
        b: weights of y, shape (m,), likewise.

    Returns:
        The distance, in the unit of x.

    Raises:
        DataError: the clouds or weights are empty, not finite, or do not fit each other.
    """
    return _transport_cost(checked(x, y, a, b), "euclidean")


def w2(x: Points, y: Points, a: Weights = None, b: Weights = None) -> float:
    """Exact Wasserstein-2 distance: the root of the least mean squared displacement.

    W₂² = min over plans π ≥ 0 with marginals a, b of Σᵢⱼ πᵢⱼ |xᵢ - yⱼ|²

    Reference: Peyré & Cuturi (2019), arXiv 1803.00567, eq. 2.11 and prop. 2.2; solved by network
    simplex, Bonneel et al. (2011), doi 10.1145/2070781.2024192.

    Use: the usual score of a generator; the distance that optimal transport minimises.

    Args:
        x, y, a, b: the clouds and their weights, as for `w1`.

    Returns:
        The distance (not its square), in the unit of x.

    Raises:
        DataError: the clouds or weights are empty, not finite, or do not fit each other.
    """
    return root(_transport_cost(checked(x, y, a, b), "sqeuclidean"))


def sliced_w2(
    x: Points,
    y: Points,
    a: Weights = None,
    b: Weights = None,
    *,
    rng: np.random.Generator,
    projections: int = 256,
) -> float:
    """Sliced Wasserstein-2 distance: W₂ along random lines, a Monte Carlo estimate.

    SW₂² = E_θ W₂²(⟨θ, x⟩, ⟨θ, y⟩), θ uniform on the unit sphere

    Reference: Bonneel et al. (2015), doi 10.1007/s10851-014-0506-3.

    Use: many points or dimensions, where exact transport is too dear.

    Args:
        x, y, a, b: the clouds and their weights, as for `w1`.
        rng: where the directions come from; the same state gives the same number.
        projections: number of directions, >= 1.

    Returns:
        The distance (not its square), in the unit of x.

    Raises:
        DataError: the clouds or weights are empty, not finite, or do not fit each other.
    """
    clouds = checked(x, y, a, b)
    directions = rng.standard_normal((clouds.x.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    return float(pot().sliced_wasserstein_distance(*clouds, p=2, projections=directions))


def energy_distance(x: Points, y: Points, a: Weights = None, b: Weights = None) -> float:
    """Energy distance: a metric between laws that needs no bandwidth and no solver.

    D² = 2 E|X - Y| - E|X - X′| - E|Y - Y′|, over all pairs (V-statistic)

    Reference: Székely & Rizzo (2013), doi 10.1016/j.jspi.2013.03.018; the root, as in
    scipy.stats.energy_distance.

    Use: a quick check without any choice to make.

    Args:
        x, y, a, b: the clouds and their weights, as for `w1`.

    Returns:
        D, in the square root of the unit of x: scaling both clouds by c scales D by √c.

    Raises:
        DataError: the clouds or weights are empty, not finite, or do not fit each other.
    """
    return root(-_discrepancy(_euclidean, checked(x, y, a, b)))


def mmd(
    x: Points,
    y: Points,
    a: Weights = None,
    b: Weights = None,
    bandwidth: float | None = None,
) -> float:
    """Maximum mean discrepancy with a Gaussian kernel.

    MMD² = E k(X, X′) + E k(Y, Y′) - 2 E k(X, Y),  k(u, v) = exp(-|u - v|² / 2h²), over all pairs

    Reference: Gretton et al. (2012), JMLR 13:723-773, eq. 5 (the biased estimate), and sec. 8 for
    the median heuristic.

    Use: two-sample comparisons at the scale of the bandwidth.

    Args:
        x, y, a, b: the clouds and their weights, as for `w1`.
        bandwidth: h > 0, in the unit of x. None takes `median_bandwidth(y)`, the same for every
            cloud judged against y; with a stated h the distance is symmetric.

    Returns:
        The root of MMD², in [0, √2], without unit.

    Raises:
        DataError: the clouds, weights or bandwidth are empty, not finite, or do not fit.
    """
    clouds = checked(x, y, a, b)
    h = median_bandwidth(clouds.y) if bandwidth is None else bandwidth
    if not (np.isfinite(h) and h > 0):
        raise DataError(f"mmd: the bandwidth must be positive, got {h}; state another bandwidth")
    return root(_discrepancy(_gaussian_kernel(h), clouds))


def median_bandwidth(y: Points, max_points: int = 2000) -> float:
    """Median distance between the points of a cloud, the usual bandwidth of a Gaussian kernel.

    h = median of |yᵢ - yⱼ| over i < j; where over half of these are zero, over the positive ones

    Reference: Gretton et al. (2012), JMLR 13:723-773, sec. 8.

    Args:
        y: cloud, shape (m, D), m >= 2.
        max_points: maximum number of points used, evenly spread over the rows.

    Returns:
        h, in the unit of y.

    Raises:
        DataError: all points of y coincide.
    """
    from scipy.spatial.distance import pdist

    points = as_cloud(y, "y")
    kept = np.linspace(0, len(points) - 1, min(len(points), max_points)).round().astype(int)
    distances = pdist(points[kept])
    positive = distances[distances > 0]
    if positive.size == 0:
        raise DataError("mmd: all points of y are one, so they set no bandwidth; state bandwidth")
    return float(np.median(distances)) or float(np.median(positive))


def _transport_cost(clouds: Clouds, cost: str) -> float:
    """Least mean cost of transporting x to y; warns if the solver stops early."""
    from scipy.spatial.distance import cdist

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        value, log = pot().emd2(
            clouds.a,
            clouds.b,
            cdist(clouds.x, clouds.y, cost),
            numItermax=_MAX_ITERATIONS,
            log=True,
        )
    if log["warning"] is not None:
        warnings.warn(
            f"optimal transport stopped early ({log['warning']}): {len(clouds.x)} and "
            f"{len(clouds.y)} points, {_MAX_ITERATIONS} iterations; the distance is not exact",
            CfmWarning,
            stacklevel=3,
        )
    return float(value)


def _discrepancy(kernel: Kernel, clouds: Clouds) -> float:
    """E k(X, X′) + E k(Y, Y′) - 2 E k(X, Y)."""
    x, y, a, b = clouds
    within = _mean_kernel(kernel, x, x, a, a) + _mean_kernel(kernel, y, y, b, b)
    return within - 2 * _mean_kernel(kernel, x, y, a, b)


def _mean_kernel(kernel: Kernel, x: Array, y: Array, a: Array, b: Array) -> float:
    """Σᵢⱼ aᵢ bⱼ k(xᵢ, yⱼ), computed in blocks of rows to bound memory."""
    starts = range(0, len(x), _BLOCK)
    return float(sum(a[i : i + _BLOCK] @ (kernel(x[i : i + _BLOCK], y) @ b) for i in starts))


def _euclidean(x: Array, y: Array) -> Array:
    """All distances |xᵢ - yⱼ|, shape (n, m)."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(x, y))


def _gaussian_kernel(bandwidth: float) -> Kernel:
    """The kernel exp(-|u - v|² / 2h²)."""
    return lambda x, y: np.exp(-0.5 * np.square(_euclidean(x, y) / bandwidth))
