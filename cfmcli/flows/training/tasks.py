"""Tasks: a triple bound to points, and the batches that it draws for training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cfmcli.flows.coupling.pairing import Layout, PairSource
from cfmcli.flows.objective.objectives import Objective
from cfmcli.flows.path.interpolants import Ends, Interpolant, PathDraw
from cfmcli.flows.streams import Streams


@dataclass(frozen=True)
class Batch:
    """Path draws and what the field sees of them.

    Args:
        s: inner times k + t, shape (B, 1).
        draw: the path draws.
        ends: what they lead from and to.
        condition: condition of each, shape (B, C), or None.
    """

    s: Tensor
    draw: PathDraw
    ends: Ends
    condition: Tensor | None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with a change made to every tensor."""
        draw = PathDraw(*(change(value) for value in vars(self.draw).values()))
        x0, x1, *bends = vars(self.ends).values()
        ends = Ends(change(x0), change(x1), *(None if v is None else change(v) for v in bends))
        condition = None if self.condition is None else change(self.condition)
        return Batch(change(self.s), draw, ends, condition)

    def along(self, path: Interpolant) -> "Batch":
        """The same pairs, times and latents along a path as it is now."""
        return replace(self, draw=path.draw(self.draw.t, self.ends, self.draw.z))


@dataclass(frozen=True)
class Task:
    """What is regressed: the triple, bound to the points of each segment.

    Args:
        pairs: a source of pairs for each segment.
        interpolant: the path between them.
        objective: the loss of the field on a path draw.
        layout: the columns of the pairs' rows; None where they are all coordinates.
        dropout: share of draws whose condition is left out, so that guidance can leave it out too.
    """

    pairs: Sequence[PairSource]
    interpolant: Interpolant
    objective: Objective
    layout: Layout | None = None
    dropout: float = 0.0

    def draw(self, block: int, n: int, batch: int, streams: Streams) -> Batch:
        """Path draws for n samples, segments mixed, t stratified within each batch.

        With antithetic draws each path of a batch comes twice, with z and with -z, so that terms
        of order 1 / gamma cancel where gamma vanishes. Where there are none, as for the velocity of
        a constant blur, twins would only halve the pairs of a batch, and are left out.

        Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 6 (antithetic sampling)

        Args:
            block: number of the block of steps.
            n: how many draws.
            batch: how many of them make up a step.
            streams: the run's randomness.
        """
        rng = streams.numpy("path", block)
        which, sign = self._mirrored(n, batch)
        count = int(which.max()) + 1
        segment = rng.permutation(np.arange(count) % len(self.pairs))
        x0, x1 = self._pairs(block, segment, streams)
        per_batch = -(-count * batch // n)
        strata = (np.arange(count) % per_batch + rng.random(count)) / per_batch
        margin = max(self.interpolant.t_margin, self.objective.margin)
        device = next((p.device for p in self.interpolant.parameters()), None)
        t = _tensor(margin + (1 - 2 * margin) * strata)[which, None].to(device)
        layout = self.layout or Layout(x0.shape[1])
        ends = Ends(*(_tensor(part[which]).to(device) for part in layout.ends(x0, x1)))
        z = rng.standard_normal((count, layout.dim), dtype=np.float32)[which] * sign
        with torch.no_grad():
            path = self.interpolant.draw(t, ends, _tensor(z).to(device))
        condition = None
        if layout.conditions:
            known = rng.random((count, 1)) >= self.dropout
            condition = _tensor((layout.condition(x1) * known)[which])
        inner = _tensor(segment[which])[:, None].to(device) + t
        return Batch(inner, path, ends, condition)

    def _mirrored(self, n: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """For each of n samples the draw that it uses, and the sign of its latent."""
        steep = self.interpolant.t_margin > 0 or self.objective.needs_latent
        if not (self.objective.antithetic and self.interpolant.has_latent and steep):
            return np.arange(n), np.ones((n, 1), np.float32)
        half = -(-batch // 2)
        place = np.arange(n) % batch
        which = np.arange(n) // batch * half + place % half
        return which, np.where(place < half, 1, -1).astype(np.float32)[:, None]

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


def _tensor(values: np.ndarray) -> Tensor:
    """As a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
