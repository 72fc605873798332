"""Laws of schedules: warm-up and fall, and a horizon that validation closes."""

import math

import numpy as np
import pytest
import torch

from cfmcli.flows.training.best import SLACK
from cfmcli.flows.training.schedule import BLOCK, FALL, LEAST, WAIT, WARM_STEPS, Schedule
from tests.flows.training.test_trainer import judged, untimed, weights


def test_schedule_warms_up_and_fades_out() -> None:
    """Linear to the peak in a twentieth of the steps, level, then down along a line to nothing."""
    rates = [Schedule(1000, 1, 0.2, 0.0).rate(k) for k in range(1000)]
    np.testing.assert_allclose(rates[:50], 0.2 * np.arange(1, 51) / 50)
    assert set(rates[50:701]) == {0.2}
    np.testing.assert_allclose(rates[700:], 0.2 * np.arange(300, 0, -1) / 300)


@pytest.mark.parametrize("steps", [1, 2, 3, 25])
def test_short_schedules_still_learn(steps: int) -> None:
    rates = [Schedule(steps, 1, 0.2, 0.0).rate(k) for k in range(steps)]
    assert min(rates) > 0
    assert max(rates) <= 0.2


OPEN = Schedule(5000, 1, 0.2, 0.0, open=True)


def test_an_open_horizon_keeps_the_peak_until_it_closes() -> None:
    """Linear to the peak, level however long it takes, then down along a line to nothing."""
    turn = 1400
    level = [OPEN.rate(k) for k in range(3000)]
    np.testing.assert_allclose(level[:WARM_STEPS], 0.2 * np.arange(1, WARM_STEPS + 1) / WARM_STEPS)
    assert set(level[WARM_STEPS:]) == {0.2}
    end = OPEN.end(turn)
    assert end - turn == pytest.approx(FALL * end)
    fall = [OPEN.rate(k, turn) for k in range(turn, end)]
    np.testing.assert_allclose(fall, 0.2 * np.arange(600, 0, -1) / 600)


def test_the_rate_falls_from_the_step_that_was_gone_back_to() -> None:
    """In the share of the steps that count, those after it but before the turn being lost."""
    turn, best = 1400, 700
    fall = [OPEN.rate(k, turn, best) for k in range(turn, OPEN.end(turn, best))]
    np.testing.assert_allclose(fall, 0.2 * np.arange(300, 0, -1) / 300)
    assert len(fall) == pytest.approx(FALL * (best + len(fall)))


@pytest.mark.parametrize("turn", [BLOCK, 7 * BLOCK, 1000])
def test_an_open_horizon_ends_with_a_block_and_below_its_cap(turn: int) -> None:
    assert OPEN.end(turn) % BLOCK == 0
    assert turn < OPEN.end(turn) <= OPEN.end() == OPEN.steps
    assert Schedule(5000, 1, 0.2, 0.0).end(turn) == 5000


def test_it_closes_after_a_share_of_the_validations_or_in_time_to_fall() -> None:
    """However patient, the rate has the steps that its fall takes."""
    assert not OPEN.turns(BLOCK * LEAST, LEAST - 1, 0)
    assert OPEN.turns(BLOCK * LEAST, LEAST, 0)
    assert not OPEN.turns(3000, 59, 0)
    assert OPEN.turns(3000, 60, 0)
    assert OPEN.turns(3000, 3, 3)
    last = next(k for k in range(0, 5000, BLOCK) if OPEN.turns(k, 0, 0))
    assert 0 <= OPEN.steps - OPEN.end(last) < 2 * BLOCK
    assert not Schedule(5000, 1, 0.2, 0.0).turns(5000, 99, 1)


def better(losses: list[float]) -> list[int]:
    """Which of them are the first of all, or below the last such one by more than says nothing.

    They fall by more than what is left of them.
    """
    found = [0]
    for k, loss in enumerate(losses):
        if loss < losses[found[-1]] - SLACK * min(losses[: k + 1]):
            found.append(k)
    return found


def test_validation_closes_the_horizon_and_the_rate_falls_to_its_end() -> None:
    """The best validation is as far before the turn as it waits; after it the rate falls."""
    run = judged(3000, points=10, open=True)
    assert run.end == 3000
    records = list(run.run())
    losses = [r.validation for r in records[: run.turn // BLOCK]]
    near = [k for k, loss in enumerate(losses) if loss <= min(losses[: k + 1]) * (1 + SLACK)]
    assert run.best.opening > 2 * min(losses)
    wait = len(losses) - 1 - better(losses)[-1]
    assert wait == math.ceil(max(LEAST, WAIT * len(losses)))
    assert run.best.step == BLOCK * (near[-1] + 1)
    assert records[-1].step == run.step == run.end < 3000
    assert run.turn < run.end == run.schedule.end(run.turn, run.best.step)
    assert all(math.isnan(r.validation) for r in records[run.turn // BLOCK :])


def test_the_horizon_closes_with_the_best_weights_and_ends_with_all_points() -> None:
    """The weights at the turn are the averages of the best step; the last steps draw the finale."""
    run, before = (judged(3000, patience=3, points=10, open=True) for _ in range(2))
    steps = run.run()
    while not run.turn:
        next(steps)
    earlier = before.run()
    while next(earlier).step < run.best.step:
        pass
    assert run.best.step < run.turn
    assert torch.equal(run.descent.weights, before.average)
    assert torch.equal(run.average, before.average)
    assert run.aside is not None
    assert run.task is run.aside.finale is not before.task is before.opening
    at_turn = run.average.clone()
    list(steps)
    run.finish()
    assert torch.equal(weights(run.field), run.average)
    assert not torch.equal(run.average, at_turn)


def test_patience_says_when_the_horizon_closes() -> None:
    run = judged(3000, patience=2, points=10, open=True)
    records = list(run.run())
    losses = [r.validation for r in records[: run.turn // BLOCK]]
    assert better(losses)[-1] == len(losses) - 1 - 2


def test_a_horizon_that_never_closes_ends_at_its_cap() -> None:
    run = judged(10 * BLOCK, patience=1000, open=True)
    assert list(run.run())[-1].step == run.end in (9 * BLOCK, 10 * BLOCK)


def test_a_horizon_closes_where_it_is_if_no_validation_was_finite() -> None:
    """Nothing was ever kept, so there is nothing to go back to but untrained weights."""
    run = judged(3000, patience=3, points=10, open=True)
    assert run._kept is not None
    run._kept.draw.x_t.fill_(math.nan)
    untrained = run.average.clone()
    steps = run.run()
    while not run.turn:
        assert math.isnan(next(steps).validation) or run.turn
    assert not run.best.found
    assert not torch.equal(run.average, untrained)
    assert torch.equal(run.descent.weights, run.average)


def test_what_a_loss_falls_from_is_measured_once_before_the_first_step() -> None:
    """A fit that goes on keeps what it opened with."""
    untrained, run, resumed = (judged(2000, points=10, open=True) for _ in range(3))
    opening = untrained._loss()
    next(run.run())
    resumed.restore({name: value.clone() for name, value in run.state().items()})
    next(resumed.run())
    assert run.best.opening == resumed.best.opening == opening


@pytest.mark.parametrize("falling", [False, True])
def test_an_open_horizon_resumes_in_the_same_bytes(falling: bool) -> None:
    """Stopped at the peak or in the fall, it turns where it would have, and ends as it would."""
    whole, broken, resumed = (judged(2000, patience=2, points=10, open=True) for _ in range(3))
    records = list(whole.run())
    stop = whole.turn + BLOCK if falling else whole.turn - BLOCK
    steps = broken.run()
    while next(steps).step < stop:
        pass
    resumed.restore({name: value.clone() for name, value in broken.state().items()})
    assert bool(resumed.turn) is falling
    assert untimed(list(resumed.run())) == untimed(records[stop // BLOCK :])
    assert (resumed.turn, resumed.step) == (whole.turn, whole.step)
    for run in (whole, resumed):
        run.finish()
    assert torch.equal(weights(whole.field), weights(resumed.field))
