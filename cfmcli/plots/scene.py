"""Scene: the content of pictures of a run, with shared results computed once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.data.snapshots import Cloud
from cfmcli.flows.dynamics.choice import deterministic
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.plots.canvas import Clock
from cfmcli.plots.classes import ranked
from cfmcli.plots.plane import Plane

if TYPE_CHECKING:
    import pandas as pd

LINES = 60
FRAMES = 40


@dataclass(frozen=True, eq=False)
class Scene:
    """A run, with settings for its pictures.

    Args:
        model: the trained model.
        plane: projection of points to the picture.
        losses: content of losses.csv, empty if there is none.
        scores: scores of each held-out time by label, as in metrics.json.
        streams: random streams for the choice of trajectories.
        classes: class of each cell of the last snapshot, None if not requested.
        features: features whose trends are drawn, empty for those that change most.
        colour: named column of numbers or classes by cell id, None for none.
        predictions: predicted cloud of each held-out time by label, in flow coordinates.
    """

    model: Model
    plane: Plane
    losses: str = ""
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    streams: Streams = field(default_factory=lambda: Streams(0))
    classes: "pd.Series[Any] | None" = None
    features: tuple[str, ...] = ()
    colour: "pd.Series[Any] | None" = None
    predictions: Mapping[str, Cloud] = field(default_factory=dict)

    @cached_property
    def clock(self) -> Clock:
        """Colour map of times."""
        observed = {cloud.time for cloud in self.model.clouds}
        return Clock(tuple(sorted(observed.union(self.model.timeline.times))))

    @property
    def note(self) -> str:
        """Note on how to read points that are coloured by time."""
        return f"{self.plane.caption} {self.clock.caption}".strip()

    @cached_property
    def journey(self) -> "Journey":
        """Carry a few source points from the first time to the last, under their conditions."""
        model = self.model
        start = model.source.draw(LINES, self.streams)
        inner = np.linspace(0, model.timeline.segments, FRAMES)
        times = np.array([model.timeline.clock(float(s)) for s in inner])
        guide = model.guide(start.obs)
        paths = model.flow.paths(start.points, times.tolist(), deterministic("dopri5"), guide)
        order = [""] if self.classes is None else ranked(self.classes)
        return Journey(times, paths.points, self._arrivals(paths.points[-1]), order)

    def velocities(self, cloud: Cloud) -> Array:
        """Velocity of each point of a stored snapshot at its own time, shape (n, D)."""
        known = self.model.source.conditioned(cloud, self.streams)
        x = np.asarray(cloud.points, dtype=np.float64)
        return self.model.flow.velocity(x, cloud.time, guide=self.model.guide(known.obs))

    def _arrivals(self, x: Array) -> list[str]:
        """Class of the observed cell nearest to each point at the last time."""
        if self.classes is None:
            return [""] * len(x)
        from scipy.spatial import cKDTree

        _, near = cKDTree(np.asarray(self.model.kept[-1].points)).query(x)
        return [str(self.classes.iloc[row]) for row in near]


@dataclass(frozen=True, eq=False)
class Journey:
    """Trajectories in flow coordinates.

    Args:
        times: clock times, shape (T,).
        points: positions at each time, shape (T, n, D).
        classes: class that each reaches, n words; empty words if not requested.
        order: the possible classes, in display order.
    """

    times: Array
    points: Array
    classes: list[str]
    order: list[str]

    def groups(self) -> dict[str, IntArray]:
        """Indices of the trajectories that reach each class."""
        found = np.array(self.classes)
        return {name: np.flatnonzero(found == name) for name in self.order if name in found}
