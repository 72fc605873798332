"""Judge: computes all scores of a run against observed clouds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

import numpy as np

from cfmcli import metrics
from cfmcli.data.snapshots import Cloud
from cfmcli.flows.dynamics.motion import Motion, motion
from cfmcli.flows.dynamics.paths import Paths
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.workflows import growth
from cfmcli.workflows.measures import DISTANCES, measures
from cfmcli.workflows.score import subsample

EULER = {f"w2_nfe_{steps}": steps for steps in (1, 2, 4, 8, 100)}
PATHS = ("npe", "path_energy", "straightness", "curvature", "nfe", *EULER)
MASSES = ("relative_mass", "observed_relative_mass", "mass_error")
FRAMES = 32
SPLITS = 3
NONE = float("nan")


@dataclass(frozen=True)
class Score:
    """One score of a run.

    Args:
        start: clock time from which the points were carried.
        end: clock time to which they were carried.
        metric: name of the figure.
        value: the figure, NaN where it is not defined.
        floor: value of the metric between two samples of the observed points; NaN if it is not a
            distance.
    """

    start: float
    end: float
    metric: str
    value: float
    floor: float = NONE

    def row(self) -> dict[str, Any]:
        """The score as a row of a table, with None for undefined values."""
        row = {"from": self.start, "to": self.end, "metric": self.metric}
        figures = {"value": self.value, "floor": self.floor}
        return row | {name: None if isnan(x) else x for name, x in figures.items()}


@dataclass(frozen=True)
class Judge:
    """Scores a run against observed clouds.

    Args:
        model: the run's model.
        how: the motion.
        streams: random streams for subsamples, splits and projections.
        most: maximum number of points on a side.
    """

    model: Model
    how: Motion
    streams: Streams
    most: int

    def count(self, observed: Sequence[Cloud]) -> int:
        """Number of scores that `scores` yields."""
        gaps = sum(cloud.time in self.model.timeline.times for cloud in observed)
        each = len(DISTANCES) + (len(MASSES) if self.model.flow.grows else 0)
        return each * len(observed) + len(PATHS) * gaps

    def scores(self, observed: Sequence[Cloud]) -> Iterator[Score]:
        """Yield distances to each observed cloud, and path figures of the gap that ends there.

        Args:
            observed: clouds in flow coordinates, in the order of their times.
        """
        source = self.start(0)
        times = (source.time, *(cloud.time for cloud in observed))
        moved = self.carried(source, times, self.how)
        for k, (cloud, x) in enumerate(zip(observed, moved.points[1:], strict=True), 1):
            floors = {}
            mass = moved.masses(k, source.weights)
            for score in self._distances(replace(source, points=x, weights=mass), cloud):
                floors[score.metric] = score.floor
                yield score
            yield from self._masses(source, cloud, float(mass.sum()))
            if cloud.time in self.model.timeline.times:
                yield from self._paths(cloud, floors["w2"])

    def start(self, knot: int) -> Cloud:
        """Points at a knot of the clock with conditions, from its snapshot or from N(0, I).

        Of N(0, I) there are as many as in the largest snapshot, within the limit.
        """
        source = self.model.source
        if source.cloud is None:
            return source.draw(min(self.most, max(map(len, self.model.clouds))), self.streams)
        return source.conditioned(self.sample(self.model.kept[knot]), self.streams)

    def sample(self, cloud: Cloud) -> Cloud:
        """Subsample an observed cloud to the maximum number of points."""
        return subsample(cloud, self.streams, self.most)

    def carried(self, cloud: Cloud, times: Sequence[float], how: Motion) -> Paths:
        """Carry the points of a cloud through times, the first of which is its own."""
        x, guide = np.asarray(cloud.points, dtype=np.float64), self.model.guide(cloud.obs)
        return how.paths(self.model.flow, x, times, guide)

    def _masses(self, source: Cloud, cloud: Cloud, ratio: float) -> Iterator[Score]:
        """Yield relative mass and its error, if the flow has learnt growth."""
        if self.model.flow.grows:
            ends = (source.time, cloud.time)
            told = growth.totals(self.model, ends, ratio)
            for name in MASSES:
                yield Score(*ends, name, told.get(name, NONE))

    def _distances(self, moved: Cloud, cloud: Cloud) -> Iterator[Score]:
        """Yield every distance between carried points and an observed cloud, with its floor."""
        sample = self.sample(cloud)
        known = measures(sample, self.streams)
        for name in DISTANCES:
            value = floor = NONE
            if name in known:
                value = known[name](moved.points, sample.points, moved.weights, sample.weights)
                floor = self._floor(known[name], cloud)
            yield Score(self.model.timeline.times[0], cloud.time, name, value, floor)

    def _floor(self, measure: metrics.Distance, cloud: Cloud) -> float:
        """Value of a distance between two samples of an observed cloud."""
        rng = self.streams.numpy(f"floor {cloud.label}")
        y, b, n = cloud.points, cloud.weights, min(len(cloud), self.most)
        return metrics.floor(measure, y, b, n, rng=rng, splits=SPLITS)

    def _paths(self, cloud: Cloud, floor: float) -> Iterator[Score]:
        """Yield path figures of the gap ending at an observed cloud, and errors with few steps."""
        start = self.start(self.model.timeline.times.index(cloud.time) - 1)
        sample, ends = self.sample(cloud), (start.time, cloud.time)
        for name, value in self._figures(start, sample).items():
            yield Score(*ends, name, value)
        for name, steps in EULER.items():
            few = self.carried(start, ends, motion(f"euler:steps={steps}"))
            mass = few.masses(-1, start.weights)
            value = metrics.w2(few.points[-1], sample.points, mass, sample.weights)
            yield Score(*ends, name, value, floor)

    def _figures(self, start: Cloud, end: Cloud) -> dict[str, float]:
        """Energy and shape of the paths over a gap, on its own unit clock.

        Points are weighted by the mass that they have at the end of the gap.
        """
        times = start.time, end.time
        paths = self.carried(start, times, self.how)
        grown = paths.masses(-1, start.weights)
        a = grown / grown.sum()
        frames = self.carried(start, np.linspace(*times, FRAMES + 1).tolist(), self.how).points
        energy = float(a @ paths.energy)
        square = metrics.w2(start.points, end.points, a, end.weights) ** 2
        return {
            "npe": metrics.normalized_path_energy(energy, square) if square else NONE,
            "path_energy": energy,
            "straightness": metrics.straightness(energy, start.points, paths.points[-1], a),
            "curvature": metrics.curvature(frames, a),
            "nfe": float(paths.nfe),
        }
