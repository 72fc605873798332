"""How far two weighted clouds are apart, and how straight the paths between them run.

Every distance is `f(x, y, a, b, ...) -> float`: x is the cloud that is judged, y the reference, a
and b their weights. All are roots of the squares that define them, computed in float64.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cfmcli.errors import CfmWarning, DataError

Array = npt.NDArray[np.float64]
Points = npt.ArrayLike
Weights = npt.ArrayLike | None
Kernel = Callable[[Array, Array], Array]

_BLOCK = 1024
_MAX_ITERATIONS = 10_000_000


class _Clouds(NamedTuple):
    """Two checked clouds in float64 and their weights, each of sum one."""

    x: Array
    y: Array
    a: Array
    b: Array


def w1(x: Points, y: Points, a: Weights = None, b: Weights = None) -> float:
    """Exact Wasserstein-1 distance, Euclidean ground cost.

    W₁ = min over plans π ≥ 0 with marginals a, b of Σᵢⱼ πᵢⱼ |xᵢ - yⱼ|

    Reference: Peyré & Cuturi (2019), arXiv 1803.00567, eq. 2.11 and prop. 2.2; solved by network
    simplex, Bonneel et al. (2011), doi 10.1145/2070781.2024192.

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
    return _transport_cost(_clouds(x, y, a, b), "euclidean")


def w2(x: Points, y: Points, a: Weights = None, b: Weights = None) -> float:
    """Exact Wasserstein-2 distance: the root of the least mean squared displacement.

    W₂² = min over plans π ≥ 0 with marginals a, b of Σᵢⱼ πᵢⱼ |xᵢ - yⱼ|²

    Reference: Peyré & Cuturi (2019), arXiv 1803.00567, eq. 2.11 and prop. 2.2; solved by network
    simplex, Bonneel et al. (2011), doi 10.1145/2070781.2024192.

    Args:
        x, y, a, b: the clouds and their weights, as for `w1`.

    Returns:
        The distance (not its square), in the unit of x.

    Raises:
        DataError: the clouds or weights are empty, not finite, or do not fit each other.
    """
    return _root(_transport_cost(_clouds(x, y, a, b), "sqeuclidean"))


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

    Args:
        x, y, a, b: the clouds and their weights, as for `w1`.
        rng: where the directions come from; the same state gives the same number.
        projections: number of directions, >= 1.

    Returns:
        The distance (not its square), in the unit of x.

    Raises:
        DataError: the clouds or weights are empty, not finite, or do not fit each other.
    """
    import ot

    clouds = _clouds(x, y, a, b)
    directions = rng.standard_normal((clouds.x.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    return float(ot.sliced_wasserstein_distance(*clouds, p=2, projections=directions))


def energy_distance(x: Points, y: Points, a: Weights = None, b: Weights = None) -> float:
    """Energy distance: a metric between laws that needs no bandwidth and no solver.

    D² = 2 E|X - Y| - E|X - X′| - E|Y - Y′|, over all pairs (V-statistic)

    Reference: Székely & Rizzo (2013), doi 10.1016/j.jspi.2013.03.018; the root, as in
    scipy.stats.energy_distance.

    Args:
        x, y, a, b: the clouds and their weights, as for `w1`.

    Returns:
        D, in the square root of the unit of x: scaling both clouds by c scales D by √c.

    Raises:
        DataError: the clouds or weights are empty, not finite, or do not fit each other.
    """
    return _root(-_discrepancy(_euclidean, _clouds(x, y, a, b)))


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

    Args:
        x, y, a, b: the clouds and their weights, as for `w1`.
        bandwidth: h > 0, in the unit of x. None takes `median_bandwidth(y)`, the same for every
            cloud judged against y; with a stated h the distance is symmetric.

    Returns:
        The root of MMD², in [0, √2], without unit.

    Raises:
        DataError: the clouds, weights or bandwidth are empty, not finite, or do not fit.
    """
    clouds = _clouds(x, y, a, b)
    h = median_bandwidth(clouds.y) if bandwidth is None else bandwidth
    if not (np.isfinite(h) and h > 0):
        raise DataError(f"mmd: the bandwidth must be positive, got {h}; state another bandwidth")
    return _root(_discrepancy(_gaussian_kernel(h), clouds))


def median_bandwidth(y: Points, max_points: int = 2000) -> float:
    """Median distance between the points of a cloud, the usual bandwidth of a Gaussian kernel.

    h = median of |yᵢ - yⱼ| over i < j; where over half of these are zero, over the positive ones

    Reference: Gretton et al. (2012), JMLR 13:723-773, sec. 8.

    Args:
        y: cloud, shape (m, D), m >= 2.
        max_points: at most so many points enter, evenly spread over the rows.

    Returns:
        h, in the unit of y.

    Raises:
        DataError: all points of y are one.
    """
    from scipy.spatial.distance import pdist

    points = _points(y, "y")
    kept = np.linspace(0, len(points) - 1, min(len(points), max_points)).round().astype(int)
    distances = pdist(points[kept])
    positive = distances[distances > 0]
    if positive.size == 0:
        raise DataError("mmd: all points of y are one, so they set no bandwidth; state bandwidth")
    return float(np.median(distances)) or float(np.median(positive))


def path_energy(velocities: Points, times: Points, a: Weights = None) -> float:
    """Kinetic energy of paths, by the trapezoidal rule.

    E = ∫ Σᵢ aᵢ |v(t, xᵢ(t))|² dt

    Reference: Tong et al. (2024), arXiv 2302.00482, table 2; Benamou & Brenier (2000),
    doi 10.1007/s002110050002: over t in [0, 1], E >= W₂², with equality for optimal transport.

    Args:
        velocities: velocity of each path at each time, shape (T, n, D), T >= 2.
        times: the times, shape (T,), increasing.
        a: weights of the paths, shape (n,), >= 0; normalised here; None is uniform.

    Returns:
        The energy, in squared units of x over units of time.

    Raises:
        DataError: the shapes do not fit, or the times do not increase.
    """
    v, t = np.asarray(velocities, np.float64), np.asarray(times, np.float64)
    if v.ndim != 3 or t.shape != v.shape[:1] or len(t) < 2 or not (np.diff(t) > 0).all():
        raise DataError(
            "path energy: expected velocities (T, n, D) at T >= 2 increasing times, "
            f"got velocities {v.shape} and times {t.shape}; give one velocity array a time"
        )
    speeds = np.square(v).sum(axis=2) @ _weights(a, v.shape[1], "a")
    return float(np.diff(t) @ (speeds[1:] + speeds[:-1]) / 2)


def normalized_path_energy(energy: float, w2_squared: float) -> float:
    """Normalised path energy: 0 where the flow is the optimal transport, else how much it wastes.

    NPE = |E - W₂²| / W₂²

    Reference: Tong et al. (2024), arXiv 2302.00482, table 2.

    Args:
        energy: path energy E over t in [0, 1].
        w2_squared: squared Wasserstein-2 distance of source and target, > 0.

    Returns:
        The ratio, without unit, >= 0.

    Raises:
        DataError: source and target coincide.
    """
    if not w2_squared > 0:
        raise DataError(
            f"normalised path energy: W2² must be positive, got {w2_squared}; "
            "it is not defined between equal clouds"
        )
    return abs(energy - w2_squared) / w2_squared


def straightness(energy: float, start: Points, end: Points, a: Weights = None) -> float:
    """Energy that paths spend on bending and changing speed: 0 where all are straight and even.

    S = E - Σᵢ aᵢ |xᵢ(1) - xᵢ(0)|²

    Reference: Pooladian et al. (2023), arXiv 2304.14772.

    Args:
        energy: path energy E over t in [0, 1].
        start: where the paths begin, shape (n, D).
        end: where they end, in the same order, shape (n, D).
        a: weights of the paths, shape (n,), >= 0; normalised here; None is uniform.

    Returns:
        S, in squared units of x, >= 0 up to the error of the quadrature.

    Raises:
        DataError: start and end differ in shape.
    """
    x0, x1 = _points(start, "start"), _points(end, "end")
    if x0.shape != x1.shape:
        raise DataError(
            f"straightness: start {x0.shape} and end {x1.shape} differ; give the ends of same paths"
        )
    return float(energy - _weights(a, len(x0), "a") @ np.square(x1 - x0).sum(axis=1))


def _transport_cost(clouds: _Clouds, cost: str) -> float:
    """Least mean cost of carrying x to y; says so when the solver gives up early."""
    import ot
    from scipy.spatial.distance import cdist

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        value, log = ot.emd2(
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


def _discrepancy(kernel: Kernel, clouds: _Clouds) -> float:
    """E k(X, X′) + E k(Y, Y′) - 2 E k(X, Y)."""
    x, y, a, b = clouds
    within = _mean_kernel(kernel, x, x, a, a) + _mean_kernel(kernel, y, y, b, b)
    return within - 2 * _mean_kernel(kernel, x, y, a, b)


def _mean_kernel(kernel: Kernel, x: Array, y: Array, a: Array, b: Array) -> float:
    """Σᵢⱼ aᵢ bⱼ k(xᵢ, yⱼ), by blocks of rows, so that no whole matrix is held."""
    starts = range(0, len(x), _BLOCK)
    return float(sum(a[i : i + _BLOCK] @ (kernel(x[i : i + _BLOCK], y) @ b) for i in starts))


def _euclidean(x: Array, y: Array) -> Array:
    """All distances |xᵢ - yⱼ|, shape (n, m)."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(x, y))


def _gaussian_kernel(bandwidth: float) -> Kernel:
    """The kernel exp(-|u - v|² / 2h²)."""
    return lambda x, y: np.exp(-0.5 * np.square(_euclidean(x, y) / bandwidth))


def _root(square: float) -> float:
    """Square root of a square that rounding may have made negative."""
    return float(np.sqrt(max(square, 0.0)))


def _clouds(x: Points, y: Points, a: Weights, b: Weights) -> _Clouds:
    """The two clouds, checked to be comparable."""
    xs, ys = _points(x, "x"), _points(y, "y")
    if xs.shape[1] != ys.shape[1]:
        raise DataError(
            f"x has {xs.shape[1]} features and y has {ys.shape[1]}; compare clouds of same features"
        )
    return _Clouds(xs, ys, _weights(a, len(xs), "a"), _weights(b, len(ys), "b"))


def _points(x: Points, name: str) -> Array:
    """A cloud in float64, checked: (n, D), not empty, finite."""
    points = np.ascontiguousarray(x, np.float64)
    if points.ndim != 2 or points.size == 0:
        raise DataError(f"{name} must be a cloud of shape (n, D), got shape {points.shape}")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise DataError(f"{name} is not finite at row index {row}; remove such points first")
    return points


def _weights(a: Weights, n: int, name: str) -> Array:
    """Weights of sum one, checked: (n,), non-negative, finite, not all zero."""
    if a is None:
        return np.full(n, 1 / n)
    weights = np.asarray(a, np.float64)
    if weights.shape != (n,):
        raise DataError(f"weights {name}: expected shape ({n},), got {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise DataError(f"weights {name} must be finite and >= 0 with a positive sum")
    return np.asarray(weights / weights.sum())
