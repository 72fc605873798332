"""Laws of training: it finds the closed form, repeats itself, resumes, averages, stops in time."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.data.arrays import Array
from cfmcli.errors import NumericsError
from cfmcli.flows.coupling.couplings import Exact, Independent
from cfmcli.flows.coupling.ends import CloudSource
from cfmcli.flows.coupling.pairing import BatchedPairs
from cfmcli.flows.fields import MLP, Field, Shape
from cfmcli.flows.objective.latent_objectives import VelocityDenoiser
from cfmcli.flows.objective.objectives import Objective, Velocity
from cfmcli.flows.path.interpolants import Ends, Interpolant, Linear
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.record import Record
from cfmcli.flows.training.schedule import BLOCK, Schedule
from cfmcli.flows.training.tasks import Task
from cfmcli.flows.training.trainer import JUDGED, KEPT, Aside, Trainer
from cfmcli.flows.training.triple import built
from tests import oracles
from tests.oracles import Oracle

ORACLE = Oracle(oracles.TILTED, oracles.NARROW, oracles.linear(0.0))
STREAMS = Streams(4)


def cloud(mixture: oracles.Mixture, n: int, seed: int) -> Array:
    """Points with the exact mean and covariance of a mixture of one."""
    white = oracles.matched(n, 2, torch.Generator().manual_seed(seed))
    points = mixture.means[0] + white @ torch.linalg.cholesky(mixture.covariances[0]).T
    return np.asarray(points.numpy())


def task(n: int = 2000, seed: int = 0) -> Task:
    """Random pairs between two Gaussian clouds of n points."""
    source, target = (
        CloudSource(cloud(end, n, seed + k), np.full(n, 1 / n))
        for k, end in enumerate((oracles.TILTED, oracles.NARROW))
    )
    pairs = BatchedPairs(source, target, Independent(), 64)
    return Task([pairs], Linear(0.0), Velocity())


def trainer(
    steps: int = 100,
    seed: int = 0,
    lr: float = 5e-3,
    ema: float = 0.95,
    bf16: bool = False,
    size: int = 64,
) -> Trainer:
    """A small trainer on the Gaussian task."""
    field = MLP(width=24, depth=2).build(("velocity",), Shape(2), Streams(seed).torch("weights"))
    return Trainer(field, task(), Schedule(steps, size, lr, ema, bf16), Streams(seed))


def judged(steps: int, patience: int = 0, points: int = 40, open: bool = False) -> Trainer:
    """A trainer on few points, with a validation on other points."""
    field = MLP(width=64, depth=2).build(("velocity",), Shape(2), STREAMS.torch("weights"))
    schedule = Schedule(steps, 64, 1e-2, 0.9, open=open)
    aside = Aside(task(points, seed=7), task(2 * points) if open else None)
    return Trainer(field, task(points), schedule, STREAMS, aside, patience)


def weights(field: Field) -> Tensor:
    return torch.cat([p.detach().ravel() for p in field.parameters()])


def finished(run: Trainer) -> Tensor:
    """Final weights after training to the end."""
    list(run.run())
    run.finish()
    return weights(run.field)


def untimed(records: Sequence[Record]) -> list[tuple[object, ...]]:
    """Records without their wall time."""
    return [(r.step, r.loss, tuple(r.heads.items()), r.grad_norm, r.validation) for r in records]


def test_training_finds_the_closed_form() -> None:
    """Mean squared error against the oracle's velocity, relative to its mean square, below 1 %."""
    field = MLP(width=64, depth=2).build(("velocity",), Shape(2), STREAMS.torch("weights"))
    fit = Trainer(field, task(4000), Schedule(600, 256, 1e-2, 0.99), STREAMS)
    finished(fit)
    wrong, size = 0.0, 0.0
    for t in (0.05, 0.25, 0.5, 0.75, 0.95):
        x0, x1, _ = oracles.ends(ORACLE, 500, torch.Generator().manual_seed(9))
        x = (1 - t) * x0 + t * x1
        truth = ORACLE.velocity(t, x)
        with torch.no_grad():
            found = field(torch.full((500, 1), t), x.float())["velocity"]
        wrong += float((found - truth).square().mean())
        size += float(truth.square().mean())
    assert wrong < 0.01 * size


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again, other = (finished(trainer(steps=60, seed=seed)) for seed in (1, 1, 2))
    assert first.numpy().tobytes() == again.numpy().tobytes()
    assert not torch.equal(first, other)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_ends_in_the_same_bytes(stop: int) -> None:
    """Weights, averages, validations and patience go on as if nothing had happened."""
    whole, broken = judged(6 * BLOCK + 10), judged(6 * BLOCK + 10)
    records = list(whole.run())
    steps = broken.run()
    before = [next(steps) for _ in range(stop)]
    saved = {name: value.clone() for name, value in broken.state().items()}
    list(steps)
    resumed = judged(6 * BLOCK + 10)
    resumed.restore(saved)
    assert resumed.step == stop * BLOCK
    after = list(resumed.run())
    assert untimed([*before, *after]) == untimed(records)
    for name, value in whole.state().items():
        if name != "counters":
            assert torch.equal(value, resumed.state()[name])
    whole.finish()
    resumed.finish()
    assert torch.equal(weights(whole.field), weights(resumed.field))


def test_patience_survives_a_resume() -> None:
    whole = judged(4000, patience=3)
    last = list(whole.run())[-1].step
    broken = judged(4000, patience=3)
    steps = broken.run()
    while next(steps).step < last - BLOCK:
        pass
    resumed = judged(4000, patience=3)
    resumed.restore(broken.state())
    assert [r.step for r in resumed.run()] == [last]
    whole.finish()
    resumed.finish()
    assert torch.equal(weights(whole.field), weights(resumed.field))


def test_validation_stops_early_and_keeps_the_best_weights() -> None:
    """The final field has the least validation loss seen, computed anew."""
    run = judged(4000, patience=3)
    records = list(run.run())
    losses = [r.validation for r in records]
    assert records[-1].step < 4000
    assert losses.index(min(losses)) == len(losses) - 1 - 3
    run.finish()
    assert run.aside is not None
    kept = run.aside.validation.draw(KEPT, JUDGED, JUDGED, STREAMS)
    with torch.no_grad():
        loss = run.task.objective.losses(run.field(kept.s, kept.draw.x_t), kept.draw)["velocity"]
    assert float(loss) == pytest.approx(min(losses), rel=1e-6)


def test_patience_waits_for_no_validation_where_there_is_none() -> None:
    run = judged(4 * BLOCK, patience=2)
    run.aside = None
    assert list(run.run())[-1].step == run.end == 4 * BLOCK


def test_without_patience_it_goes_on_to_the_end() -> None:
    records = list(judged(8 * BLOCK).run())
    assert [r.step for r in records] == [BLOCK * k for k in range(1, 9)]


def test_steps_and_losses_are_reported_by_block() -> None:
    records = list(trainer(steps=2 * BLOCK + 7).run())
    assert [r.step for r in records] == [BLOCK, 2 * BLOCK, 2 * BLOCK + 7]
    assert all(r.loss == pytest.approx(sum(r.heads.values())) for r in records)
    assert all(r.grad_norm > 0 and np.isnan(r.validation) for r in records)
    assert records[0].loss > records[-1].loss
    assert all(a.seconds < b.seconds for a, b in pairwise(records))


def test_loss_ends_near_the_irreducible_one() -> None:
    """Least mean squared error = the conditional variance of x1 - x0, in closed form."""
    floor = 0.0
    for t in np.linspace(0.0025, 0.9975, 200):
        _, cov, _, slope = (part[0] for part in ORACLE.moments(float(t)))
        noise = oracles.TILTED.covariances[0] + oracles.NARROW.covariances[0]
        floor += float((noise - slope @ cov @ slope.T).trace()) / 2 / 200
    assert list(trainer(steps=400, size=256).run())[-1].loss == pytest.approx(floor, rel=0.05)


@pytest.mark.parametrize("lr", [1e25])
def test_a_loss_that_is_not_finite_is_explained(lr: float) -> None:
    with pytest.raises(NumericsError, match="lower --lr"):
        list(trainer(steps=200, lr=lr).run())


def test_no_averaging_means_the_raw_weights() -> None:
    for ema, equal in ((0.0, True), (0.9, False)):
        run = trainer(ema=ema)
        list(run.run())
        raw = weights(run.field)
        run.finish()
        assert torch.equal(weights(run.field), raw) is equal


def test_a_slow_average_still_leaves_the_start() -> None:
    """However slow its decay, the average follows the weights from the first step on."""
    run = trainer(steps=200, ema=0.9999)
    start = weights(run.field).clone()
    list(run.run())
    raw = weights(run.field)
    run.finish()
    assert 0 < float((weights(run.field) - raw).norm()) < 0.5 * float((raw - start).norm())


def test_bf16_changes_little_but_something() -> None:
    exact, rough = (list(trainer(bf16=bf16).run()) for bf16 in (False, True))
    assert exact[-1].loss != rough[-1].loss
    assert rough[-1].loss == pytest.approx(exact[-1].loss, rel=0.05)


def bent(name: str, steps: int = 2 * BLOCK + 10) -> Trainer:
    """A small trainer whose path learns too."""
    path: Interpolant = catalog.build("interpolants", f"{name}:width=8")
    along = built(path, 2, STREAMS.torch("path"))
    how: Objective = Velocity() if name == "learned" else VelocityDenoiser()
    pairs = task(400).pairs
    field = MLP(width=16, depth=1).build(how.heads, Shape(2), STREAMS.torch("weights"))
    return Trainer(field, Task(pairs, along, how), Schedule(steps, 64, 5e-3, 0.9), STREAMS)


each_learned = pytest.mark.parametrize("name", ["learned", "learned-bridge"])


@each_learned
def test_a_learned_path_moves_and_stays_between_its_ends(name: str) -> None:
    """Every parameter that the game reaches leaves its start; x0 and x1 stay where they are."""
    run = bent(name)
    assert run.bender
    before = [p.detach().clone() for p in run.bender.parameters]
    finished(run)
    assert before
    for old, new in zip(before, run.bender.parameters, strict=True):
        assert new.isfinite().all()
        assert not torch.equal(old, new)
    x0, x1 = torch.randn(2, 20, 2, generator=STREAMS.torch("ends"))
    with torch.no_grad():
        for t, end in ((0.0, x0), (1.0, x1)):
            found = run.task.interpolant.mean(torch.full((20, 1), t), Ends(x0, x1))
            torch.testing.assert_close(found, end, rtol=0, atol=1e-5)


@each_learned
def test_a_resumed_path_ends_in_the_same_bytes(name: str) -> None:
    """The path and its moments go on as the field's do."""
    whole, broken, resumed = bent(name), bent(name), bent(name)
    finished(whole)
    next(broken.run())
    resumed.restore({key: value.clone() for key, value in broken.state().items()})
    finished(resumed)
    state = whole.state()
    assert whole.bender
    for p, kept in zip(
        whole.bender.parameters, whole.bender.views(state["path.weights"]), strict=True
    ):
        assert torch.equal(p, kept)
    for key, value in resumed.state().items():
        if key != "counters":
            assert torch.equal(value, state[key])


@pytest.mark.parametrize("segments", [1, 2])
def test_workers_that_draw_ahead_change_nothing(segments: int) -> None:
    """Minibatch couplings give the same losses and weights for any number of workers."""
    ends = [CloudSource(cloud(m, 90, 3), np.full(90, 1 / 90)) for m in (oracles.TILTED,) * 2]
    pairs = [BatchedPairs(ends[0], ends[1], Exact(), 16) for _ in range(segments)]
    found = []
    for workers in (0, 1, 2):
        field = MLP(width=8, depth=1).build(
            ("velocity",), Shape(2, segments), STREAMS.torch("weights")
        )
        schedule = Schedule(60, 16, 5e-3, 0.9, workers=workers)
        run = Trainer(field, Task(pairs, Linear(0.3), Velocity()), schedule, STREAMS)
        records = untimed(list(run.run()))
        run.finish()
        found.append((records, weights(field)))
    for records, final in found[1:]:
        assert records == found[0][0]
        assert torch.equal(final, found[0][1])
