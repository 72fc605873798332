"""Likelihoods of a flow between two Gaussians, against the true density."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import cfmcli
from cfmcli.api import Model
from cfmcli.data.arrays import Array
from tests.statistical.figures import Figures

pytestmark = pytest.mark.slow

FRESH, GRID, WIDTH = 2000, 60, 6.0
MEAN = np.array([3.0, -2.0])
COVARIANCE = np.array([[0.8, 0.5], [0.5, 1.2]])
TARGET = multivariate_normal(MEAN, COVARIANCE)


@dataclass(frozen=True)
class Likelihood:
    """What a flow says of its target.

    Args:
        gap: mean log density of fresh points less their true one, nats.
        known: the same of the Gaussian fitted to the training points by maximum likelihood.
        mass: integral of the density.
    """

    gap: float
    known: float
    mass: float


def fitted(kind: str, x1: Array, seed: int, rng: np.random.Generator) -> Model:
    """A default flow to the target, from a Gaussian cloud or from N(0, I)."""
    if kind == "fm":
        return cfmcli.fit(x1, source="gaussian", method="fm", seed=seed, threads=1)
    return cfmcli.fit(rng.standard_normal(x1.shape), x1, seed=seed, threads=1)


def measure(kind: str, n: int, seed: int) -> Likelihood:
    """Fit to n points a side; score fresh points and a grid."""
    rng = np.random.default_rng(500 + seed)
    x1 = rng.multivariate_normal(MEAN, COVARIANCE, n)
    fresh = rng.multivariate_normal(MEAN, COVARIANCE, FRESH)
    model = fitted(kind, x1, seed, rng)
    reach = WIDTH * np.sqrt(np.diag(COVARIANCE))
    axes = np.linspace(MEAN - reach, MEAN + reach, GRID).T
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    values = model.log_prob(np.concatenate([fresh, grid])).values
    known = multivariate_normal(x1.mean(axis=0), np.cov(x1.T, bias=True))
    truth = TARGET.logpdf(fresh)
    return Likelihood(
        float((values[:FRESH] - truth).mean()),
        float((known.logpdf(fresh) - truth).mean()),
        float(np.exp(values[FRESH:]).sum() * cell),
    )


@pytest.mark.parametrize("kind", ["otcfm", "fm"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_log_densities_are_true(kind: str, seed: int, figures: Figures) -> None:
    # The density of 2,000 points' flow is within 0.05 nats of the truth, and of mass one.
    found = measure(kind, 2000, seed)
    name = f"Gaussian, {kind}, n 2,000, seed {seed}"
    figures.add(f"{name}: nats off", found.gap, floor=found.known, bound="|.| <= .05")
    figures.add(f"{name}: mass", found.mass, floor=1.0, bound="1 +- .02")
    assert abs(found.gap) <= 0.05
    assert abs(found.mass - 1) <= 0.02


@pytest.mark.parametrize("kind", ["otcfm", "fm"])
@pytest.mark.parametrize("n", [500, 1000, 5000])
def test_densities_keep_their_mass_at_any_size(kind: str, n: int, figures: Figures) -> None:
    # However few the points, a flow's density has mass one; how far it is off is reported.
    found = measure(kind, n, 0)
    name = f"Gaussian, {kind}, n {n:,}, seed 0"
    figures.add(f"{name}: nats off", found.gap, floor=found.known)
    figures.add(f"{name}: mass", found.mass, floor=1.0, bound="1 +- .02")
    assert abs(found.mass - 1) <= 0.02
