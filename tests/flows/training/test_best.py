"""Laws of the weights that a validation loss tells to keep."""

import math

import pytest
import torch

from cfmcli.flows.training.best import Best


def judged(losses: list[float], slack: float) -> tuple[Best, torch.Tensor]:
    """What is kept of weights that hold the number of their step."""
    live = torch.zeros(1)
    best = Best([live], slack)
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


def test_nothing_is_found_where_no_loss_is_finite() -> None:
    assert not judged([math.nan, math.inf], 0.0)[0].found
    assert judged([1.0], 0.0)[0].found
