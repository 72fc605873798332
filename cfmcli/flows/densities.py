"""Densities: models of a source cloud for likelihoods, in flow coordinates."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.resampling import systematic

RIDGES = 2.0
"""Variances below this multiple of the ridge are considered degenerate."""


class Evaluated(Protocol):
    """A probability density on R^D that can be evaluated."""

    @property
    def name(self) -> str:
        """Name of the density in outputs."""

    def log_prob(self, x: Array) -> Array:
        """Log density in nats at points of shape (n, D), shape (n,)."""


class Density(Evaluated, Protocol):
    """An evaluated density that can also be sampled."""

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n points, shape (n, D)."""


@dataclass(frozen=True)
class Normal:
    """A multivariate normal density N(mean, L L^T).

    Args:
        mean: shape (D,).
        factor: lower Cholesky factor L of the covariance, shape (D, D).
        name: name of the density in outputs.
    """

    mean: Array
    factor: Array
    name: str = "gaussian"

    def log_prob(self, x: Array) -> Array:
        """-|L^-1 (x - mean)|^2 / 2 - log det L - D/2 log 2 pi."""
        from scipy.linalg import solve_triangular

        z = solve_triangular(self.factor, (x - self.mean).T, lower=True)
        constant = np.log(np.diag(self.factor)).sum() + 0.5 * len(self.mean) * np.log(2 * np.pi)
        log_prob: Array = -0.5 * (z**2).sum(axis=0) - constant
        return log_prob

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n points mean + L z with quasi-random normal z."""
        return np.asarray(self.mean + even_normals(n, len(self.mean), rng) @ self.factor.T)


@dataclass(frozen=True)
class Fitted:
    """A mixture of Gaussians fitted by scikit-learn.

    Args:
        model: an estimator with full covariances.
        name: name of the density in outputs.
    """

    model: Any
    name: str

    def log_prob(self, x: Array) -> Array:
        """Log density of the mixture."""
        return np.asarray(self.model.score_samples(x), dtype=np.float64)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n points; counts per component follow the weights to within one."""
        own = systematic(self.model.weights_, n, rng)
        factors = np.linalg.cholesky(self.model.covariances_)[own]
        noise = even_normals(n, factors.shape[1], rng)
        return np.asarray(self.model.means_[own] + np.einsum("nij,nj->ni", factors, noise))


@dataclass(frozen=True)
class Kernel:
    """A kernel density fitted by SciPy.

    Args:
        model: a `scipy.stats.gaussian_kde`.
        name: name of the density in outputs.
    """

    model: Any
    name: str = "kde"

    def log_prob(self, x: Array) -> Array:
        """Log density of the estimate."""
        return np.asarray(self.model.logpdf(x.T), dtype=np.float64)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n points; counts per kernel follow the weights to within one."""
        own = systematic(self.model.weights, n, rng)
        noise = even_normals(n, self.model.d, rng)
        factor = np.linalg.cholesky(self.model.covariance)
        return np.asarray(self.model.dataset.T[own] + noise @ factor.T)


def standard_normal(dim: int) -> Density:
    """N(0, I), the density of a Gaussian source.

    Args:
        dim: dimension D.
    """
    return Normal(np.zeros(dim), np.eye(dim), "N(0, I)")


def even_normals(n: int, dim: int, rng: np.random.Generator) -> Array:
    """Quasi-random standard normal points, for means of low variance, shape (n, D).

    Reference: Owen (1998), doi 10.1006/jcom.1998.0487 (scrambled nets)

    Args:
        n: number of points, preferably a power of 2.
        dim: dimension D.
        rng: source of randomness.
    """
    from scipy.special import ndtri
    from scipy.stats import qmc

    net = qmc.Sobol(dim, seed=rng).random(n)
    least = np.finfo(np.float64).eps
    return np.asarray(ndtri(np.clip(net, least, 1 - least)))


def effective(weights: Array) -> float:
    """Effective sample size 1 / sum of w^2.

    Reference: Kish (1965), Survey Sampling, sec. 11.7

    Args:
        weights: of the points, shape (n,), sum 1.
    """
    return float(1 / (weights @ weights))


def thin(density: Density, count: float) -> list[int]:
    """Find coordinates along which fitted Gaussians are degenerate, as thin as the ridge.

    Components with too few points to span a volume are not considered.

    Args:
        density: a fitted density; the result is empty unless it consists of Gaussians.
        count: effective number of points it was fitted to.
    """
    if isinstance(density, Normal):
        covariances = (density.factor @ density.factor.T)[None]
        ridge = ridge_of(float(np.trace(covariances[0])) / len(covariances[0]))
    elif isinstance(density, Fitted):
        covariances, ridge = density.model.covariances_, density.model.reg_covar
        many = density.model.weights_ * count > 2 * (covariances.shape[1] + 1)
        covariances = covariances[many]
    else:
        return []
    sizes, axes = np.linalg.eigh(covariances)
    along = np.abs(axes).argmax(axis=1)[sizes < RIDGES * ridge]
    return sorted(set(along.tolist()))


def ridge_of(variance: float) -> float:
    """Ridge added to all variances, so that thin clouds have a density: 1e-6 of their mean."""
    return 1e-6 * variance + 1e-300
