"""Snapshots: point clouds ordered in time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli.data.arrays import Array
from cfmcli.data.blocks import gathered, stacked
from cfmcli.data.maps import dense
from cfmcli.data.moments import Moments
from cfmcli.data.times import Timeline
from cfmcli.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

    from cfmcli.data.arrays import Matrix


@dataclass(frozen=True)
class Cloud:
    """The points observed at one time.

    Args:
        points: shape (n, d); data units as read, flow coordinates once encoded.
        weights: shape (n,), positive, sum 1.
        obs: annotations of the points, indexed by id.
        label: label of the time in the data.
        time: clock time tau.
        held_out: whether it is excluded from training.
        mass: total mass of the population, above 0, in a unit common to all clouds.
    """

    points: "Matrix"
    weights: Array
    obs: "pd.DataFrame"
    label: str
    time: float
    held_out: bool = False
    mass: float = 1.0

    def __len__(self) -> int:
        return int(self.points.shape[0])

    def rows(self, index: npt.NDArray[Any] | slice) -> "Cloud":
        """Select points by an integer or boolean index or a slice, with their share of the mass."""
        weights = self.weights[index]
        return replace(
            self,
            points=self.points[index],
            weights=weights / weights.sum(),
            obs=self.obs.iloc[index],
            mass=self.mass * float(weights.sum()),
        )

    def sampled(self, index: npt.NDArray[Any]) -> "Cloud":
        """Select points by an integer index as a sample of the whole population, with its mass."""
        return replace(self.rows(index), mass=self.mass)


@dataclass(frozen=True)
class BackedCloud:
    """A cloud whose points are read, or drawn, when rows are accessed.

    Args:
        head: the cloud without its points, which have shape (n, 0).
        read: a slice of rows -> their points in flow coordinates, shape (rows, D).
    """

    head: Cloud
    read: Callable[[slice], Array]

    @classmethod
    def of(cls, cloud: Cloud) -> "BackedCloud":
        """Wrap a cloud in memory."""
        bare = replace(cloud, points=np.empty((len(cloud), 0)))
        return cls(bare, lambda rows: dense(cloud.points[rows]))

    def __len__(self) -> int:
        return len(self.head)

    def rows(self, index: npt.NDArray[Any]) -> "BackedCloud":
        """Select points by an integer index, in its order, with their share of the mass."""

        def read(rows: slice) -> Array:
            return dense(gathered(self.read, index[rows], len(self)))

        return BackedCloud(self.head.rows(index), read)

    def whole(self) -> Cloud:
        """Load all points into memory."""
        return replace(self.head, points=self.read(slice(0, len(self))))


@dataclass(frozen=True)
class Snapshots:
    """Clouds in ascending time, all with the same features.

    Args:
        clouds: at least two that are not held out, or one if the source is Gaussian.
        gaussian_source: whether the source at t = 0 is N(0, I) in flow coordinates, not a cloud.

    Raises:
        DataError: if there are too few clouds or points.
        ConfigError: if a Gaussian source comes with several clouds.
    """

    clouds: tuple[Cloud, ...]
    gaussian_source: bool = False

    def __post_init__(self) -> None:
        for cloud in self.clouds:
            if len(cloud) < 2:
                raise DataError(
                    f"Time {cloud.label} has {len(cloud)} point(s), expected at least 2: drop that "
                    "time or add points."
                )
        kept = len(self.kept)
        if self.gaussian_source and kept > 1:
            raise ConfigError(
                f"--source gaussian learns a generator of one cloud, got {kept}: give one cloud, "
                "or drop --source to couple the clouds in time order."
            )
        if kept < 2 and not self.gaussian_source:
            raise DataError(
                f"Found {kept} time point(s) to learn from, expected at least 2: give a source and "
                "a target, name the column of times with --time-key, or use --source gaussian."
            )

    @property
    def kept(self) -> tuple[Cloud, ...]:
        """The clouds to train on."""
        return tuple(cloud for cloud in self.clouds if not cloud.held_out)

    @property
    def timeline(self) -> Timeline:
        """The clock of these snapshots; a Gaussian source lies one unit before its cloud."""
        times = tuple(cloud.time for cloud in self.kept)
        labels = tuple(cloud.label for cloud in self.kept)
        if self.gaussian_source:
            return Timeline((times[0] - 1.0, times[0]), ("gaussian", labels[0]))
        return Timeline(times, labels)

    @cached_property
    def moments(self) -> Moments:
        """Moments of the training points."""
        return Moments.of(self)

    def encoded(self, forward: "Callable[[Matrix], Array]") -> "Snapshots":
        """Apply a map to the points of all clouds."""
        moved = tuple(replace(cloud, points=forward(cloud.points)) for cloud in self.clouds)
        return replace(self, clouds=moved)

    def stacked(self) -> "Matrix":
        """Stack all training points, shape (sum n, d), dense or sparse as they are."""
        return stacked([cloud.points for cloud in self.kept])

    @property
    def stacked_weights(self) -> Array:
        """Weights of all training points, shape (sum n,), with mean 1 in every cloud."""
        return np.concatenate([cloud.weights * len(cloud) for cloud in self.kept])
