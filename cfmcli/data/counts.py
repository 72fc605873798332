"""Counts: detection of raw counts, and maps for preparing them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from cfmcli.data.arrays import Array
from cfmcli.data.maps import Map
from cfmcli.errors import DataError

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

FEW_FEATURES, LARGE = 10, 20


def raw_counts(x: "Matrix") -> bool:
    """Whether values look like raw counts: many whole numbers, none negative, some large."""
    return _wide(x) and bool(x.min() >= 0 and x.max() >= LARGE) and whole(x)


def logged(x: "Matrix") -> bool:
    """Whether values look logged or scaled: many numbers, none large, and not all whole."""
    return _wide(x) and bool(x.max() < LARGE) and not whole(x)


def whole(x: "Matrix") -> bool:
    """Whether all values are whole numbers."""
    values = x if isinstance(x, np.ndarray) else x.data
    return bool((values == np.rint(values)).all())


def _wide(x: "Matrix") -> bool:
    """Whether there are points with enough features to judge their scale."""
    return bool(x.shape[0] > 0 and x.shape[1] >= FEW_FEATURES)


@dataclass(frozen=True)
class NormalizeMap(Map):
    """y = x target / sum(x), so that all points have the same total; all-zero points are unchanged.

    The total of a point is lost in y: the inverse gives normalised points, not counts.
    """

    target: Array
    kind: ClassVar[str] = "normalize"
    space: ClassVar[str] = "normalised data"

    def forward(self, x: "Matrix") -> "Matrix":
        """Compute x target / sum(x), keeping a sparse x sparse.

        Slightly negative values, as in reconstructed counts, are left unchanged.

        Raises:
            DataError: for a negative total, or a value of -1 or less.
        """
        total = np.asarray(x.sum(axis=1, dtype=np.float64)).reshape(-1)
        if (total < 0).any():
            place = int(np.argmin(total))
            raise DataError(
                f"normalize needs counts, and point {place + 1} has the total {total[place]:g}: "
                "the data look scaled or centred already; leave --preprocess out."
            )
        factor = self.target[0] / np.where(total > 0, total, self.target[0])
        if len(factor) and x.min() <= -1:
            raise DataError(
                f"normalize needs counts, got {x.min():g}: the data look logged, scaled or centred "
                "already; give counts, or leave --preprocess or normalize out of the fit."
            )
        return _scaled(x, factor)

    def inverse(self, y: Array) -> Array:
        """Return normalised points, since totals are not known."""
        return y

    def inverse_tangent(self, y: Array, v: Array) -> Array:
        """Return the velocity of normalised points."""
        return v

    def log_abs_det(self, x: Array) -> Array:
        """Zeros: densities are stated after this map."""
        return np.zeros(len(x))

    @property
    def dropped(self) -> bool:
        """True: the total is lost."""
        return True

    def arrays(self) -> dict[str, Array]:
        """The target total."""
        return {"target": self.target}

    def names(self, features: tuple[str, ...]) -> tuple[str, ...]:
        """The same names."""
        return features


@dataclass(frozen=True)
class ChoiceMap(Map):
    """y = x at selected features; the inverse fills the others with the mean of the fitted points.

    Args:
        chosen: whether each feature is kept, 1 or 0, shape (1, d).
        mean: of the fitted points, shape (1, d).
    """

    chosen: Array
    mean: Array
    kind: ClassVar[str] = "hvg"
    space: ClassVar[str] = "the variable features"

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Whether each feature is kept, shape (d,)."""
        return np.asarray(self.chosen[0] > 0)

    def forward(self, x: "Matrix") -> "Matrix":
        """Select the kept columns."""
        return x[:, np.flatnonzero(self.mask)]

    def inverse(self, y: Array) -> Array:
        """Put the kept columns in place, with means elsewhere."""
        x = np.repeat(self.mean, len(y), axis=0)
        x[:, self.mask] = y
        return x

    def inverse_tangent(self, y: Array, v: Array) -> Array:
        """Put the kept columns in place, with zeros elsewhere."""
        w = np.zeros((len(v), self.chosen.shape[1]))
        w[:, self.mask] = v
        return w

    def log_abs_det(self, x: Array) -> Array:
        """Zeros: nothing is scaled."""
        return np.zeros(len(x))

    @property
    def dropped(self) -> bool:
        """Whether some feature is left out."""
        return not self.mask.all()

    def arrays(self) -> dict[str, Array]:
        """The selection and the means."""
        return vars(self).copy()

    def names(self, features: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the kept features."""
        return tuple(name for name, kept in zip(features, self.mask, strict=True) if kept)


def _scaled(x: "Matrix", factor: Array) -> "Matrix":
    """Multiply each row by its factor, except values below 0."""
    if isinstance(x, np.ndarray):
        return np.where(x < 0, x, x * factor[:, None])
    y = x.tocsr().astype(np.float64)
    y.data *= np.where(y.data < 0, 1.0, np.repeat(factor, np.diff(y.indptr)))
    return y
