"""Densities of a source cloud, for likelihoods, in flow coordinates."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.resampling import systematic

RIDGES = 2.0
"""Variances of less than so many ridges are for the most part the ridge."""


class Evaluated(Protocol):
    """A probability density on R^D of which the values are known."""

    @property
    def name(self) -> str:
        """What it is called in outputs."""

    def log_prob(self, x: Array) -> Array:
        """log density at points of shape (n, D), in nats: shape (n,)."""


class Density(Evaluated, Protocol):
    """The same, of which points can be drawn."""

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """n points of it, shape (n, D)."""


@dataclass(frozen=True)
class Normal:
    """A multivariate normal density N(mean, L L^T).

    Args:
        mean: shape (D,).
        factor: lower Cholesky factor L of the covariance, shape (D, D).
        name: what it is called in outputs.
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
        """mean + L z for normal z."""
        return np.asarray(self.mean + even_normals(n, len(self.mean), rng) @ self.factor.T)


@dataclass(frozen=True)
class Fitted:
    """A mixture of Gaussians that scikit-learn fitted.

    Args:
        model: an estimator with full covariances.
        name: what it is called in outputs.
    """

    model: Any
    name: str

    def log_prob(self, x: Array) -> Array:
        """The estimator's log density."""
        return np.asarray(self.model.score_samples(x), dtype=np.float64)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """As many points of each component as its weight says, to within one."""
        own = systematic(self.model.weights_, n, rng)
        factors = np.linalg.cholesky(self.model.covariances_)[own]
        noise = even_normals(n, factors.shape[1], rng)
        return np.asarray(self.model.means_[own] + np.einsum("nij,nj->ni", factors, noise))


@dataclass(frozen=True)
class Kernel:
    """A kernel density that SciPy fitted.

    Args:
        model: a `scipy.stats.gaussian_kde`.
        name: what it is called in outputs.
    """

    model: Any
    name: str = "kde"

    def log_prob(self, x: Array) -> Array:
        """The estimate's log density."""
        return np.asarray(self.model.logpdf(x.T), dtype=np.float64)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """As many points beside each of the cloud as its weight says, to within one."""
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
    """Standard normal points that fill space evenly, for means of little error, shape (n, D).

    Reference: Owen (1998), doi 10.1006/jcom.1998.0487 (scrambled nets)

    Args:
        n: how many, best a power of 2.
        dim: dimension D.
        rng: source of randomness.
    """
    from scipy.special import ndtri
    from scipy.stats import qmc

    net = qmc.Sobol(dim, seed=rng).random(n)
    least = np.finfo(np.float64).eps
    return np.asarray(ndtri(np.clip(net, least, 1 - least)))


def effective(weights: Array) -> float:
    """How many equally weighted points would tell as much, 1 / sum of w^2.

    Reference: Kish (1965), Survey Sampling, sec. 11.7

    Args:
        weights: of points, shape (n,), sum 1.
    """
    return float(1 / (weights @ weights))


def thin(density: Density, count: float) -> list[int]:
    """Coordinates along which Gaussians are as thin as the ridge that keeps them a density.

    Components of so few points that they span no volume are no sign of thin coordinates.

    Args:
        density: a fitted one; nothing is known of those that are not made of Gaussians.
        count: how many points it was fitted to, effectively.
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
    """What is added to variances so that thin clouds keep a density: a millionth of their mean."""
    return 1e-6 * variance + 1e-300
