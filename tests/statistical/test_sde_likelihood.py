"""Likelihoods of stochastic dynamics between mixtures, against their closed form.

Published: nothing; the estimator is exact in the mean for any score, so the truth is the goal.
"""

from dataclasses import dataclass

import pytest
import torch

from cfmcli.flows.dynamics.estimators import Controlled, Estimator, FeynmanKac
from tests import oracles
from tests.oracles import Mixture, Oracle
from tests.processes import Score, density, exact, process, weak
from tests.statistical.figures import Figures

pytestmark = pytest.mark.slow

POINTS, PATHS, STEPS, WIDE = 50, 200, 60, 3.0
LEVEL = "0.5"
LINES = (
    Mixture(
        torch.tensor([0.4, 0.6], dtype=torch.float64),
        torch.tensor([[-2.0], [1.0]], dtype=torch.float64),
        torch.tensor([[[0.5]], [[0.3]]], dtype=torch.float64),
    ),
    Mixture(
        torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64),
        torch.tensor([[-3.0], [0.0], [2.5]], dtype=torch.float64),
        torch.tensor([[[0.3]], [[0.6]], [[0.2]]], dtype=torch.float64),
    ),
)
ORACLES = {
    1: Oracle(*LINES, oracles.brownian(1.0)),
    2: Oracle(oracles.TWO, oracles.THREE, oracles.brownian(1.0)),
}
SCORES: dict[str, Score] = {"the exact score": exact, ".7 of the score": weak}


@dataclass(frozen=True)
class Said:
    """What an estimator says of points of the target.

    Args:
        off: mean log density less the true one, in standard errors of the mean.
        within: the share of points within three of their own standard errors, or .005 nats.
        bound: mean of the bound less the true log density, nats.
        error: mean standard error of a point, nats.
    """

    off: float
    within: float
    bound: float
    error: float


def judge(estimator: Estimator, dim: int, score: Score, seed: int) -> Said:
    """Weigh points of the target, and compare."""
    oracle = ORACLES[dim]
    x = oracle.target.sample(POINTS, torch.Generator().manual_seed(seed))
    found = density(estimator, oracle, process(oracle, LEVEL, score), x, 0)
    wrong, truth = found.log_prob - oracle.log_prob(1.0, x), oracle.log_prob(1.0, x)
    mean_error = float(found.error.square().sum().sqrt()) / POINTS
    return Said(
        float(wrong.mean()) / max(mean_error, 1e-3),
        float((wrong.abs() <= WIDE * found.error + 5e-3).double().mean()),
        float((found.bound - truth).mean()),
        float(found.error.mean()),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", list(SCORES))
def test_densities_are_within_three_standard_errors(
    name: str, dim: int, seed: int, figures: Figures
) -> None:
    # Whatever the score, the mean weight is the density, and the mean log weight is below it.
    found = judge(Controlled(PATHS, STEPS), dim, SCORES[name], seed)
    task = f"SDE likelihood, mixtures d {dim}, {name}, seed {seed}"
    figures.add(f"{task}: standard errors off", found.off, floor=0.0, bound="|.| <= 3")
    figures.add(f"{task}: share of points within 3", found.within, floor=0.997, bound=">= .97")
    figures.add(f"{task}: bound less truth, nats", found.bound, floor=0.0, bound="<= .005")
    figures.add(f"{task}: standard error of a point, nats", found.error)
    assert abs(found.off) <= WIDE
    assert found.within >= 0.97
    assert found.bound <= 5e-3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dim", [1, 2])
def test_plain_averages_bound_nothing(dim: int, seed: int, figures: Figures) -> None:
    # The mean log weight of Feynman-Kac is nats below the truth, the controlled one is at it.
    plain = judge(FeynmanKac(PATHS, STEPS), dim, exact, seed)
    led = judge(Controlled(4, STEPS), dim, exact, seed)
    task = f"SDE likelihood, mixtures d {dim}, Feynman-Kac, seed {seed}"
    figures.add(f"{task}: bound less truth, nats", plain.bound, floor=led.bound, bound="< floor")
    figures.add(f"{task}: standard error of a point, nats", plain.error, floor=led.error)
    assert plain.bound < led.bound - 1
    assert plain.error > led.error
