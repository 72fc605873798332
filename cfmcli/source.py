"""Source: the points at t = 0, their conditions and their density."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING
from warnings import warn

import numpy as np

from cfmcli import catalog
from cfmcli.data.arrays import Array, IntArray
from cfmcli.data.blocks import READ, blocks
from cfmcli.data.conditions import Conditions
from cfmcli.data.growth import gains
from cfmcli.data.snapshots import BackedCloud, Cloud
from cfmcli.data.times import Timeline
from cfmcli.data.transforms import some
from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.flows.bases import Base
from cfmcli.flows.coupling.resampling import systematic
from cfmcli.flows.densities import Density, effective, standard_normal, thin
from cfmcli.flows.dynamics.known import Gains, Known
from cfmcli.flows.objective.objectives import Objective
from cfmcli.flows.streams import Streams
from cfmcli.recipe import Recipe
from cfmcli.requests import OWN, Condition

if TYPE_CHECKING:
    import pandas as pd

SOME = 256
"""Number of points that represent a cloud."""
POINT = 1e-10
"""Width, relative to the largest coordinate, up to which a cloud counts as a single point."""
ALONE = 1.5
"""Effective number of points below which a cloud is dominated by one."""


def known_growth(
    kept: Sequence[Cloud], recipe: Recipe, timeline: Timeline, conditions: Conditions
) -> Known | None:
    """Collect known growth of points, if a column gives it and no head learns it.

    Args:
        kept: the snapshots that the flow was trained on.
        recipe: settings of the fit, including the column and the objective.
        timeline: the clock of the snapshots.
        conditions: conditions of the flow.
    """
    objective: Objective = catalog.build("objectives", recipe.triple()[2])
    if not recipe.growth_key or objective.has_growth:
        return None
    found = []
    for cloud, after in pairwise(kept):
        told = np.asarray(cloud.obs[recipe.growth_key], dtype=np.float64)
        logs = gains(cloud, after, told, recipe.growth_kind)
        labelled = bool(conditions.classes) and conditions.known(cloud.obs)
        marks = np.eye(len(conditions.classes))[conditions.codes(cloud.obs)] if labelled else None
        found.append(Gains.of(np.asarray(cloud.points, np.float64), cloud.weights, logs, marks))
    return Known(tuple(found), timeline)


@dataclass(frozen=True, eq=False)
class Source:
    """The source at t = 0: N(0, I), or a cloud.

    Points without a condition of their own get an independently drawn one, as in training.

    Args:
        cloud: the first snapshot, None for N(0, I).
        target: the first snapshot that it is carried to.
        conditions: conditions of the flow.
        time: clock time of the source.
        dim: dimension D of flow coordinates.
    """

    cloud: Cloud | None
    target: Cloud
    conditions: Conditions
    time: float
    dim: int

    def draw(self, n: int, streams: Streams, given: Condition = OWN) -> Cloud:
        """Like `drawn`, with all points in memory."""
        return self.drawn(n, streams, given).whole()

    def drawn(self, n: int, streams: Streams, given: Condition = OWN) -> BackedCloud:
        """Draw n points, normal or resampled from the cloud, annotated with their conditions.

        If a class is given, all points have it, and come from it if the cloud has that class.

        Args:
            n: number of points.
            streams: the run's randomness.
            given: condition chosen by the user.

        Raises:
            ConfigError: if a given condition is unknown to the model.
        """
        import pandas as pd

        self.conditions.checked(given)
        read: Callable[[slice], Array] = Normals(streams, self.dim).rows
        obs = pd.DataFrame(index=range(n))
        if self.cloud is not None:
            own = self.of_class(self.cloud, given.label)
            places = systematic(own.weights, n, streams.numpy("source"))
            obs = own.obs.iloc[places]

            def read(rows: slice) -> Array:
                return np.asarray(own.points[places[rows]], dtype=np.float64)

        obs = obs.set_axis(pd.Index([str(k) for k in range(n)], name="id"), axis=0)
        bare = Cloud(np.empty((n, 0)), np.full(n, 1 / n), obs, f"{self.time:g}", self.time)
        head = self.conditioned(bare, streams, given)
        return BackedCloud(replace(head, obs=self.conditions.told(head.obs, given)), read)

    def some(self, cloud: Cloud | None, streams: Streams) -> Cloud:
        """Select a few points that represent a stored cloud, or N(0, I) if None.

        Args:
            cloud: the cloud.
            streams: the run's randomness.
        """
        if cloud is None:
            return self.draw(SOME, streams)
        chosen = streams.numpy("some").permutation(len(cloud))[:SOME]
        few = self.conditioned(cloud.rows(np.sort(chosen)), streams)
        return replace(few, points=np.asarray(few.points, dtype=np.float64))

    def conditioned(self, cloud: Cloud, streams: Streams, given: Condition = OWN) -> Cloud:
        """Complete a cloud with conditions, the points' own if known, else drawn ones.

        Args:
            cloud: points, possibly without conditions.
            streams: the run's randomness.
            given: condition chosen by the user; a class restricts which conditions are drawn.
        """
        keys = list(self.conditions.keys)
        if not keys or self.conditions.known(cloud.obs):
            return cloud
        pool = self.of_class(self.target, given.label)
        rows = systematic(pool.weights, len(cloud), streams.numpy("conditions"))
        drawn = pool.obs[keys].iloc[rows].set_axis(cloud.obs.index, axis=0)
        kept = cloud.obs[[name for name in cloud.obs.columns if name not in keys]]
        return replace(cloud, obs=kept.assign(**{key: drawn[key] for key in keys}))

    def of_class(self, cloud: Cloud, label: str) -> Cloud:
        """Points of a class; all of the cloud if none is given or it is not known to have any."""
        if not (label and self.conditions.known(cloud.obs)):
            return cloud
        place = self.conditions.classes.index(label)
        own = np.flatnonzero(self.conditions.codes(cloud.obs, f"time {cloud.label}") == place)
        return cloud.rows(own) if len(own) else cloud

    def densities(
        self, spec: str, obs: "pd.DataFrame", streams: Streams, names: Sequence[str] = ()
    ) -> list[tuple[IntArray, Density]]:
        """Fit the density of the source under the condition of each point.

        N(0, I) if the source is normal; else fitted to its cloud, separately for each class if it
        has classes.

        Args:
            spec: spec of the base density.
            obs: conditions of n points.
            streams: the run's randomness.
            names: names of the D coordinates, for messages.

        Returns:
            Row indices of groups of points, covering all n, and the density for each group.

        Raises:
            ConfigError: if a fit is requested although the source is exactly N(0, I).
            DataError: if there are too few points or they span too few dimensions.
        """
        every = np.arange(len(obs))
        base: Base = catalog.build("bases", spec)
        if self.cloud is None:
            if spec != "auto":
                raise ConfigError(
                    f"--base {spec}: the source is exactly N(0, I) here, its density needs no "
                    "fit; leave --base out."
                )
            return [(every, standard_normal(self.dim))]
        self._say_what_is_ignored()
        if not self.conditions.known(self.cloud.obs):
            return [(every, _fitted(base, self.cloud, streams, names))]
        return [
            (rows, _fitted(base, self.of_class(self.cloud, name), streams, names))
            for rows, name in self.classes(obs)
        ]

    def classes(self, obs: "pd.DataFrame") -> list[tuple[IntArray, str]]:
        """Row indices and name of each class present; all rows in one group without classes.

        Args:
            obs: conditions of n points.
        """
        if not self.conditions.classes:
            return [(np.arange(len(obs)), "")]
        codes = self.conditions.codes(obs)
        return [
            (np.flatnonzero(codes == k), name)
            for k, name in enumerate(self.conditions.classes)
            if (codes == k).any()
        ]

    def _say_what_is_ignored(self) -> None:
        """Warn if the source may depend on covariates, which its density ignores."""
        if self.cloud and self.conditions.covariates and self.conditions.known(self.cloud.obs):
            warn(
                "The density of the source is fitted irrespective of "
                f"{', '.join(self.conditions.covariates)}, so log densities are those of points "
                "that start anywhere in it.",
                CfmWarning,
                stacklevel=4,
            )


class Normals:
    """Standard normal rows by index; cheapest when requested in order.

    Args:
        streams: the run's randomness.
        dim: number of columns.
    """

    def __init__(self, streams: Streams, dim: int) -> None:
        self._streams, self._dim = streams, dim
        self._rng, self._next = streams.numpy("source"), 0

    def rows(self, index: slice) -> Array:
        """Rows of normal numbers, shape (rows, dim), the same whatever was requested before."""
        if index.start < self._next:
            self._rng, self._next = self._streams.numpy("source"), 0
        for skipped in blocks(index.start - self._next, READ):
            self._rng.standard_normal((skipped.stop - skipped.start, self._dim))
        self._next = index.stop
        return self._rng.standard_normal((index.stop - index.start, self._dim))


def _fitted(base: Base, cloud: Cloud, streams: Streams, names: Sequence[str]) -> Density:
    """Fit the density of a cloud; refuse a single point, and warn if it is nearly degenerate."""
    points = np.asarray(cloud.points, dtype=np.float64)
    if np.ptp(points, axis=0).max() <= POINT * np.abs(points).max():
        raise DataError(
            f"The {len(points)} points at {cloud.label} are all the same, and one place has no "
            "density: take the density that is known at the other end (--known source or target)."
        )
    count = effective(cloud.weights)
    if count < ALONE:
        warn(
            f"One of the {len(points)} points at {cloud.label} has nearly all of their weight, and "
            "the density is that of its blur: check the weights, or take the density that is known "
            "at the other end (--known source or target).",
            CfmWarning,
            stacklevel=4,
        )
    density = base.fit(points, cloud.weights, streams.numpy("base"))
    known = thin(density, count)
    along = [names[k] if k < len(names) else f"coordinate {k + 1}" for k in known]
    if along:
        warn(
            f"The density of the points at {cloud.label} ({density.name}) is next to none along "
            f"{some(along)}, where they are constant or take few values: log densities depend on "
            "how these are blurred. Fit without them (--drop), or blur few values with --base kde.",
            CfmWarning,
            stacklevel=4,
        )
    return density
