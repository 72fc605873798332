"""The scene: a run as pictures see it, with what several of them need computed once."""

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
    """A run, and how it is to be shown.

    Args:
        model: the trained model.
        plane: where points are drawn.
        losses: the content of losses.csv, empty where there is no history.
        scores: scores of each held-out time, by its label, as metrics.json has them.
        streams: which trajectories are drawn.
        classes: class of each cell of the last snapshot, None where none are asked for.
        features: features whose trends are asked for, empty for those that change most.
        colour: a column of numbers or classes by cell id, whose name is its own; None for none.
        predictions: what the model says of each held-out time, by its label, in flow coordinates.
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
        """Colours of times."""
        observed = {cloud.time for cloud in self.model.clouds}
        return Clock(tuple(sorted(observed.union(self.model.timeline.times))))

    @property
    def note(self) -> str:
        """What must be known to read points that are coloured by time."""
        return f"{self.plane.caption} {self.clock.caption}".strip()

    @cached_property
    def journey(self) -> "Journey":
        """A few source points, carried from the first time to the last under their conditions."""
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
        """The class of the observed cell that is nearest to each point at the last time."""
        if self.classes is None:
            return [""] * len(x)
        from scipy.spatial import cKDTree

        _, near = cKDTree(np.asarray(self.model.kept[-1].points)).query(x)
        return [str(self.classes.iloc[row]) for row in near]


@dataclass(frozen=True, eq=False)
class Journey:
    """Trajectories, in flow coordinates.

    Args:
        times: clock times, shape (T,).
        points: positions at each, shape (T, n, D).
        classes: where each arrives, n words; empty words where none are asked for.
        order: the words that there may be, in the order in which they are named.
    """

    times: Array
    points: Array
    classes: list[str]
    order: list[str]

    def groups(self) -> dict[str, IntArray]:
        """Rows of the trajectories that arrive in each class."""
        found = np.array(self.classes)
        return {name: np.flatnonzero(found == name) for name in self.order if name in found}
