"""Scorers: log densities of points, each at its own time or all at the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.data.blocks import blocks
from cfmcli.flows.streams import Streams
from cfmcli.scorer import LogProb, Scorer

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

Timed = tuple[IntArray, Scorer]
"""Points of one time, ascending, and what scores them."""


@dataclass(frozen=True, eq=False)
class Scorers:
    """What scores points at several times, those of each time on their own.

    Args:
        each: time -> its points and their scorer; all points in all.
        grain: points whose densities are obtained at once.
    """

    each: Mapping[float, Timed]
    grain: int

    @classmethod
    def of_times(cls, scorer: Scorer, starts: Array, grain: int) -> "Scorers":
        """The scorers of points at clock times of their own.

        Args:
            scorer: of all points, at any time.
            starts: clock time of each, shape (n,).
            grain: points whose densities are obtained at once.
        """
        places = {float(time): np.flatnonzero(starts == time) for time in np.unique(starts)}
        return cls({t: (own, scorer.at(t, own)) for t, own in places.items()}, grain)

    def of(self, points: "Matrix", rows: slice, streams: Streams) -> LogProb:
        """Log densities of some of the points, in nats and in their order.

        Args:
            points: their positions, shape (n, d), data units.
            rows: which they are: whole blocks, as far as there are points.
            streams: where their probes and noise come from.

        Raises:
            ConfigError: if a score is needed and there is none.
            NumericsError: if the integration fails.
        """
        if len(self.each) == 1:
            ((_, scorer),) = self.each.values()
            return scorer.of(points, rows, streams)
        found: list[tuple[IntArray, LogProb]] = []
        for number, block in enumerate(blocks(rows.stop - rows.start, self.grain), streams.first):
            for which, (places, scorer) in enumerate(self.each.values()):
                bounds = (rows.start + block.start, rows.start + block.stop)
                first, last = (int(place) for place in np.searchsorted(places, bounds))
                if first < last:
                    moving = Streams(streams.seed, number * len(self.each) + which)
                    own = places[first:last] - rows.start
                    found.append((own, scorer.of(points[own], slice(first, last), moving)))
        return _joined(found)


def _joined(found: Sequence[tuple[IntArray, LogProb]]) -> LogProb:
    """The log densities of all points from those of some: their rows, and what was found."""
    back = np.argsort(np.concatenate([rows for rows, _ in found]))
    return LogProb.joined([scores for _, scores in found]).rows(back)
