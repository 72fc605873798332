"""Tangents of natural cubic splines through chains of paired points."""

from cfmcli.data.arrays import Array


def natural_tangents(knots: Array, times: Array) -> Array:
    """Derivatives dx/dtau at the knots of the natural cubic spline through each chain.

    The spline has continuous first and second derivatives, and zero second derivative at its ends.
    In the gap (tau_k, tau_k+1) the Hermite cubic in local time t has the tangents
    (tau_k+1 - tau_k) dx/dtau.

    Reference: de Boor (1978), A Practical Guide to Splines, ch. IV

    Args:
        knots: chains, shape (n, K + 1, D), K at least 1.
        times: their times tau, shape (K + 1,), increasing.

    Returns:
        dx/dtau, shape (n, K + 1, D).
    """
    from scipy.interpolate import CubicSpline

    tangents: Array = CubicSpline(times, knots, axis=1, bc_type="natural")(times, 1)
    return tangents
