"""Bends: how the path of the snapshot means departs from the straight chord of each gap."""

from dataclasses import dataclass, replace

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.pairing import PairSource
from cfmcli.flows.coupling.splines import natural_tangents
from cfmcli.flows.streams import Streams

MOST = 0.75
"""Longest bend allowed, as a share of the gap's chord; longer ones overshoot on uneven gaps."""


@dataclass(frozen=True)
class Bend:
    """Differences between the end tangents of a gap and its chord.

    Args:
        start: at t = 0, per unit of t, shape (D,).
        end: at t = 1.
    """

    start: Array
    end: Array

    def at(self, t: float) -> Array:
        """Displacement of the fully bent path from the straight line at path time t, shape (D,)."""
        return t * (1 - t) * ((1 - t) * self.start - t * self.end)


def bends(means: Array, times: Array) -> list[Bend]:
    """Compute the bend of each gap from the natural cubic spline m(tau) through the snapshot means.

    start = h dm/dtau(tau_k) - (m_k+1 - m_k), h = tau_k+1 - tau_k, and end likewise, neither longer
    than 3/4 of the chord |m_k+1 - m_k|. Two snapshots have no bend.

    Reference: de Boor (1978), A Practical Guide to Splines, ch. IV

    Args:
        means: of the snapshots, shape (K + 1, D).
        times: their times tau, shape (K + 1,), increasing.
    """
    tangents = natural_tangents(means[None], times)[0]
    chords, spans = np.diff(means, axis=0), np.diff(times)
    return [
        Bend(*(_capped(tangents[knot] * h - chord, chord) for knot in (k, k + 1)))
        for k, (chord, h) in enumerate(zip(chords, spans, strict=True))
    ]


def _capped(departure: Array, chord: Array) -> Array:
    """Shorten a departure to at most `MOST` times the length of the chord."""
    length, most = np.linalg.norm(departure), MOST * np.linalg.norm(chord)
    return departure if length <= most else departure * (most / length)


@dataclass(frozen=True, eq=False)
class BentPairs(PairSource):
    """Pairs of one gap, each with the tangents chord + bend at its ends.

    Args:
        pairs: where the pairs come from.
        bend: bend of the gap.
    """

    pairs: PairSource
    bend: Bend

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw pairs whose tangents, per unit of path time, stand in additional columns."""
        x0, x1 = self.pairs.draw(block, n, segment, streams)
        dim = len(self.bend.start)
        chord = x1[:, :dim] - x0[:, :dim]
        ends = np.float32(self.bend.start), np.float32(self.bend.end)
        return np.hstack((x0, chord + ends[0])), np.hstack((x1, chord + ends[1]))

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[BentPairs, BentPairs | None]":
        """Split the pairs into two sources with the same bend."""
        train, aside = self.pairs.parted(share, rng)
        return replace(self, pairs=train), replace(self, pairs=aside) if aside else None
