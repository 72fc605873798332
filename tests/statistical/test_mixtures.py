"""From the normal to Gaussian mixtures in many dimensions, by diffusions chosen after training.

Published: Albergo et al. (2023), arXiv 2303.08797, sec. 7.2: figures without numbers, whose
findings are that the KL is least at an epsilon above 0, that learning b beats learning v, and that
learning the denoiser beats learning the score. The first holds here for every pair of heads; the
others hold for some dimensions and epsilons only, so they are reported and not demanded. Without
antithetic draws, at d = 8, the denoiser's KL is half of the score's for the ODE (.024 and .050)
and the smaller at the best epsilon too (.018 and .021), whether b or v is learnt.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy.stats import gaussian_kde, multivariate_normal

import cfmcli
from cfmcli.api import Model
from cfmcli.data.arrays import Array
from cfmcli.flows.dynamics.diffusions import Constant
from cfmcli.flows.dynamics.sde import StochasticHeun
from cfmcli.flows.dynamics.stochastic import Noise, wander
from cfmcli.flows.streams import Streams
from tests.statistical.figures import Figures

pytestmark = pytest.mark.slow

MODES, SPREAD = 5, 7.5
TRAIN, TEST, PLANES = 20_000, 5_000, 4
GRID, REACH, TINY, FEWEST = 48, 5.0, 1e-12, 10
STEPS, WIDTHS = 200, {8: 128, 32: 128, 128: 256}
EPSILONS = (0.0, 2.0, 5.0, 10.0)
BOUNDS = {8: 0.04, 32: 0.08, 128: 0.08}
OBJECTIVES = {
    "b, eta": "velocity+denoiser",
    "b, s": "velocity+score:weighted=false",
    "v, eta": "v+denoiser",
    "v, s": "v+score:weighted=false",
}


@dataclass(frozen=True, eq=False)
class Mixture:
    """Five normals, all as likely.

    Args:
        means: shape (5, D), drawn from N(0, 7.5^2 I).
        covariances: W^T W / D + I with W standard normal, shape (5, D, D).
    """

    means: Array
    covariances: Array

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """n points."""
        which = rng.integers(MODES, size=n)
        factors = np.linalg.cholesky(self.covariances)
        z = rng.standard_normal((n, self.means.shape[1]))
        found = np.empty_like(z)
        for k in range(MODES):
            found[which == k] = self.means[k] + z[which == k] @ factors[k].T
        return found

    def density(self, plane: slice, points: Array) -> Array:
        """The density of two of the coordinates at points, shape (n, 2)."""
        parts = [
            multivariate_normal(m[plane], c[plane, plane]).pdf(points)
            for m, c in zip(self.means, self.covariances, strict=True)
        ]
        return np.asarray(np.mean(parts, axis=0))

    def grid(self, plane: slice) -> tuple[Array, float]:
        """Points that cover two of the coordinates, and the area of each."""
        deviations = np.sqrt(self.covariances.diagonal(axis1=1, axis2=2)[:, plane]).max(axis=0)
        low = self.means[:, plane].min(axis=0) - REACH * deviations
        high = self.means[:, plane].max(axis=0) + REACH * deviations
        axes = [np.linspace(a, b, GRID) for a, b in zip(low, high, strict=True)]
        area = float(np.prod((high - low) / (GRID - 1)))
        return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2), area


@cache
def mixture(dim: int, seed: int) -> Mixture:
    """The mixture of a dimension and a seed."""
    rng = np.random.default_rng(6000 + seed)
    factors = rng.standard_normal((MODES, dim, dim))
    covariances = factors.transpose(0, 2, 1) @ factors / dim + np.eye(dim)
    return Mixture(SPREAD * rng.standard_normal((MODES, dim)), covariances)


def learnt(target: Mixture, points: Array, plane: slice, grid: Array) -> Array:
    """The density of points in two coordinates: for each mode a KDE of its own, by Scott's rule.

    Modes are ten widths apart; a single KDE would have a bandwidth as wide as they are.
    """
    parts = [
        multivariate_normal(m, c).logpdf(points)
        for m, c in zip(target.means, target.covariances, strict=True)
    ]
    nearest = np.argmax(parts, axis=0)
    found = np.full(len(grid), TINY)
    for k in range(MODES):
        own = points[nearest == k][:, plane]
        if len(own) > FEWEST:
            found += len(own) / len(points) * gaussian_kde(own.T)(grid.T)
    return found


def divergence(target: Mixture, points: Array) -> float:
    """KL(true || learnt) of two coordinates, the mean over four pairs of them."""
    found = []
    for first in range(0, 2 * PLANES, 2):
        plane = slice(first, first + 2)
        grid, area = target.grid(plane)
        true = target.density(plane, grid)
        ratio = np.log(true + TINY) - np.log(learnt(target, points, plane, grid))
        found.append(float((true * ratio).sum() * area))
    return float(np.mean(found))


@cache
def fitted(dim: int, objective: str, seed: int) -> Model:
    """A flow from the normal to the mixture; a wider network in more dimensions."""
    rng = np.random.default_rng(6100 + seed)
    return cfmcli.fit(
        rng.standard_normal((TRAIN, dim)),
        mixture(dim, seed).sample(TRAIN, rng),
        coupling="independent",
        interpolant="linear:gamma=sqrt",
        objective=OBJECTIVES[objective],
        transform="none",
        field=f"mlp:width={WIDTHS[dim]}",
        seed=seed,
        threads=1,
    )


def reached(dim: int, objective: str, epsilon: float, seed: int) -> Array:
    """Fresh normal points carried to t = 1 with noise of that level."""
    start = np.random.default_rng(6200 + seed).standard_normal((TEST, dim))
    noise = Noise(StochasticHeun(STEPS), Constant(epsilon), Streams(seed))
    return np.asarray(
        wander(fitted(dim, objective, seed).core.learnt, start, (0.0, 1.0), noise).points[-1]
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dim", list(WIDTHS))
def test_noise_corrects_the_flow(dim: int, seed: int, figures: Figures) -> None:
    # The least KL is at an epsilon above 0; which heads reach it is reported.
    target, bound = mixture(dim, seed), BOUNDS[dim]
    floor = divergence(target, target.sample(TEST, np.random.default_rng(6300 + seed)))
    curves = {
        objective: [
            figures.add(
                f"Mixture d {dim}, ({objective}), epsilon {epsilon:g}, seed {seed}: KL",
                divergence(target, reached(dim, objective, epsilon, seed)),
                published="least at epsilon > 0, by (b, eta)",
                floor=floor,
                bound=f"least <= {bound:g}, and .9 of that at 0",
            )
            for epsilon in EPSILONS
        ]
        for objective in OBJECTIVES
    }
    for curve in curves.values():
        assert min(curve) <= bound
        assert min(curve) <= 0.9 * curve[0]
