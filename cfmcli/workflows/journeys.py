"""Journeys: points carried to a common time, each from its own start or all from the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from cfmcli.data.arrays import Array
from cfmcli.data.blocks import blocks
from cfmcli.data.neighbours import Rows
from cfmcli.flows.dynamics.flow import CHUNK
from cfmcli.flows.dynamics.mass import changes
from cfmcli.flows.dynamics.motion import Motion
from cfmcli.flows.dynamics.paths import Paths
from cfmcli.flows.objective.reading import Guide
from cfmcli.model import Model
from cfmcli.workflows.shards import Part


class Trip(NamedTuple):
    """Paths of points, their initial velocities, shape (n, D), and growth by name."""

    paths: Paths
    velocity: Array
    growth: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Journey:
    """Carries points from possibly different start times to one end time.

    Args:
        model: the model whose flow carries them.
        how: the motion.
        starts: clock time of each point's start, shape (n,).
        end: clock time of the end.
    """

    model: Model
    how: Motion
    starts: Array
    end: float

    @cached_property
    def times(self) -> list[float]:
        """Distinct start times, ascending."""
        return sorted(set(self.starts.tolist()))

    def of(self, x: Array, part: Part, guide: Guide | None) -> Trip:
        """Carry the points of a shard, shape (n, D)."""
        before = part.blocks(CHUNK)
        if len(self.times) == 1:
            return self._trip(x, self.times[0], self.how.after(before), guide)
        starts, size = self.starts[part.rows], CHUNK if part.grain == CHUNK else len(x)
        found: list[tuple[Rows, Trip]] = []
        for k, block in enumerate(blocks(len(x), size), before):
            every = np.arange(block.start, block.stop)
            for which, time in enumerate(self.times):
                rows = every[starts[block] == time]
                if len(rows):
                    moving = self.how.after(k * len(self.times) + which)
                    own = guide and guide.of(torch.from_numpy(rows))
                    found.append((rows, self._trip(x[rows], time, moving, own)))
        return _joined(found)

    def _trip(self, x: Array, start: float, how: Motion, guide: Guide | None) -> Trip:
        """Carry points that start at the same time."""
        flow, span = self.model.flow, (start, self.end)
        paths = how.paths(flow, x, span, guide)
        velocity = flow.velocity(x, start, forward=self.end >= start, guide=guide)
        return Trip(paths, velocity, changes(flow, x, span, paths, guide))


def _joined(found: Sequence[tuple[Rows, Trip]]) -> Trip:
    """Merge trips of disjoint rows into a trip of all points."""
    back = np.argsort(np.concatenate([rows for rows, _ in found]))
    trips = [trip for _, trip in found]
    paths = [trip.paths for trip in trips]
    masses = [path.log_mass for path in paths if path.log_mass is not None]
    whole = Paths(
        np.concatenate([path.points for path in paths], axis=1)[:, back],
        np.concatenate([path.energy for path in paths])[back],
        max(path.nfe for path in paths),
        np.concatenate(masses, axis=1)[:, back] if masses else None,
    )
    grown = {
        name: np.concatenate([trip.growth[name] for trip in trips])[back]
        for name in trips[0].growth
    }
    return Trip(whole, np.concatenate([trip.velocity for trip in trips])[back], grown)
