"""Training: a generator that regresses a field on path draws and yields a record a block."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cfmcli.errors import NumericsError
from cfmcli.flows.fields import Field
from cfmcli.flows.interpolants import Interpolant, PathDraw
from cfmcli.flows.objectives import Objective
from cfmcli.flows.pairing import PairSource
from cfmcli.flows.streams import Streams

BLOCK = 25
WARM_UP = 0.05
CLIP = 1.0


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


@dataclass(frozen=True)
class Task:
    """What is regressed: the triple, bound to the points of each segment.

    Args:
        pairs: a source of pairs for each segment.
        interpolant: the path between them.
        objective: the loss of the field on a path draw.
    """

    pairs: Sequence[PairSource]
    interpolant: Interpolant
    objective: Objective

    def draw(self, block: int, n: int, batch: int, streams: Streams) -> tuple[Tensor, PathDraw]:
        """Path draws for n samples, segments mixed, t stratified within each batch.

        Returns:
            Inner times s = k + t, shape (n, 1), and the draws.
        """
        rng = streams.numpy("path", block)
        segment = rng.permutation(np.arange(n) % len(self.pairs))
        x0, x1 = self._pairs(block, segment, streams)
        strata = (np.arange(n) % batch + rng.random(n)) / batch
        margin = self.interpolant.t_margin
        t = _tensor(margin + (1 - 2 * margin) * strata)[:, None]
        z = _tensor(rng.standard_normal(x0.shape, dtype=np.float32))
        return _tensor(segment)[:, None] + t, self.interpolant.draw(t, _tensor(x0), _tensor(x1), z)

    def _pairs(
        self, block: int, segment: np.ndarray, streams: Streams
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs for samples of the given segments."""
        drawn = [
            source.draw(block, int((segment == k).sum()), k, streams)
            for k, source in enumerate(self.pairs)
        ]
        order = np.argsort(np.argsort(segment, kind="stable"), kind="stable")
        x0, x1 = (np.concatenate(part)[order] for part in zip(*drawn, strict=True))
        return x0, x1


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
        self.step = 0
        self.seconds = 0.0
        self.best = math.inf
        self.stale = 0
        self.parameters: list[Tensor] = list(field.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.chosen = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=schedule.lr, weight_decay=schedule.weight_decay, fused=True
        )
        for p in self.parameters:
            self.optimizer.state[p] = {
                "step": torch.zeros((), device=p.device),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }

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
        state = {"counters": torch.tensor(counters, dtype=torch.float64)}
        for k, p in enumerate(self.parameters):
            own = self.optimizer.state[p]
            state |= {f"{name}.{k}": own[name] for name in ("step", "exp_avg", "exp_avg_sq")}
            state |= {f"weights.{k}": p.detach(), f"average.{k}": self.average[k]}
            state |= {f"chosen.{k}": self.chosen[k]}
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        step, self.seconds, self.best, stale = state["counters"].tolist()
        self.step, self.stale = int(step), int(stale)
        with torch.no_grad():
            for k, p in enumerate(self.parameters):
                p.copy_(state[f"weights.{k}"])
                self.average[k].copy_(state[f"average.{k}"])
                self.chosen[k].copy_(state[f"chosen.{k}"])
                for name in ("step", "exp_avg", "exp_avg_sq"):
                    self.optimizer.state[p][name].copy_(state[f"{name}.{k}"])

    def _block(self) -> tuple[dict[str, list[float]], list[float]]:
        """One block of steps on one draw of the task."""
        size = self.schedule.batch_size
        count = min(BLOCK, self.schedule.steps - self.step)
        block = self.step // BLOCK
        s, draw = self._draw(self.task, block, count * size, size)
        losses: dict[str, list[float]] = {name: [] for name in self.task.objective.heads}
        norms: list[float] = []
        for k in range(count):
            rows = slice(k * size, (k + 1) * size)
            found, norm = self._update(
                s[rows], PathDraw(draw.t[rows], draw.x_t[rows], draw.velocity[rows])
            )
            for name, value in found.items():
                losses[name].append(value.item())
            norms.append(norm.item())
        return losses, norms

    def _update(self, s: Tensor, draw: PathDraw) -> tuple[dict[str, Tensor], Tensor]:
        """One optimiser step."""
        self.optimizer.param_groups[0]["lr"] = self.schedule.rate(self.step)
        with self._precision():
            losses = self.task.objective.losses(self.field(s, draw.x_t), draw)
        self.optimizer.zero_grad()
        (torch.stack(list(losses.values())).sum() / self.unit).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, CLIP, foreach=True)
        self.optimizer.step()
        self.step += 1
        decay = min(self.schedule.ema, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        return {name: value.detach() for name, value in losses.items()}, norm

    def _precision(self) -> AbstractContextManager[object]:
        """Arithmetic of the forward pass."""
        if not self.schedule.bf16:
            return nullcontext()
        return torch.autocast(self.parameters[0].device.type, torch.bfloat16)

    def _validate(self) -> float:
        """The validation loss of the averaged weights; keeps the best weights."""
        if self._kept is None:
            return math.nan
        s, draw = self._kept
        names = dict(zip((n for n, _ in self.field.named_parameters()), self.average, strict=True))
        with torch.no_grad():
            outputs = torch.func.functional_call(self.field, names, (s, draw.x_t))
            loss = float(sum(self.task.objective.losses(outputs, draw).values()))
        self.stale = 0 if loss < self.best else self.stale + 1
        if loss < self.best:
            self.best = loss
            torch._foreach_copy_(self.chosen, self.average)
        return loss

    @cached_property
    def _kept(self) -> tuple[Tensor, PathDraw] | None:
        """What every validation is measured on, if there are any."""
        return self._draw(self.validation, 0, 4096, 4096) if self.validation else None

    def _draw(self, task: Task, block: int, n: int, batch: int) -> tuple[Tensor, PathDraw]:
        """Path draws of a task on the field's device."""
        s, draw = task.draw(block, n, batch, self.streams)
        device = self.parameters[0].device
        return s.to(device), PathDraw(*(v.to(device) for v in vars(draw).values()))

    def _stopped(self) -> bool:
        """Whether patience has run out."""
        return bool(self.patience) and self.stale >= self.patience


def _tensor(values: np.ndarray) -> Tensor:
    """As a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
