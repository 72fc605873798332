"""Bases: methods that fit a density to a source cloud, in flow coordinates."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.blocks import blocks
from cfmcli.data.maps import NUMBERS, moments
from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.flows.coupling.resampling import systematic
from cfmcli.flows.densities import Density, Fitted, Kernel, Normal, effective, ridge_of

MAX_COMPONENTS = 16
MAX_POINTS = 10_000


class Base(ABC):
    """Base class of methods that fit a density to a cloud."""

    @abstractmethod
    def fit(self, x: Array, weights: Array, rng: np.random.Generator) -> Density:
        """Fit to points of shape (n, D) with weights of shape (n,), sum 1.

        Raises:
            DataError: if there are too few points or they span too few dimensions.
        """


@dataclass(frozen=True)
class Gaussian(Base):
    """One Gaussian with the cloud's mean and covariance.

    Use: the source is close to normal.
    """

    def fit(self, x: Array, weights: Array, rng: np.random.Generator) -> Density:
        """Fit by weighted maximum likelihood."""
        mean = weights @ x
        rows = blocks(len(x), max(1, NUMBERS // x.shape[1]))
        gaps = ((x[own] - mean, weights[own, None]) for own in rows)
        covariance = np.asarray(sum(gap.T @ (gap * mass) for gap, mass in gaps))
        factor = np.linalg.cholesky(covariance + _ridge(x) * np.eye(len(mean)))
        return Normal(mean, np.asarray(factor, dtype=np.float64))


@dataclass(frozen=True)
class GaussianMixture(Base):
    """Mixture of k Gaussians with full covariances, k by the Bayesian information criterion.

    Reference: Schwarz (1978), Annals of Statistics 6:461

    Use: sources with several modes.

    Args:
        k: components; 0 chooses among 1 to 16 by BIC.

    Raises:
        ConfigError: if k is negative.
    """

    k: int = 0

    def __post_init__(self) -> None:
        if self.k < 0:
            raise ConfigError(f"gmm:k={self.k}: expected at least 1, or 0 to choose by BIC.")

    def fit(self, x: Array, weights: Array, rng: np.random.Generator) -> Density:
        """Fit by expectation maximisation; weighted points are resampled, at most 10,000."""
        if len(x) < max(2, self.k):
            raise DataError(
                f"gmm:k={self.k}: the source has {len(x)} points, expected at least "
                f"{max(2, self.k)}: lower k, or use --base gaussian."
            )
        sample = _resample(x, weights, rng)
        seed, count = int(rng.integers(2**31)), min(effective(weights), len(sample))
        solve = partial(_mixture, sample, _ridge(x), seed)
        found = solve(self.k) if self.k else _by_bic(sample, count, solve)
        return Fitted(found, f"gmm:k={found.n_components}")


@dataclass(frozen=True)
class KernelDensity(Base):
    """Gaussian kernel density on whitened points, bandwidth by Scott's rule n_eff^(-1/(D+4)).

    Reference: Scott (1992), Multivariate Density Estimation, eq. 6.42

    Use: few dimensions and many points.

    Args:
        bandwidth: kernel width in units of the cloud's own spread; 0 for Scott's rule.

    Raises:
        ConfigError: if the bandwidth is negative.
    """

    bandwidth: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.bandwidth < np.inf:
            raise ConfigError(
                f"kde:bandwidth={self.bandwidth}: expected a positive number, or 0 (Scott's rule)."
            )

    def fit(self, x: Array, weights: Array, rng: np.random.Generator) -> Density:
        """Fit a kernel density to the cloud."""
        from scipy.stats import gaussian_kde

        rank, dim = np.linalg.matrix_rank(x - x.mean(axis=0)), x.shape[1]
        if rank < dim:
            raise DataError(
                f"kde: the {len(x)} source points span {rank} of their {dim} dimensions: "
                "use --base gmm or gaussian, or fewer dimensions (--transform pca)."
            )
        rule = self.bandwidth or "scott"
        return Kernel(gaussian_kde(x.T, bw_method=rule, weights=weights))


@dataclass(frozen=True)
class Auto(Base):
    """Mixture of Gaussians chosen by BIC; exactly N(0, I) where the source is Gaussian.

    Use: the default.
    """

    def fit(self, x: Array, weights: Array, rng: np.random.Generator) -> Density:
        """Fit the mixture."""
        return GaussianMixture().fit(x, weights, rng)


def _resample(x: Array, weights: Array, rng: np.random.Generator) -> Array:
    """Equally weighted points, at most 10,000: the points themselves or a systematic resample."""
    if len(x) <= MAX_POINTS and np.ptp(weights) <= 1e-12 * weights.max():
        return x
    return x[systematic(weights, min(len(x), MAX_POINTS), rng)]


def _ridge(x: Array) -> float:
    """Regularisation added to the variances, from the unweighted spread of the points."""
    return ridge_of(float(moments(x)[1].mean()))


def _mixture(x: Array, ridge: float, seed: int, k: int) -> Any:
    """Fit a mixture of k components."""
    from sklearn.mixture import GaussianMixture as Solver

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Solver(k, reg_covar=ridge, random_state=seed, max_iter=300).fit(x)
    if not found.converged_:
        warnings.warn(
            f"The mixture of {k} Gaussians has not converged; its density is approximate.",
            CfmWarning,
            stacklevel=2,
        )
    return found


def _by_bic(x: Array, count: float, solve: Callable[[int], Any]) -> Any:
    """Choose the mixture of least BIC for an effective sample size; stop after two without gain."""
    best, least, worse = None, np.inf, 0
    dim = x.shape[1]
    most = min(MAX_COMPONENTS, max(1, int(count / (2 * dim + 2))))
    for k in range(1, most + 1):
        found = solve(k)
        numbers = k * (1 + dim + dim * (dim + 1) / 2) - 1
        bic = numbers * np.log(count) - 2 * count * found.score(x)
        worse = 0 if bic < least else worse + 1
        if bic < least:
            best, least = found, bic
        if worse == 2:
            break
    return best
