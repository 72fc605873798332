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
"""Indices of the points of one time, ascending, and their scorer."""


@dataclass(frozen=True, eq=False)
class Scorers:
    """Scores points at several times, separately for each time.

    Args:
        each: time -> its points and their scorer, covering all points.
        grain: number of points processed at once.
    """

    each: Mapping[float, Timed]
    grain: int

    @classmethod
    def of_times(cls, scorer: Scorer, starts: Array, grain: int) -> "Scorers":
        """Build the scorers of points with individual clock times.

        Args:
            scorer: scorer of all points, at any time.
            starts: clock time of each point, shape (n,).
            grain: number of points processed at once.
        """
        places = {float(time): np.flatnonzero(starts == time) for time in np.unique(starts)}
        return cls({t: (own, scorer.at(t, own)) for t, own in places.items()}, grain)

    def of(self, points: "Matrix", rows: slice, streams: Streams) -> LogProb:
        """Compute log densities of some of the points, in nats and in their order.

        Args:
            points: their positions, shape (n, d), data units.
            rows: which rows they are: whole blocks, as far as there are points.
            streams: random streams for probes and noise.

        Raises:
            ConfigError: if a score is needed but not available.
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
    """Merge log densities of disjoint rows into those of all points."""
    back = np.argsort(np.concatenate([rows for rows, _ in found]))
    return LogProb.joined([scores for _, scores in found]).rows(back)
