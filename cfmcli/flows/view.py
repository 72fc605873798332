"""View: normalises the inputs of a field, following location and width of the clouds in time."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

SLACK = 10.0
"""Ratio of the overall width to a cloud's width above which the cloud is magnified."""

POINT = 1e-6
"""Clouds narrower than this fraction of the overall width are treated as a single point."""


class Seen(NamedTuple):
    """Normalised inputs of a field.

    Args:
        inputs: inner time, normalised position and condition, shape (B, 1 + D + C).
        drift: velocity of the frame at each point, shape (B, D).
    """

    inputs: Tensor
    drift: Tensor

    def split(self, size: int) -> list["Seen"]:
        """Split into batches of a given size."""
        parts = (torch.split(part, size) for part in self)
        return [Seen(*batch) for batch in zip(*parts, strict=True)]


class View(nn.Module):
    """A moving frame of reference that follows the snapshots: u = (x - m(s)) / w(s).

    In the gap s = k + t the centre is m = (1 - t) m_k + t m_{k+1}, and the width w of
    1 / w^2 = 1 / scale^2 + 1 / (10 sigma)^2, sigma = (1 - t) sigma_k + t sigma_{k+1}.
    So w is the overall scale unless clouds are much narrower, and follows clouds that are, which a
    network could not resolve: its slopes would have to be as steep as scale / sigma. A point at
    rest in the frame moves with dm/dt + (dw/dt) u, and a field learns the difference from that.

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
        """Number of gaps K between snapshots: the inner clock runs from 0 to K."""
        return len(self.spreads) - 1

    def settle(self, means: Tensor, spreads: Tensor, scale: float) -> None:
        """Set location and scale of the snapshots, so that a fit is invariant to origin and unit.

        Args:
            means: mean of each snapshot, shape (K + 1, D).
            spreads: root mean square deviation per dimension of each, shape (K + 1,), at least 0;
                a cloud of one point is not magnified.
            scale: root mean square deviation of all points together, above 0.
        """
        self.means.copy_(means)
        self.spreads.copy_(torch.where(spreads > POINT * scale, spreads, scale))
        self.scale.fill_(scale)

    def seen(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Seen:
        """Normalise points x, (B, D), at inner times s, (B, 1), with conditions c, (B, C)."""
        n, s = len(x), once(s)
        t, k = self._gap(s)
        gone = self.means[k + 1] - self.means[k]
        width, rate = self._width(t, k)
        u = (x - self.means[k] - t * gone) / width
        parts = [(2 * s / self.segments - 1).expand(n, 1), u]
        return Seen(torch.cat(parts if c is None else [*parts, c], dim=1), gone + rate * u)

    def width(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """w and dw/dt at inner times s, (B, 1), in that shape, or (1, 1) if all times are equal."""
        return self._width(*self._gap(once(s)))

    def _gap(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Path times t and gaps k of inner times, which may be NaN after a solver failure."""
        k = s.detach().nan_to_num().floor().clamp(0, self.segments - 1)
        return s - k, k.long().squeeze(1)

    def _width(self, t: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """w and dw/dt at path times t of the gaps k."""
        start, widens = self.spreads[k, None], (self.spreads[k + 1] - self.spreads[k])[:, None]
        spread = SLACK * (start + t * widens)
        width = (self.scale**-2 + spread**-2).rsqrt()
        return width, SLACK * widens * (width / spread) ** 3


def once(s: Tensor) -> Tensor:
    """Reduce times to shape (1, 1) if they are one time expanded to all points, as along paths."""
    return s[:1] if len(s) > 1 and s.stride(0) == 0 else s
