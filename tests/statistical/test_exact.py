"""The fast exact distance of the suite is the distance of the product."""

import numpy as np
import pytest

from cfmcli import metrics
from cfmcli.data import toys
from tests.statistical import exact


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_few_candidate_pairs_hold_the_optimal_plan(
    shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Near and far clouds, and of several modes: equal to the solver that sees every pair.
    monkeypatch.setattr(exact, "FEW", 0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1200, 2)) + shift, toys.eight_gaussians(1200, rng)
    assert exact.w2(x, y) == pytest.approx(metrics.w2(x, y), rel=1e-6)


def test_sampling_alone_scores_what_the_potentials_say() -> None:
    """Between two Gaussians the optimal map is known; its NPE on samples is noise of that size."""
    rng, found, said = np.random.default_rng(1), [], []
    for _ in range(60):
        x, y = rng.standard_normal((400, 2)), 1.5 * rng.standard_normal((400, 2)) + [1.0, 0.0]
        moves = 0.5 * x + [1.0, 0.0]
        best = exact.optimum(x, y)
        found.append(float(np.square(moves).sum(axis=1).mean()) / best.value - 1)
        said.append(best.noise)
    spread = float(np.std(found)) * np.sqrt(2 / np.pi)
    assert spread == pytest.approx(float(np.mean(said)), rel=0.25)
