"""Paths: energy of paths, and their deviation from straight lines."""

import numpy as np

from cfmcli.errors import DataError
from cfmcli.metrics.clouds import Points, Weights, as_cloud, as_weights


def path_energy(velocities: Points, times: Points, a: Weights = None) -> float:
    """Kinetic energy of paths, by the trapezoidal rule.

    E = ∫ Σᵢ aᵢ |v(t, xᵢ(t))|² dt

    Reference: Tong et al. (2024), arXiv 2302.00482, table 2; Benamou & Brenier (2000),
    doi 10.1007/s002110050002: over t in [0, 1], E >= W₂², with equality for optimal transport.

    Use: what a flow spends; compare with the squared W2 of its ends.

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
    speeds = np.square(v).sum(axis=2) @ as_weights(a, v.shape[1], "a")
    return float(np.diff(t) @ (speeds[1:] + speeds[:-1]) / 2)


def normalized_path_energy(energy: float, w2_squared: float) -> float:
    """Normalised path energy: 0 where the flow is the optimal transport, else how much it wastes.

    NPE = |E - W₂²| / W₂²

    Reference: Tong et al. (2024), arXiv 2302.00482, table 2.

    Use: how far a flow is from optimal transport, comparable between tasks.

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

    S = E - Σᵢ aᵢ |xᵢ(1) - xᵢ(0)|² = ∫ Σᵢ aᵢ |xᵢ(1) - xᵢ(0) - v(t, xᵢ(t))|² dt

    The second form is the straightness of rectified flow, which others call its curvature.

    Reference: Pooladian et al. (2023), arXiv 2304.14772; Liu et al. (2022), arXiv 2209.03003;
    Lee et al. (2023), arXiv 2301.12003.

    Use: whether few steps are enough.

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
    x0, x1 = as_cloud(start, "start"), as_cloud(end, "end")
    if x0.shape != x1.shape:
        raise DataError(
            f"straightness: start {x0.shape} and end {x1.shape} differ; give the ends of same paths"
        )
    return float(energy - as_weights(a, len(x0), "a") @ np.square(x1 - x0).sum(axis=1))


def curvature(paths: Points, a: Weights = None) -> float:
    """How much longer paths are than the way from start to end: 0 where none bends.

    κ = Σᵢ aᵢ ∫ |xᵢ′(t)| dt / Σᵢ aᵢ |xᵢ(1) - xᵢ(0)| - 1

    The mean arc over the mean chord, less one. `straightness` is another matter: it is a squared
    length, and counts changes of speed along a straight line too.

    Reference: the distance metric of Bullitt et al. (2003), doi 10.1109/TMI.2003.816964.

    Use: the shape of paths alone, whatever their pace.

    Args:
        paths: positions of each path at increasing times, shape (T, n, D), T >= 2; the arc is that
            of the polygon through them, short by a part of order 1/T².
        a: weights of the paths, shape (n,), >= 0; normalised here; None is uniform.

    Returns:
        κ, without unit, >= 0; infinite where every path ends where it began but moves.

    Raises:
        DataError: the shape does not fit.
    """
    x = np.asarray(paths, np.float64)
    if x.ndim != 3 or len(x) < 2:
        raise DataError(
            f"curvature: expected positions (T, n, D) at T >= 2 times, got {x.shape}; give the "
            "paths at their start, their end and times between"
        )
    weights = as_weights(a, x.shape[1], "a")
    arc = float(np.linalg.norm(np.diff(x, axis=0), axis=2).sum(axis=0) @ weights)
    chord = float(np.linalg.norm(x[-1] - x[0], axis=1) @ weights)
    if chord == 0:
        return 0.0 if arc == 0 else float("inf")
    return max(arc / chord - 1, 0.0)
