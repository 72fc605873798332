"""Training: a generator that regresses a field on path draws and yields a record per block."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cfmcli.errors import NumericsError
from cfmcli.flows.fields import Field
from cfmcli.flows.objective.objectives import Place
from cfmcli.flows.path.learned import game
from cfmcli.flows.processes import in_order
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.best import SLACK, Best
from cfmcli.flows.training.descent import Descent
from cfmcli.flows.training.ranks import ALONE, Ranks
from cfmcli.flows.training.record import Record
from cfmcli.flows.training.schedule import BLOCK, Schedule
from cfmcli.flows.training.tasks import Batch, Pairs, Task
from cfmcli.flows.view import Seen

KEPT, JUDGED = 2**31, 2048
"""Block number of the validation draw, beyond any training block, and its number of samples."""
PATH_RATE = 0.1
"""Learning rate of a learned path relative to that of the field, which must keep up with it."""


@dataclass(frozen=True)
class Aside:
    """Held-out points that measure the quality of a fit and decide when to end.

    Args:
        validation: task over the held-out points.
        finale: task after an open horizon has closed, over held-out and all other points, since
            nothing is validated any more; None to keep the previous task.
    """

    validation: Task
    finale: Task | None = None


class Trainer:
    """Fits a field to a task.

    Args:
        field: the network; holds the averaged weights at the end.
        task: the regression problem.
        schedule: number of steps and learning rates.
        streams: the run's randomness.
        aside: held-out points, or None.
        patience: validations without improvement before training stops, 0 for never; with an open
            horizon, before the rate decays, 0 for a fraction of all validations so far.
        ranks: the processes that train together.
    """

    def __init__(
        self,
        field: Field,
        task: Task,
        schedule: Schedule,
        streams: Streams,
        aside: Aside | None = None,
        patience: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        self.field = field
        self.opening = task
        self.schedule = schedule
        self.streams = streams
        self.aside = aside
        self.patience = patience
        self.ranks = ranks
        self.unit = field.scale**2
        lengths = task.objective.lengths()
        self.units = {name: field.scale**power for name, power in lengths.items()}
        self.step = 0
        self.seconds = 0.0
        self.turn = 0
        self.descent = Descent(field.parameters(), schedule.weight_decay)
        self.average = self.descent.weights.clone()
        path = list(task.interpolant.parameters())
        self.bender = Descent(path, 0.0) if path else None
        bent = [self.bender.weights] if self.bender else []
        self.best = Best([self.average, *bent], SLACK if schedule.open else 0.0)

    @property
    def task(self) -> Task:
        """The task that the field is currently regressed on."""
        closing = self.aside.finale if self.aside and self.turn else None
        return closing or self.opening

    @property
    def end(self) -> int:
        """Total number of steps; the upper limit while the horizon is open."""
        return self.schedule.end(self.turn, self.best.step)

    def run(self) -> Iterator[Record]:
        """Train to the end, yielding after each block of steps.

        Raises:
            NumericsError: if the loss is no longer finite.
        """
        if not self.step:
            self.best.opening = self._loss()
        while self.step < self.end and not self._stopped():
            with self._ahead() as pairs:
                yield from self._blocks(pairs)

    def _ahead(self) -> AbstractContextManager[Iterator[Pairs]]:
        """Pairs of the coming blocks, prepared in advance if there are workers."""
        first = self.step // BLOCK
        left = math.ceil(self.end / BLOCK) - first
        return in_order(lambda k: self._pairs(first + k), left, self.schedule.workers)

    def _blocks(self, pairs: Iterator[Pairs]) -> Iterator[Record]:
        """Yield a record for each block of steps, until training ends or the horizon closes."""
        turn = self.turn
        while self.turn == turn and self.step < self.end and not self._stopped():
            start = time.perf_counter()
            heads, norm = self._block(next(pairs))
            validation = self._validate()
            if not self.turn and self.schedule.turns(self.step, self.best.stale, self.patience):
                self._turn()
            self.seconds += time.perf_counter() - start
            record = Record(self.step, sum(heads.values()), heads, norm, self.seconds, validation)
            if not math.isfinite(record.loss):
                raise NumericsError(
                    f"The loss became {record.loss} at step {self.step}: lower --lr (now "
                    f"{self.schedule.lr:g}), use --precision f32, or check the scale of the "
                    "features (--transform standardize)."
                )
            yield record

    def _turn(self) -> None:
        """Close an open horizon: go back to the best weights, if any, and start the decay."""
        self.turn = self.step
        if self.best.found:
            self.best.go_back()
        with torch.no_grad():
            self.descent.weights.copy_(self.average)

    def finish(self) -> None:
        """Give the field its final weights: the average, or the best if not restored already."""
        if not self.turn and self.best.found:
            self.best.go_back()
        self.descent.settle(self.average)

    def state(self) -> dict[str, Tensor]:
        """Everything needed to continue training, as tensors by name."""
        counters = [self.step, self.seconds, self.turn, *self.best.numbers()]
        return {"counters": torch.tensor(counters, dtype=torch.float64)} | self._tensors()

    def strange(self, state: Mapping[str, Any]) -> bool:
        """Whether names or shapes of a state do not match what `restore` expects."""
        own = {name: tuple(value.shape) for name, value in self.state().items()}
        return own != {name: tuple(value.shape) for name, value in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state returned by `state`."""
        step, self.seconds, turn, *numbers = state["counters"].tolist()
        self.step, self.turn = int(step), int(turn)
        self.best.resume(*numbers)
        with torch.no_grad():
            for name, value in self._tensors().items():
                value.copy_(state[name])

    def _tensors(self) -> dict[str, Tensor]:
        """All tensors that training changes, by name."""
        kept = {f"kept.{number}": value for number, value in enumerate(self.best.kept)}
        found = self.descent.state() | {"average": self.average} | kept
        bent = self.bender.state() if self.bender else {}
        return found | {f"path.{name}": value for name, value in bent.items()}

    def _pairs(self, block: int) -> Pairs:
        """The pairs of a block of steps."""
        size = self.schedule.batch_size
        return self.task.coupled(block, self._count(block) * size, size, self.streams)

    def _count(self, block: int) -> int:
        """Number of steps of a block; the last one may have fewer."""
        return min(BLOCK, self.schedule.steps - block * BLOCK)

    def _block(self, pairs: Pairs) -> tuple[dict[str, float], float]:
        """Train on one block; return the mean loss of each head and the mean gradient norm."""
        size, block = self.schedule.batch_size, self.step // BLOCK
        count = self._count(block)
        drawn = self._draw(self.task, block, count * size, size, pairs)
        whole, size = self.ranks.share(drawn, size)
        batches = zip(whole.parts(size), self._seen(whole).split(size), strict=True)
        # Read results back once per block, so that no step waits for the previous one.
        found = torch.stack([value for batch in batches for value in self._update(*batch)])
        *losses, norm = self.ranks.average(found.view(count, -1).mean(dim=0)).tolist()
        return dict(zip(self.units, losses, strict=True)), norm

    def _update(self, batch: Batch, seen: Seen) -> list[Tensor]:
        """Take one optimiser step, also of a learned path; return losses and gradient norm."""
        rate = self.schedule.rate(self.step, self.turn, self.best.step)
        if self.bender:
            with torch.no_grad():
                batch = batch.along(self.task.interpolant)
                seen = self._seen(batch)
        with self._precision():
            losses = self.task.objective.losses(self.field.at(seen), batch.draw)
        found = [losses[name] for name in self.units]
        pairs = zip(found, self.units.values(), strict=True)
        torch.autograd.backward([loss / unit for loss, unit in pairs])
        self.ranks.average(self.descent.gradient)
        norm = self.descent.step(rate)
        if self.bender:
            self._bend(batch, self.bender, PATH_RATE * rate)
        self.step += 1
        self.average.lerp_(self.descent.weights, 1 - self.schedule.keep(self.step))
        return [*(loss.detach() for loss in found), norm]

    def _bend(self, batch: Batch, bender: Descent, rate: float) -> None:
        """Take one ascent step of a learned path on the game that the field descends."""
        path, objective = self.task.interpolant, self.task.objective
        batch = batch.along(path)
        outputs = self.field.at(self._seen(batch))
        place = Place(batch.draw.t, batch.draw.x_t, path)
        drift = objective.velocity(outputs, place)
        epsilon = path.epsilon
        if epsilon:
            score = objective.score(outputs, place)
            assert score is not None
            drift = drift + epsilon * score
        value = game(batch.draw, drift, epsilon) / self.unit
        slopes = torch.autograd.grad(value, bender.parameters)
        for view, slope in zip(bender.views(bender.gradient), slopes, strict=True):
            view.sub_(slope)
        self.ranks.average(bender.gradient)
        bender.step(rate)

    def _seen(self, batch: Batch) -> Seen:
        """The field's inputs at a batch."""
        return self.field.seen(batch.s, batch.draw.x_t, batch.condition)

    def _precision(self) -> AbstractContextManager[object]:
        """Context that sets the precision of the forward pass."""
        if not self.schedule.bf16:
            return nullcontext()
        return torch.autocast(self.descent.weights.device.type, torch.bfloat16)

    def _validate(self) -> float:
        """Return the validation loss and update the best weights, until the horizon closes."""
        loss = math.nan if self.turn else self._loss()
        if self.aside and not self.turn:
            self.best.judge(loss, self.step)
        return loss

    def _loss(self) -> float:
        """Validation loss of the averaged weights, NaN without held-out points."""
        if self._kept is None:
            return math.nan
        names = (name for name, _ in self.field.named_parameters())
        weights = dict(zip(names, self.descent.views(self.average), strict=True))
        with torch.no_grad():
            kept = self._kept.along(self.task.interpolant) if self.bender else self._kept
            inputs = (kept.s, kept.draw.x_t, kept.condition)
            outputs = torch.func.functional_call(self.field, weights, inputs)
            found = self.task.objective.losses(outputs, kept.draw)
            loss = float(sum(value / self.units[name] for name, value in found.items()))
            return self.ranks.agreed(loss * next(iter(self.units.values())))

    @cached_property
    def _kept(self) -> Batch | None:
        """The fixed batch of all validations, if any."""
        return self._draw(self.aside.validation, KEPT, JUDGED, JUDGED) if self.aside else None

    def _draw(
        self, task: Task, block: int, n: int, batch: int, pairs: Pairs | None = None
    ) -> Batch:
        """Draw samples of a task on the field's device."""
        device = self.descent.weights.device
        drawn = task.draw(block, n, batch, self.streams, pairs)
        return drawn.each(lambda value: value.to(device))

    def _stopped(self) -> bool:
        """Whether patience has run out; an open horizon closes instead of stopping."""
        return 0 < self.patience <= self.best.stale and not self.schedule.open
