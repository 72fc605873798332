"""Maps: fitted transforms y = f(x), with inverse, tangent and log-determinant.

A map carries points to flow coordinates and back to data units, and gives the change of
densities: log p_X(x) = log p_Y(f(x)) + log |det df/dx|.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.blocks import blocks
from cfmcli.errors import DataError

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix


NUMBERS = 2**22
"""Number of values converted to float64 at once: 32 MB."""


class Map(ABC):
    """Base class of fitted transforms y = f(x) of points with shape (n, d).

    Attributes:
        kind: name of the transform.
        space: name of the space of y, if densities are stated in it.
    """

    kind: ClassVar[str]
    space: ClassVar[str] = "data units"

    @abstractmethod
    def forward(self, x: "Matrix") -> "Matrix":
        """y = f(x), shape (n, d) -> (n, d')."""

    @abstractmethod
    def inverse(self, y: Array) -> Array:
        """x = f^-1(y), shape (n, d') -> (n, d); the least-squares preimage where d' < d."""

    @abstractmethod
    def inverse_tangent(self, y: Array, v: Array) -> Array:
        """(df^-1/dy) v: carries velocities at y back to data units, shape (n, d') -> (n, d)."""

    @abstractmethod
    def log_abs_det(self, x: Array) -> Array:
        """log |det df/dx| at x, shape (n, d) -> (n,); only if no dimension is dropped."""

    @property
    @abstractmethod
    def dropped(self) -> bool:
        """Whether f loses dimensions, so that densities are defined for y but not x."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """Fitted arrays by name."""

    @abstractmethod
    def names(self, features: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the d' outputs."""


@dataclass(frozen=True)
class AffineMap(Map):
    """y = (x - shift) / scale, each of shape (1, d)."""

    shift: Array
    scale: Array
    kind: ClassVar[str] = "standardize"

    def forward(self, x: "Matrix") -> "Matrix":
        """y = (x - shift) / scale."""
        return (dense(x) - self.shift) / self.scale

    def inverse(self, y: Array) -> Array:
        """x = y scale + shift."""
        return y * self.scale + self.shift

    def inverse_tangent(self, y: Array, v: Array) -> Array:
        """v scale."""
        return v * self.scale

    def log_abs_det(self, x: Array) -> Array:
        """-sum log scale."""
        return np.full(len(x), -np.log(self.scale).sum())

    @property
    def dropped(self) -> bool:
        """False: nothing is dropped."""
        return False

    def arrays(self) -> dict[str, Array]:
        """shift and scale."""
        return {"shift": self.shift, "scale": self.scale}

    def names(self, features: tuple[str, ...]) -> tuple[str, ...]:
        """The same names."""
        return features


@dataclass(frozen=True)
class LogMap(Map):
    """y = log(1 + x)."""

    kind: ClassVar[str] = "log1p"

    def forward(self, x: "Matrix") -> "Matrix":
        """log(1 + x); zeros of a sparse matrix stay zeros."""
        self.check(x)
        return np.log1p(x) if isinstance(x, np.ndarray) else x.log1p()

    def check(self, x: "Matrix") -> None:
        """Raise if some values have no logarithm.

        Raises:
            DataError: for a value of -1 or less.
        """
        low = x.min() if x.shape[0] else 0.0
        if low <= -1:
            raise DataError(
                f"log1p needs values above -1, got {low:g}: the data look logged or centred "
                "already; use --transform standardize."
            )

    def inverse(self, y: Array) -> Array:
        """exp(y) - 1."""
        return np.asarray(np.expm1(y))

    def inverse_tangent(self, y: Array, v: Array) -> Array:
        """exp(y) v."""
        return np.exp(y) * v

    def log_abs_det(self, x: Array) -> Array:
        """-sum log(1 + x)."""
        return np.asarray(-np.log1p(x).sum(axis=1))

    @property
    def dropped(self) -> bool:
        """False: nothing is dropped."""
        return False

    def arrays(self) -> dict[str, Array]:
        """Empty: nothing is fitted."""
        return {}

    def names(self, features: tuple[str, ...]) -> tuple[str, ...]:
        """The same names."""
        return features


@dataclass(frozen=True)
class ProjectionMap(Map):
    """y = (x - mean) components^T with orthonormal components of shape (d', d), mean (1, d).

    Also holds each output's variance over the fitted points, and its share of the total, (d',).
    """

    mean: Array
    components: Array
    variance: Array
    share: Array
    kind: ClassVar[str] = "pca"
    space: ClassVar[str] = "PCA space"

    def forward(self, x: "Matrix") -> "Matrix":
        """Compute (x - mean) components^T, dense, without densifying a sparse x."""
        return np.asarray(x @ self.components.T) - self.mean @ self.components.T

    def inverse(self, y: Array) -> Array:
        """y components + mean."""
        return y @ self.components + self.mean

    def inverse_tangent(self, y: Array, v: Array) -> Array:
        """v components."""
        return v @ self.components

    def log_abs_det(self, x: Array) -> Array:
        """Zeros: a rotation."""
        return np.zeros(len(x))

    @property
    def dropped(self) -> bool:
        """Whether fewer components than features are kept."""
        return bool(self.components.shape[0] < self.components.shape[1])

    def arrays(self) -> dict[str, Array]:
        """mean, components, variance and share."""
        return vars(self).copy()

    def names(self, features: tuple[str, ...]) -> tuple[str, ...]:
        """pca1, pca2, ..."""
        return tuple(f"pca{k + 1}" for k in range(self.components.shape[0]))


def dense(x: "Matrix") -> Array:
    """Convert points to a dense float64 array, shape (n, d)."""
    found: Any = x if isinstance(x, np.ndarray) else x.toarray()
    return np.asarray(found, dtype=np.float64)


def moments(x: "Matrix", weights: Array | None = None) -> tuple[Array, Array]:
    """Mean and variance of each feature, (d,) and (d,), without densifying a sparse x.

    Args:
        x: points, shape (n, d).
        weights: shape (n,), positive; None is uniform.
    """
    w = np.ones(x.shape[0]) if weights is None else weights
    if isinstance(x, np.ndarray):
        parts = [(x[rows], w[rows]) for rows in blocks(len(x), max(1, NUMBERS // x.shape[1]))]
        mean = sum(own @ part for part, own in parts) / w.sum()
        return mean, sum(own @ np.square(part - mean) for part, own in parts) / w.sum()
    column, values, d = x.indices, x.data.astype(np.float64), x.shape[1]
    own = np.repeat(w, np.diff(x.indptr))
    mean = np.bincount(column, own * values, d) / w.sum()
    square = np.bincount(column, own * (values - mean[column]) ** 2, d)
    zeros = w.sum() - np.bincount(column, own, d)
    return mean, (square + zeros * mean**2) / w.sum()


def covariance(parts: "Sequence[Matrix]") -> tuple[Array, Array]:
    """Mean and covariance over the rows of several matrices, (d,) and (d, d), in blocks.

    Args:
        parts: points, shapes (n, d).
    """
    size = max(1, NUMBERS // parts[0].shape[1])
    rows = [(part, own) for part in parts for own in blocks(part.shape[0], size)]
    count = sum(part.shape[0] for part in parts)
    mean = sum(dense(part[own]).sum(axis=0) for part, own in rows) / count
    gaps = (dense(part[own]) - mean for part, own in rows)
    return np.asarray(mean), np.asarray(sum(gap.T @ gap for gap in gaps) / (count - 1))
