"""Transforms of features: fitted once to points, and stored with the model as maps.

A transform's class is its configuration. A chain of fitted maps leads from data units to flow
coordinates.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cfmcli.catalog import did_you_mean
from cfmcli.data.arrays import Array
from cfmcli.data.counts import ChoiceMap, NormalizeMap
from cfmcli.data.maps import AffineMap, LogMap, Map, ProjectionMap, dense, moments
from cfmcli.errors import CfmWarning, ConfigError, DataError

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix


FLAVORS = ("seurat", "cell_ranger")


class Transform(ABC):
    """Base class of transforms before fitting."""

    @abstractmethod
    def fit(self, x: "Matrix", features: tuple[str, ...], weights: Array) -> Map:
        """Fit to points of shape (n, d) with feature names and weights of mean 1."""


@dataclass(frozen=True)
class Identity(Transform):
    """No transform: the flow lives in data units.

    Use: the features are already on one scale.
    """

    def fit(self, x: "Matrix", features: tuple[str, ...], weights: Array) -> Map:
        """Return the identity, y = x."""
        return AffineMap(np.zeros((1, x.shape[1])), np.ones((1, x.shape[1])))


@dataclass(frozen=True)
class Standardize(Transform):
    """Zero mean and unit variance for each feature: y = (x - mean) / sd.

    Use: the default; features of different units weigh alike.
    """

    def fit(self, x: "Matrix", features: tuple[str, ...], weights: Array) -> Map:
        """Fit weighted mean and standard deviation; a constant feature keeps scale 1."""
        mean, variance = moments(x, weights)
        scale = np.sqrt(variance)
        if not np.isfinite(scale).all():
            listed = [features[k] for k in np.flatnonzero(~np.isfinite(scale))]
            raise DataError(
                f"{some(listed)}: values up to {abs(x).max():.0e} are too large to tell their "
                "spread: rescale them."
            )
        constant = scale <= 1e-10 * np.maximum(np.abs(mean), 1e-300)
        if constant.any():
            listed = [features[k] for k in np.flatnonzero(constant)]
            warnings.warn(
                f"{len(listed)} constant feature(s), or so to 1e-10 of their size, keep scale 1: "
                f"{some(listed)}. --drop leaves them out.",
                CfmWarning,
                stacklevel=2,
            )
        return AffineMap(mean[None], np.where(constant, 1.0, scale)[None])


@dataclass(frozen=True)
class Log1p(Transform):
    """Logarithm of counts: y = log(1 + x).

    Use: raw or depth-normalised counts, before pca.
    """

    def fit(self, x: "Matrix", features: tuple[str, ...], weights: Array) -> Map:
        """Check the data; there is nothing to fit."""
        LogMap().check(x)
        return LogMap()


@dataclass(frozen=True)
class Normalize(Transform):
    """Counts per point scaled to one total, as scanpy.pp.normalize_total does.

    Use: raw counts, first of all. The inverse gives normalised data: totals are not kept.

    Args:
        target: the total of each point, positive; 0 takes the median of the fitted points.
    """

    target: float = 1e4

    def __post_init__(self) -> None:
        if not 0 <= self.target < np.inf:
            raise ConfigError(f"normalize:target={self.target:g}: expected a positive number.")

    def fit(self, x: "Matrix", features: tuple[str, ...], weights: Array) -> Map:
        """Use the given target or the median total.

        Raises:
            DataError: for negative values, or only zeros.
        """
        if x.shape[0] and x.min() < 0:
            raise DataError(
                f"normalize needs counts, got {x.min():g}: the data look logged, scaled or centred "
                "already; leave --preprocess or normalize out."
            )
        totals = np.asarray(x.sum(axis=1, dtype=np.float64)).reshape(-1)
        if not totals.any():
            raise DataError("normalize needs counts, and all are zero: choose another --layer.")
        return NormalizeMap(np.array([self.target or np.median(totals[totals > 0])]))


@dataclass(frozen=True)
class VariableFeatures(Transform):
    """The most variable features, as scanpy.pp.highly_variable_genes ranks them.

    Use: thousands of genes, after log1p and before pca. The inverse puts means at the others.

    Args:
        n: features to keep, at least 1.
        flavor: how they are ranked: seurat or cell_ranger.
    """

    n: int = 2000
    flavor: str = "seurat"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"hvg:n={self.n}: expected at least 1 feature.")
        if self.flavor not in FLAVORS:
            raise ConfigError(f"hvg:flavor={self.flavor}.{did_you_mean(self.flavor, FLAVORS)}")

    def fit(self, x: "Matrix", features: tuple[str, ...], weights: Array) -> Map:
        """Rank features with scanpy, unweighted and without densifying; means are weighted."""
        import anndata
        import pandas as pd
        import scanpy

        if self.n > x.shape[1]:
            warnings.warn(
                f"hvg keeps {x.shape[1]} features, not {self.n}: there are no more.",
                CfmWarning,
                stacklevel=2,
            )
        var = pd.DataFrame(index=pd.Index(features, dtype=object))
        rows = pd.DataFrame(index=pd.RangeIndex(x.shape[0]).astype(str))
        data = anndata.AnnData(x, obs=rows, var=var)
        how = {"n_top_genes": min(self.n, x.shape[1]), "flavor": self.flavor, "inplace": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = scanpy.pp.highly_variable_genes(data, **how)
        chosen = found["highly_variable"].to_numpy(dtype=np.float64)
        return ChoiceMap(chosen[None], moments(x, weights)[0][None])


@dataclass(frozen=True)
class PCA(Transform):
    """Principal components: y = (x - mean) W^T, W the n leading eigenvectors of the covariance.

    Use: more than some tens of features; densities then live in PCA space.

    Args:
        n: components to keep, at least 1.
    """

    n: int = 50

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"pca:n={self.n}: expected at least 1 component.")

    def fit(self, x: "Matrix", features: tuple[str, ...], weights: Array) -> Map:
        """Fit the right singular vectors of the centred points, rows scaled by root weights."""
        count, d = x.shape
        n = min(self.n, d, count - 1)
        if n < self.n:
            warnings.warn(
                f"pca keeps {n} components, not {self.n}: {count} points with {d} features have "
                "no more.",
                CfmWarning,
                stacklevel=2,
            )
        mean, spread = moments(x, weights)
        values, rows = _leading(x, mean, np.sqrt(weights), n)
        rows *= np.sign(rows[np.arange(n), np.abs(rows).argmax(axis=1)])[:, None]
        variance = values**2 / (count - 1)
        return ProjectionMap(mean[None], rows, variance, values**2 / count / spread.sum())


def _leading(x: "Matrix", mean: Array, scale: Array, n: int) -> tuple[Array, Array]:
    """The n largest singular values of scale (x - mean) and right vectors, (n,) and (n, d).

    A sparse x is not densified, unless all its components are requested.
    """
    from scipy.linalg import svd
    from scipy.sparse.linalg import LinearOperator, svds

    if isinstance(x, np.ndarray) or n == min(x.shape):
        _, values, rows = svd(scale[:, None] * (dense(x) - mean), full_matrices=False)
        return values[:n], rows[:n]
    centred = LinearOperator(
        x.shape,
        matvec=lambda v: scale * (x @ v.ravel() - mean @ v.ravel()),
        rmatvec=lambda u: x.T @ (scale * u.ravel()) - mean * (scale @ u.ravel()),
        dtype=np.float64,
    )
    _, values, rows = svds(centred, n, v0=np.ones(min(x.shape)))
    return values[::-1], rows[::-1].copy()


def some(items: Sequence[str]) -> str:
    """Join the first few names of a list."""
    return ", ".join(items[:5]) + (", ..." if len(items) > 5 else "")
