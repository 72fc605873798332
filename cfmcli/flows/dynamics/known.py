"""Known growth: weights of points along paths, from growth that is given, not learnt."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.times import Timeline
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.paths import Paths

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FAR = 100.0
"""Distance between classes in nearest-neighbour search, in units of the points' extent."""
Carry = Callable[[Array, Sequence[float]], Paths]
"""Function from points at the first of some clock times to their paths through all of them."""


@dataclass(frozen=True, eq=False)
class Gains:
    """Growth of the points of a snapshot over the following gap.

    Args:
        points: shape (n, D).
        weights: weights of the points at the start, shape (n,), sum 1.
        logs: log of the final mass per unit of initial mass, up to a constant, shape (n,).
        classes: one-hot classes among K, shape (n, K); None without classes.
    """

    points: Array
    weights: Array
    logs: Array
    classes: Array | None = None

    def at(self, share: float) -> Array:
        """Log growth of a unit of each point up to a fraction of the gap, normalised, shape (n,).

        A weight w becomes w exp(s l) / sum w exp(s l): growth at a constant rate, without the
        growth common to all points.

        Args:
            share: fraction s of the gap, in [0, 1].
        """
        grown = share * self.logs
        top = grown.max()
        return np.asarray(grown - top - math.log(self.weights @ np.exp(grown - top)))

    def nearest(self, x: Array, classes: Array | None = None) -> Array:
        """Index of the nearest point, within the same class if there are classes, shape (m,).

        Args:
            x: shape (m, D).
            classes: one-hot classes of x, None if they have none.
        """
        tree, far = self._tree
        if self.classes is not None:
            told = np.zeros((len(x), self.classes.shape[1])) if classes is None else classes
            x = np.hstack([x, far * told])
        return np.asarray(tree.query(x)[1])

    @cached_property
    def _tree(self) -> "tuple[cKDTree, float]":
        """Search tree of the points with class coordinates, and the distance between classes."""
        from scipy.spatial import cKDTree

        far = FAR * float(np.ptp(self.points, axis=0).max() + 1)
        return cKDTree(_apart(self.points, self.classes, far)), far

    @classmethod
    def of(
        cls, points: Array, weights: Array, logs: Array, classes: Array | None = None
    ) -> "Gains":
        """Build the gains; coincident points of one class get their joint growth."""
        places = _apart(points, classes, 1.0)
        own = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
        top = logs.max()
        before, after = (np.bincount(own, mass) for mass in (weights, weights * np.exp(logs - top)))
        joint = np.log(np.maximum(after, np.finfo(np.float64).tiny) / before) + top
        return cls(points, weights, joint[own], classes)


@dataclass(frozen=True, eq=False)
class Known:
    """Known growth along paths: in each gap a path grows as its starting point does.

    Its starting point is the nearest one, of its class, in the snapshot before the gap.

    Args:
        gaps: growth of the points of all snapshots but the last.
        timeline: the clock of the snapshots.
    """

    gaps: tuple[Gains, ...]
    timeline: Timeline

    def check_noise(self, times: Sequence[float]) -> None:
        """Refuse to weight starts by growth over several gaps, which depends on the noise.

        Args:
            times: clock times of start and end.

        Raises:
            ConfigError: if a time lies beyond the first gap.
        """
        if max(times) > self.timeline.times[1]:
            raise ConfigError(
                "--sde: where points of known growth come in the second gap depends on the noise, "
                "so starts cannot be drawn by it: leave --sde out, or carry weighted populations "
                "with cfm interpolate --population --sde."
            )

    def along(
        self, x: Array, times: Sequence[float], carry: Carry, condition: Array | None = None
    ) -> Paths:
        """Carry points through clock times, with the log growth of a unit of mass at each.

        Args:
            x: points at the first time, shape (n, D).
            times: clock times, at least one, in either direction, repeats allowed.
            carry: carries points along the flow.
            condition: of each point, (1, class as one of K, ...), shape (n, C), if it has one.
        """
        clock, low = self.timeline.times, min(times)
        if low == max(times):
            return replace(carry(x, times), log_mass=np.zeros((len(times), len(x))))
        gaps = range(self.timeline.segment(low), self.timeline.segment(max(times)) + 1)
        knots = {clock[k] for k in gaps if clock[k] >= low}
        through = sorted({*times, *knots}, reverse=times[0] > low)
        paths = carry(x, through)
        at = dict(zip(through, paths.points, strict=True))
        begin, nfe = clock[gaps[0]], paths.nfe
        if begin not in at:
            back = carry(at[low], [low, begin])
            at[begin], nfe = back.points[-1], nfe + back.nfe
        grown = sum(self._grown(k, at[clock[k]], times, condition) for k in gaps)
        return Paths(np.stack([at[t] for t in times]), paths.energy, nfe, np.asarray(grown))

    def _grown(self, gap: int, x: Array, times: Sequence[float], condition: Array | None) -> Array:
        """Log growth in a gap between the first of some times and each of them, shape (T, n).

        Args:
            gap: number of the gap.
            x: positions of the paths at its start, shape (n, D).
            times: clock times.
            condition: condition of each path.
        """
        told, classes = self.gaps[gap].classes, None
        if told is not None and condition is not None:
            classes = condition[:, 1 : 1 + told.shape[1]]
        own = self.gaps[gap].nearest(x, classes)
        shares = [min(max(self.timeline.inner(t) - gap, 0.0), 1.0) for t in times]
        logs = np.stack([self.gaps[gap].at(share)[own] for share in shares])
        return np.asarray(logs - logs[0])


def _apart(points: Array, classes: Array | None, far: float) -> Array:
    """Append class coordinates to the points, so that different classes lie far apart."""
    return points if classes is None else np.hstack([points, far * classes])
