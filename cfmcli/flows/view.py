"""View: where a field sees points from, and in which unit, as the clouds travel and spread."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

SLACK = 10.0
"""How many times narrower than all points a cloud may be before it is magnified."""

POINT = 1e-6
"""Clouds narrower than so many times all points are one point, in which nothing can be told."""


class Seen(NamedTuple):
    """Points as a field sees them.

    Args:
        inputs: inner time, place in the view and condition, shape (B, 1 + D + C).
        drift: how the view itself carries each point, shape (B, D).
    """

    inputs: Tensor
    drift: Tensor

    def split(self, size: int) -> list["Seen"]:
        """Batches of that many points."""
        parts = (torch.split(part, size) for part in self)
        return [Seen(*batch) for batch in zip(*parts, strict=True)]


class View(nn.Module):
    """A frame of reference that goes along with the snapshots: u = (x - m(s)) / w(s).

    In the gap s = k + t the centre is m = (1 - t) m_k + t m_{k+1}, and the width w of
    1 / w^2 = 1 / scale^2 + 1 / (10 sigma)^2, sigma = (1 - t) sigma_k + t sigma_{k+1}.
    So w is the scale of all points wherever clouds are not much narrower than that, and follows
    clouds that are, which a network could not tell from one point: its slopes would have to be
    as steep as scale / sigma. A point that stays where it is in the frame moves with
    dm/dt + (dw/dt) u, and a field learns what is left of that.

    Reference: Karras et al. (2022), arXiv 2206.00364, sec. 5 (networks in units of their input)

    Args:
        segments: gaps K between snapshots.
        dim: dimension D.
    """

    means: Tensor
    spreads: Tensor
    scale: Tensor

    def __init__(self, segments: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(segments + 1, dim))
        self.register_buffer("spreads", torch.ones(segments + 1))
        self.register_buffer("scale", torch.ones(()))

    @property
    def segments(self) -> int:
        """Gaps K between snapshots: the inner clock runs from 0 to K."""
        return len(self.spreads) - 1

    def settle(self, means: Tensor, spreads: Tensor, scale: float) -> None:
        """Say where the points are, so that a fit does not depend on their origin and unit.

        Args:
            means: mean of each snapshot, shape (K + 1, D).
            spreads: root mean square deviation per dimension of each, shape (K + 1,), at least 0;
                a cloud of one point is not magnified.
            scale: the same of all points together, above 0.
        """
        self.means.copy_(means)
        self.spreads.copy_(torch.where(spreads > POINT * scale, spreads, scale))
        self.scale.fill_(scale)

    def seen(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Seen:
        """Points x, (B, D), at inner times s, (B, 1), under conditions c, (B, C), as seen."""
        n, s = len(x), once(s)
        t, k = self._gap(s)
        gone = self.means[k + 1] - self.means[k]
        width, rate = self._width(t, k)
        u = (x - self.means[k] - t * gone) / width
        parts = [(2 * s / self.segments - 1).expand(n, 1), u]
        return Seen(torch.cat(parts if c is None else [*parts, c], dim=1), gone + rate * u)

    def width(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """w and dw/dt at inner times s, (B, 1), of that shape, or (1, 1) where all are one."""
        return self._width(*self._gap(once(s)))

    def _gap(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Path times t and gaps k of inner times, which are no numbers where a solver gave up."""
        k = s.detach().nan_to_num().floor().clamp(0, self.segments - 1)
        return s - k, k.long().squeeze(1)

    def _width(self, t: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """The same at times t of the gaps k."""
        start, widens = self.spreads[k, None], (self.spreads[k + 1] - self.spreads[k])[:, None]
        spread = SLACK * (start + t * widens)
        width = (self.scale**-2 + spread**-2).rsqrt()
        return width, SLACK * widens * (width / spread) ** 3


def once(s: Tensor) -> Tensor:
    """One time, shape (1, 1), where all points share it, as they do along paths."""
    return s[:1] if len(s) > 1 and s.stride(0) == 0 else s
