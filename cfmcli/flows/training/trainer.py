"""Training: a generator that regresses a field on path draws and yields a record a block."""

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
"""The block that validation draws, one that no training reaches, and how much of it."""
PATH_RATE = 0.1
"""Learning rate of a path against that of the field, which has to keep up with it."""


@dataclass(frozen=True)
class Aside:
    """Points that are kept aside to tell how good a fit is, and when to end.

    Args:
        validation: a task over them.
        finale: the task once an open horizon has closed, over them and all others, as nothing is
            validated any more; None for the task of before.
    """

    validation: Task
    finale: Task | None = None


class Trainer:
    """Fits a field to a task.

    Args:
        field: the network; it ends with the averaged weights.
        task: what it is regressed on.
        schedule: how long and how fast.
        streams: the run's randomness.
        aside: points kept aside, or None.
        patience: validations without improvement before it stops, 0 for never; where the horizon
            is open, before the rate falls, 0 for a share of those there were.
        ranks: who else trains it.
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
        """What the field is regressed on now."""
        closing = self.aside.finale if self.aside and self.turn else None
        return closing or self.opening

    @property
    def end(self) -> int:
        """The steps there are to be; the most there may be while the horizon is open."""
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
        """The pairs of the blocks to come."""
        first = self.step // BLOCK
        left = math.ceil(self.end / BLOCK) - first
        return in_order(lambda k: self._pairs(first + k), left, self.schedule.workers)

    def _blocks(self, pairs: Iterator[Pairs]) -> Iterator[Record]:
        """A record for each block of steps, until there are none, or the horizon closes."""
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
        """Close an open horizon: go back to the best weights, if any, from which the rate falls."""
        self.turn = self.step
        if self.best.found:
            self.best.go_back()
        with torch.no_grad():
            self.descent.weights.copy_(self.average)

    def finish(self) -> None:
        """Give the field its final weights: the averaged ones, or the best, if not gone back to."""
        if not self.turn and self.best.found:
            self.best.go_back()
        self.descent.settle(self.average)

    def state(self) -> dict[str, Tensor]:
        """Everything that continuing needs, as tensors by name."""
        counters = [self.step, self.seconds, self.turn, *self.best.numbers()]
        return {"counters": torch.tensor(counters, dtype=torch.float64)} | self._tensors()

    def strange(self, state: Mapping[str, Any]) -> bool:
        """Whether a state is not one that `restore` takes, by names and shapes."""
        own = {name: tuple(value.shape) for name, value in self.state().items()}
        return own != {name: tuple(value.shape) for name, value in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        step, self.seconds, turn, *numbers = state["counters"].tolist()
        self.step, self.turn = int(step), int(turn)
        self.best.resume(*numbers)
        with torch.no_grad():
            for name, value in self._tensors().items():
                value.copy_(state[name])

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name."""
        kept = {f"kept.{number}": value for number, value in enumerate(self.best.kept)}
        found = self.descent.state() | {"average": self.average} | kept
        bent = self.bender.state() if self.bender else {}
        return found | {f"path.{name}": value for name, value in bent.items()}

    def _pairs(self, block: int) -> Pairs:
        """The pairs of a block of steps."""
        size = self.schedule.batch_size
        return self.task.coupled(block, self._count(block) * size, size, self.streams)

    def _count(self, block: int) -> int:
        """The steps of a block: the last one may have fewer."""
        return min(BLOCK, self.schedule.steps - block * BLOCK)

    def _block(self, pairs: Pairs) -> tuple[dict[str, float], float]:
        """One block of steps on one draw of the task: mean loss of each head, mean gradient."""
        size, block = self.schedule.batch_size, self.step // BLOCK
        count = self._count(block)
        drawn = self._draw(self.task, block, count * size, size, pairs)
        whole, size = self.ranks.share(drawn, size)
        batches = zip(whole.parts(size), self._seen(whole).split(size), strict=True)
        # Numbers leave their device once a block, so that no step waits for the one before.
        found = torch.stack([value for batch in batches for value in self._update(*batch)])
        *losses, norm = self.ranks.average(found.view(count, -1).mean(dim=0)).tolist()
        return dict(zip(self.units, losses, strict=True)), norm

    def _update(self, batch: Batch, seen: Seen) -> list[Tensor]:
        """One optimiser step, of the path too where it learns: losses and norm of the gradient."""
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
        """One step of a learned path up the game that the field descends."""
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
        """A batch as the field sees it."""
        return self.field.seen(batch.s, batch.draw.x_t, batch.condition)

    def _precision(self) -> AbstractContextManager[object]:
        """Arithmetic of the forward pass."""
        if not self.schedule.bf16:
            return nullcontext()
        return torch.autocast(self.descent.weights.device.type, torch.bfloat16)

    def _validate(self) -> float:
        """The validation loss, by which the best weights are kept, until the horizon closes."""
        loss = math.nan if self.turn else self._loss()
        if self.aside and not self.turn:
            self.best.judge(loss, self.step)
        return loss

    def _loss(self) -> float:
        """The validation loss of the averaged weights, NaN where there is none."""
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
        """What every validation is measured on, if there are any."""
        return self._draw(self.aside.validation, KEPT, JUDGED, JUDGED) if self.aside else None

    def _draw(
        self, task: Task, block: int, n: int, batch: int, pairs: Pairs | None = None
    ) -> Batch:
        """Path draws of a task on the field's device."""
        device = self.descent.weights.device
        drawn = task.draw(block, n, batch, self.streams, pairs)
        return drawn.each(lambda value: value.to(device))

    def _stopped(self) -> bool:
        """Whether patience has run out; an open horizon closes instead."""
        return 0 < self.patience <= self.best.stale and not self.schedule.open
