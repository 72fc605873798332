"""Calibration: whether probabilities of classes come true as often as they say."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cfmcli.errors import DataError

Array = npt.NDArray[np.float64]


class Bin(NamedTuple):
    """Probabilities of about the same size.

    Args:
        predicted: their mean.
        observed: how often they came true.
        size: how many there are.
        share: their share of the weight of all.
    """

    predicted: float
    observed: float
    size: int
    share: float


def brier(p: npt.ArrayLike, y: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean squared distance between probabilities and what came true.

    B = mean over points of sum_c (p_c - y_c)^2

    It is least in the mean where p is the true law of y, and 0 for certainty that is right.

    Reference: Brier (1950), doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2, eq. 2

    Args:
        p: probabilities of classes, shape (n, C).
        y: what came true, shape (n, C): 1 for the class of a point and 0 elsewhere, or the
            shares of its descendants.
        weights: of the points, shape (n,), >= 0, not all 0; None is uniform.

    Returns:
        The score, from 0 to 2.

    Raises:
        DataError: if the shapes differ, or there are no points.
    """
    told, true = _checked(p, y)
    return float(np.average(((told - true) ** 2).sum(axis=1), weights=_each(told, weights)))


def reliability(
    p: npt.ArrayLike, y: npt.ArrayLike, weights: npt.ArrayLike | None = None, bins: int = 10
) -> tuple[Bin, ...]:
    """How often probabilities came true, by their size: the reliability curve.

    Reference: Murphy & Winkler (1977), doi 10.2307/2346866

    Args:
        p: probabilities of classes, shape (n, C).
        y, weights: as for `brier`.
        bins: equal parts of [0, 1]; the n C probabilities are sorted into them.

    Returns:
        The bins that hold any, in ascending order.

    Raises:
        DataError: if the shapes differ, or there are no points.
    """
    both = _checked(p, y)
    mass = np.repeat(_each(both[0], weights), both[0].shape[1])
    told, true = (part.ravel() for part in both)
    place = np.minimum((told * bins).astype(int), bins - 1)
    found = []
    for k in np.unique(place[mass > 0]):
        own = (place == k) & (mass > 0)
        said, came = (float(np.average(part[own], weights=mass[own])) for part in (told, true))
        found.append(Bin(said, came, int(own.sum()), float(mass[own].sum() / mass.sum())))
    return tuple(found)


def calibration_error(curve: tuple[Bin, ...]) -> float:
    """Mean distance of a reliability curve from the diagonal, each bin by its share.

    Reference: Naeini et al. (2015), doi 10.1609/aaai.v29i1.9602

    Args:
        curve: what `reliability` found.
    """
    return sum(part.share * abs(part.predicted - part.observed) for part in curve)


def entropy(p: npt.ArrayLike) -> Array:
    """Entropy of each law, -sum_c p_c log p_c in nats, from 0 to log C.

    Args:
        p: probabilities of classes, shape (n, C).

    Returns:
        Shape (n,).
    """
    told = np.asarray(p, dtype=np.float64)
    logs = np.log(told, out=np.zeros_like(told), where=told > 0)
    return np.asarray(np.maximum(-(told * logs).sum(axis=1), 0.0))


def _each(p: Array, weights: npt.ArrayLike | None) -> Array:
    """The weight of each point of some probabilities."""
    return np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)


def _checked(p: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array]:
    """Probabilities and truth in float64, of one shape."""
    told, true = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if told.shape != true.shape or told.ndim != 2 or not len(told):
        raise DataError(
            f"probabilities have shape {told.shape} and the truth {true.shape}: expected both "
            "(n, C), with at least one point"
        )
    return told, true
