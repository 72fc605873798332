"""Tasks: a method bound to data, and the batches it draws for training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.layout import Layout, Points
from cfmcli.flows.coupling.pairing import PairSource
from cfmcli.flows.objective.objectives import Objective
from cfmcli.flows.path.interpolants import Ends, Interpolant, PathDraw
from cfmcli.flows.streams import Streams

Pairs = list[tuple[Points, Points]]
"""Pairs (x0, x1) of each segment, shape (n, D) each."""


@dataclass(frozen=True)
class Batch:
    """Path draws and the field's inputs at them.

    Args:
        s: inner times k + t, shape (B, 1).
        draw: the path draws.
        ends: the ends that each path joins.
        condition: condition of each, shape (B, C), or None.
    """

    s: Tensor
    draw: PathDraw
    ends: Ends
    condition: Tensor | None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Apply a function to every tensor."""
        return self._of([None if value is None else change(value) for value in self._flat()])

    def parts(self, size: int) -> list["Batch"]:
        """Split into batches of a given size; the last one may be smaller."""
        columns = [repeat(None) if v is None else torch.split(v, size) for v in self._flat()]
        return [self._of(row) for row in zip(*columns, strict=False)]

    def along(self, path: Interpolant) -> "Batch":
        """Draw the same pairs, times and latents anew, along a path as it is now."""
        return replace(self, draw=path.draw(self.draw.t, self.ends, self.draw.z))

    def _flat(self) -> list[Tensor | None]:
        """All tensors in a fixed order."""
        return [self.s, *vars(self.draw).values(), *vars(self.ends).values(), self.condition]

    @classmethod
    def _of(cls, values: Sequence[Any]) -> "Batch":
        """Rebuild a batch from tensors in that order."""
        s, *rest, condition = values
        count = len(fields(PathDraw))
        return cls(s, PathDraw(*rest[:count]), Ends(*rest[count:]), condition)


@dataclass(frozen=True)
class Task:
    """A regression problem: a method bound to the pairs of each segment.

    Args:
        pairs: a source of pairs for each segment.
        interpolant: the path between them.
        objective: the loss of the field on a path draw.
        layout: columns of the pairs' rows; None if they are all coordinates.
        dropout: probability of dropping the condition of a draw, for classifier-free guidance.
    """

    pairs: Sequence[PairSource]
    interpolant: Interpolant
    objective: Objective
    layout: Layout | None = None
    dropout: float = 0.0

    def coupled(self, block: int, n: int, batch: int, streams: Streams) -> Pairs:
        """Draw the pairs for `draw` of the same block; this is all of the coupling's work.

        Args:
            block: number of the block of steps.
            n: number of draws.
            batch: number of draws in a step.
            streams: the run's randomness.
        """
        which, _ = self._mirrored(n, batch)
        counts = np.bincount(self._segments(n, which), minlength=len(self.pairs)).tolist()
        return [
            source.draw(block, count, k, streams)
            for k, (source, count) in enumerate(zip(self.pairs, counts, strict=True))
        ]

    def parted(self, shares: Sequence[float], streams: Streams) -> "tuple[Task, Task | None]":
        """Split into a training task and a held-out task; the latter is None with too few points.

        Args:
            shares: fraction of the points of each segment to hold out, between 0 and 1.
            streams: the run's randomness.
        """
        parts = [
            source.parted(share, streams.numpy("validation", k))
            for k, (source, share) in enumerate(zip(self.pairs, shares, strict=True))
        ]
        if not any(aside for _, aside in parts):
            return self, None
        train = replace(self, pairs=[own for own, _ in parts])
        return train, replace(self, pairs=[aside or own for own, aside in parts])

    def draw(
        self, block: int, n: int, batch: int, streams: Streams, pairs: Pairs | None = None
    ) -> Batch:
        """Draw n samples of the path, segments mixed, t stratified within each batch.

        With antithetic draws each path of a batch appears twice, with z and with -z, so that terms
        of order 1 / gamma cancel where gamma vanishes. If there are no such terms, as for the
        velocity of a constant blur, twins would only halve the pairs of a batch and are not drawn.

        Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 6 (antithetic sampling)

        Args:
            block: number of the block of steps.
            n: number of draws.
            batch: number of draws in a step.
            streams: the run's randomness.
            pairs: result of `coupled` for the same block, if already computed.
        """
        rng = streams.numpy("path", block)
        which, sign = self._mirrored(n, batch)
        segment = rng.permutation(self._segments(n, which))
        count = len(segment)
        x0, x1 = _mixed(pairs or self.coupled(block, n, batch, streams), segment)
        per_batch = -(-count * batch // n)
        strata = stratified(count, per_batch, rng)
        margin = max(self._steep, self.objective.margin)
        device = next((p.device for p in self.interpolant.parameters()), None)

        def spread(values: Array | Points) -> Tensor:
            """Tensor of per-draw values, repeated for antithetic twins."""
            return _tensor(values if which is None else values[which]).to(device)

        layout = self.layout or Layout(x0.shape[1])
        t = spread(margin + (1 - 2 * margin) * strata)[:, None]
        told = layout.growth(x0, x1).items()
        masses = {name: spread(values) for name, values in told}
        ends = Ends(*map(spread, layout.ends(x0, x1)), **masses)
        z = torch.zeros(n, layout.dim, device=device)
        if self.interpolant.has_latent:
            z = spread(rng.standard_normal((count, layout.dim), dtype=np.float32))
            z = z if sign is None else z * sign
        with torch.no_grad():
            path = self.interpolant.draw(t, ends, z)
        condition = None
        if layout.conditions:
            known = rng.random((count, 1)) >= self.dropout
            condition = spread(layout.condition(x1) * known)
        return Batch(spread(segment)[:, None] + t, path, ends, condition)

    @cached_property
    def _steep(self) -> float:
        """Distance from the ends of [0, 1] that the path itself requires."""
        return self.interpolant.t_margin

    def _mirrored(self, n: int, batch: int) -> tuple[np.ndarray | None, Tensor | None]:
        """Index of the draw and sign of the latent for each of n samples; None without twins."""
        steep = self._steep > 0 or self.objective.needs_latent
        if not (self.objective.antithetic and self.interpolant.has_latent and steep):
            return None, None
        half = -(-batch // 2)
        place = np.arange(n) % batch
        which = np.arange(n) // batch * half + place % half
        return which, _tensor(np.where(place < half, 1, -1)[:, None])

    def _segments(self, n: int, which: np.ndarray | None) -> np.ndarray:
        """Segment of each draw, in turn."""
        return np.arange(n if which is None else int(which.max()) + 1) % len(self.pairs)


def stratified(count: int, per_batch: int, rng: np.random.Generator) -> Array:
    """Stratified uniform numbers in [0, 1], one per stratum in each batch, shape (count,)."""
    return np.asarray((np.arange(count) % per_batch + rng.random(count)) / per_batch)


def _mixed(pairs: Pairs, segment: np.ndarray) -> tuple[Points, Points]:
    """Concatenate the pairs of all segments, in the order of the given segments."""
    if len(pairs) == 1:
        return pairs[0]
    order = np.argsort(np.argsort(segment, kind="stable"), kind="stable")
    x0, x1 = (np.concatenate(part)[order] for part in zip(*pairs, strict=True))
    return x0, x1


def _tensor(values: np.ndarray) -> Tensor:
    """Convert to a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
