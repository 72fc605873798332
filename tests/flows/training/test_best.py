"""Laws of the weights that a validation loss tells to keep."""

import math

import pytest
import torch

from cfmcli.flows.training.best import Best


def judged(losses: list[float], slack: float, opening: float = 3.0) -> tuple[Best, torch.Tensor]:
    """What is kept of weights that hold the number of their step."""
    live = torch.zeros(1)
    best = Best([live], slack)
    best.opening = opening
    for step, loss in enumerate(losses, 1):
        live.fill_(step)
        best.judge(loss, step)
    return best, live


@pytest.mark.parametrize(
    ("losses", "slack", "kept", "stale"),
    [
        ([3.0, 1.0, 2.0, 1.005], 0.0, 2, 2),
        ([3.0, 1.0, 2.0, 1.005], 0.01, 4, 2),
        ([3.0, 1.0, 1.02, 1.005, 1.5], 0.01, 4, 3),
        ([1.0, 0.995, 0.992, 0.989, 0.995], 0.01, 5, 1),
        ([-2.0, -1.99, -1.9], 0.01, 2, 2),
        ([math.nan, 1.0, math.nan], 0.01, 2, 1),
        ([math.inf, math.inf], 0.01, 0, 2),
        ([1.0, -math.inf, 2.0], 0.01, 1, 2),
    ],
)
def test_a_flat_loss_keeps_the_latest_and_a_rising_one_the_least(
    losses: list[float], slack: float, kept: int, stale: int
) -> None:
    best, live = judged(losses, slack)
    assert (best.step, best.stale, float(best.kept[0])) == (kept, stale, kept)
    assert best.loss == min((loss for loss in losses if math.isfinite(loss)), default=math.inf)
    best.go_back()
    assert float(live) == kept


@pytest.mark.parametrize(
    ("losses", "kept", "stale"),
    [
        ([10.0, 10.0005, 10.05], 2, 2),
        ([10.0, 9.998], 2, 0),
        ([10.0, 9.9995, 10.0003], 3, 2),
        ([10.2, 10.15, 10.18], 2, 1),
    ],
)
def test_of_a_noisy_objective_what_it_has_fallen_by_counts(
    losses: list[float], kept: int, stale: int
) -> None:
    """From 10.1 before the first step: a hundredth of 0.1 and not of 10, and nothing above it."""
    best, _ = judged(losses, 0.01, opening=10.1)
    assert (best.step, best.stale) == (kept, stale)


def test_without_an_opening_loss_the_least_counts() -> None:
    assert judged([10.0, 10.05], 0.01, opening=math.nan)[0].step == 2


def test_nothing_is_found_where_no_loss_is_finite() -> None:
    assert not judged([math.nan, math.inf], 0.0)[0].found
    assert judged([1.0], 0.0)[0].found
