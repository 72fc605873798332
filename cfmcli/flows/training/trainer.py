"""Training: a generator that regresses a field on path draws and yields a record a block."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from cfmcli.errors import NumericsError
from cfmcli.flows.fields import Field
from cfmcli.flows.objective.objectives import Place
from cfmcli.flows.path.learned import game
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.tasks import Batch, Task

BLOCK = 25
WARM_UP = 0.05
CLIP = 1.0
KEPT = 2**31
"""The block that validation draws: one that no training reaches."""
DECAY, MOST_DECAY = 100.0, 0.3
PATH_RATE = 0.1
"""Learning rate of a path against that of the field, which has to keep up with it."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Args:
        steps: optimiser steps.
        batch_size: pairs per step.
        lr: peak learning rate, reached after a linear warm-up and left along a cosine.
        ema: decay of the averaged weights, 0 for none.
        bf16: run the network in bfloat16.
        weight_decay: pull of the weights towards zero, in units of the learning rate.
    """

    steps: int
    batch_size: int
    lr: float
    ema: float
    bf16: bool = False
    weight_decay: float = 1e-2

    def rate(self, step: int) -> float:
        """The learning rate of a step: linear warm-up, then cosine decay to zero."""
        warm = max(1.0, WARM_UP * self.steps)
        rest = max(0.0, step - warm) / max(1.0, self.steps - warm)
        return self.lr * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * rest))


def weight_decay(sizes: Sequence[int]) -> float:
    """100 / n for clouds of n points: a prior whose pull fades as the data grow.

    Args:
        sizes: numbers of points.
    """
    return min(MOST_DECAY, DECAY * len(sizes) / sum(sizes))


@dataclass(frozen=True)
class Record:
    """What a block of steps came to.

    Args:
        step: steps done so far.
        loss: mean training loss of the block.
        heads: the same for each head.
        grad_norm: mean norm of the gradient before clipping.
        seconds: wall time of training so far.
        validation: validation loss, NaN where there is none.
    """

    step: int
    loss: float
    heads: Mapping[str, float]
    grad_norm: float
    seconds: float
    validation: float = math.nan


class Trainer:
    """Fits a field to a task.

    Args:
        field: the network; it ends with the averaged weights.
        task: what it is regressed on.
        schedule: how long and how fast.
        streams: the run's randomness.
        validation: a task over points kept aside, or None.
        patience: validations without improvement before it stops, 0 for never.
    """

    def __init__(
        self,
        field: Field,
        task: Task,
        schedule: Schedule,
        streams: Streams,
        validation: Task | None = None,
        patience: int = 0,
    ) -> None:
        self.field = field
        self.task = task
        self.schedule = schedule
        self.streams = streams
        self.validation = validation
        self.patience = patience
        self.unit = field.scale**2
        lengths = task.objective.lengths()
        self.units = {name: field.scale**power for name, power in lengths.items()}
        self.step = 0
        self.seconds = 0.0
        self.best = math.inf
        self.stale = 0
        self.parameters: list[Tensor] = list(field.parameters())
        self.path: list[Tensor] = list(task.interpolant.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.chosen = [p.detach().clone() for p in self.parameters]
        self.optimizer = _adam(self.parameters, schedule.weight_decay)
        self.bender = _adam(self.path, 0.0) if self.path else None

    def run(self) -> Iterator[Record]:
        """Train to the end, yielding after each block of steps.

        Raises:
            NumericsError: if the loss is no longer finite.
        """
        while self.step < self.schedule.steps and not self._stopped():
            start = time.perf_counter()
            losses, norms = self._block()
            validation = self._validate()
            self.seconds += time.perf_counter() - start
            heads = {k: float(np.mean(v)) for k, v in losses.items()}
            record = Record(
                self.step,
                sum(heads.values()),
                heads,
                float(np.mean(norms)),
                self.seconds,
                validation,
            )
            if not math.isfinite(record.loss):
                raise NumericsError(
                    f"The loss became {record.loss} at step {self.step}: lower --lr (now "
                    f"{self.schedule.lr:g}), use --precision f32, or check the scale of the "
                    "features (--transform standardize)."
                )
            yield record

    def finish(self) -> None:
        """Give the field its final weights: the averaged ones, at the best validation if any."""
        final = self.chosen if self.validation and math.isfinite(self.best) else self.average
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, final)

    def state(self) -> dict[str, Tensor]:
        """Everything that continuing needs, as tensors by name."""
        counters = [float(self.step), self.seconds, self.best, float(self.stale)]
        return {"counters": torch.tensor(counters, dtype=torch.float64)} | self._tensors()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        step, self.seconds, self.best, stale = state["counters"].tolist()
        self.step, self.stale = int(step), int(stale)
        with torch.no_grad():
            for name, value in self._tensors().items():
                value.copy_(state[name])

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name."""
        found: dict[str, Tensor] = {}
        for k, p in enumerate(self.parameters):
            found |= {f"weights.{k}": p.detach(), f"average.{k}": self.average[k]}
            found |= {f"chosen.{k}": self.chosen[k]}
            found |= {f"{name}.{k}": value for name, value in self.optimizer.state[p].items()}
        for k, p in enumerate(self.path):
            found[f"path.{k}"] = p.detach()
            if self.bender:
                moments = self.bender.state[p].items()
                found |= {f"path.{name}.{k}": value for name, value in moments}
        return found

    def _block(self) -> tuple[dict[str, list[float]], list[float]]:
        """One block of steps on one draw of the task."""
        size = self.schedule.batch_size
        count = min(BLOCK, self.schedule.steps - self.step)
        block = self.step // BLOCK
        whole = self._draw(self.task, block, count * size, size)
        losses: dict[str, list[float]] = {name: [] for name in self.task.objective.heads}
        norms: list[float] = []
        for k in range(count):
            found, norm = self._update(whole.each(itemgetter(slice(k * size, (k + 1) * size))))
            for name, value in found.items():
                losses[name].append(value.item())
            norms.append(norm.item())
        return losses, norms

    def _update(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """One optimiser step, of the path too where it learns."""
        self.optimizer.param_groups[0]["lr"] = self.schedule.rate(self.step)
        if self.bender:
            with torch.no_grad():
                batch = batch.along(self.task.interpolant)
        with self._precision():
            outputs = self.field(batch.s, batch.draw.x_t, batch.condition)
            losses = self.task.objective.losses(outputs, batch.draw)
        self.optimizer.zero_grad()
        total = torch.stack([loss / self.units[name] for name, loss in losses.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, CLIP, foreach=True)
        self.optimizer.step()
        if self.bender:
            self._bend(batch, self.bender)
        self.step += 1
        decay = min(self.schedule.ema, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        return {name: value.detach() for name, value in losses.items()}, norm

    def _bend(self, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        """One step of a learned path up the game that the field descends."""
        path, objective = self.task.interpolant, self.task.objective
        batch = batch.along(path)
        outputs = self.field(batch.s, batch.draw.x_t, batch.condition)
        place = Place(batch.draw.t, batch.draw.x_t, path)
        drift = objective.velocity(outputs, place)
        epsilon = path.epsilon
        if epsilon:
            score = objective.score(outputs, place)
            assert score is not None
            drift = drift + epsilon * score
        value = game(batch.draw, drift, epsilon) / self.unit
        for p, slope in zip(self.path, torch.autograd.grad(value, self.path), strict=True):
            p.grad = -slope
        torch.nn.utils.clip_grad_norm_(self.path, CLIP, foreach=True)
        optimizer.param_groups[0]["lr"] = PATH_RATE * self.schedule.rate(self.step)
        optimizer.step()

    def _precision(self) -> AbstractContextManager[object]:
        """Arithmetic of the forward pass."""
        if not self.schedule.bf16:
            return nullcontext()
        return torch.autocast(self.parameters[0].device.type, torch.bfloat16)

    def _validate(self) -> float:
        """The validation loss of the averaged weights; keeps the best weights."""
        if self._kept is None:
            return math.nan
        with torch.no_grad():
            kept = self._kept.along(self.task.interpolant) if self.path else self._kept
        names = dict(zip((n for n, _ in self.field.named_parameters()), self.average, strict=True))
        inputs = (kept.s, kept.draw.x_t, kept.condition)
        with torch.no_grad():
            outputs = torch.func.functional_call(self.field, names, inputs)
            found = self.task.objective.losses(outputs, kept.draw)
            loss = float(sum(value / self.units[name] for name, value in found.items()))
            loss *= next(iter(self.units.values()))
        self.stale = 0 if loss < self.best else self.stale + 1
        if loss < self.best:
            self.best = loss
            torch._foreach_copy_(self.chosen, self.average)
        return loss

    @cached_property
    def _kept(self) -> Batch | None:
        """What every validation is measured on, if there are any."""
        return self._draw(self.validation, KEPT, 4096, 4096) if self.validation else None

    def _draw(self, task: Task, block: int, n: int, batch: int) -> Batch:
        """Path draws of a task on the field's device."""
        device = self.parameters[0].device
        return task.draw(block, n, batch, self.streams).each(lambda value: value.to(device))

    def _stopped(self) -> bool:
        """Whether patience has run out."""
        return bool(self.patience) and self.stale >= self.patience


def _adam(parameters: list[Tensor], weight_decay: float) -> torch.optim.AdamW:
    """The optimiser of some parameters, its moments there from the start."""
    found = torch.optim.AdamW(parameters, weight_decay=weight_decay, fused=True)
    for p in parameters:
        found.state[p] = {
            "step": torch.zeros((), device=p.device),
            "exp_avg": torch.zeros_like(p),
            "exp_avg_sq": torch.zeros_like(p),
        }
    return found
