"""Calibration: agreement of class probabilities with observed frequencies."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cfmcli.errors import DataError

Array = npt.NDArray[np.float64]


class Bin(NamedTuple):
    """A bin of probabilities of similar size.

    Args:
        predicted: their mean.
        observed: frequency with which they came true.
        size: number of probabilities.
        share: their fraction of the total weight.
    """

    predicted: float
    observed: float
    size: int
    share: float


def brier(p: npt.ArrayLike, y: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Brier score: mean squared distance between probabilities and outcomes.

    B = mean over points of sum_c (p_c - y_c)^2

    Its expectation is least if p is the true distribution of y; it is 0 for certain, correct p.

    Reference: Brier (1950), doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2, eq. 2

    Args:
        p: probabilities of classes, shape (n, C).
        y: outcomes, shape (n, C): one-hot classes, or the class shares of a point's
            descendants.
        weights: weights of the points, shape (n,), >= 0, not all 0; None is uniform.

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
    """Reliability curve: observed frequency of events, binned by predicted probability.

    Reference: Murphy & Winkler (1977), doi 10.2307/2346866

    Args:
        p: probabilities of classes, shape (n, C).
        y, weights: as for `brier`.
        bins: number of equal parts of [0, 1] that the n C probabilities are sorted into.

    Returns:
        The non-empty bins, in ascending order.

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
    """Expected calibration error: weighted mean distance of a reliability curve from the diagonal.

    Reference: Naeini et al. (2015), doi 10.1609/aaai.v29i1.9602

    Args:
        curve: the bins from `reliability`.
    """
    return sum(part.share * abs(part.predicted - part.observed) for part in curve)


def entropy(p: npt.ArrayLike) -> Array:
    """Entropy of each distribution, -sum_c p_c log p_c in nats, from 0 to log C.

    Args:
        p: probabilities of classes, shape (n, C).

    Returns:
        Shape (n,).
    """
    told = np.asarray(p, dtype=np.float64)
    logs = np.log(told, out=np.zeros_like(told), where=told > 0)
    return np.asarray(np.maximum(-(told * logs).sum(axis=1), 0.0))


def _each(p: Array, weights: npt.ArrayLike | None) -> Array:
    """Weights of the points, uniform by default."""
    return np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)


def _checked(p: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array]:
    """Convert probabilities and outcomes to float64, after checking that their shapes agree."""
    told, true = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if told.shape != true.shape or told.ndim != 2 or not len(told):
        raise DataError(
            f"probabilities have shape {told.shape} and the truth {true.shape}: expected both "
            "(n, C), with at least one point"
        )
    return told, true
