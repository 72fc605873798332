"""Known growth: what the weights of points become on the way, as told beforehand."""

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
"""How far classes lie apart where the nearest point is looked for, in extents of the points."""
Carry = Callable[[Array, Sequence[float]], Paths]
"""Points at the first of some clock times, and how they pass through all of them."""


@dataclass(frozen=True, eq=False)
class Gains:
    """What comes of the points of a snapshot over the gap after it.

    Args:
        points: shape (n, D).
        weights: of the points at the start, shape (n,), of sum one.
        logs: log of what a unit of each becomes, up to a constant, shape (n,).
        classes: 1 for the class of each among K and 0 elsewhere, shape (n, K); None without any.
    """

    points: Array
    weights: Array
    logs: Array
    classes: Array | None = None

    def at(self, share: float) -> Array:
        """Log of what a unit of each point has become at a share of the gap, shape (n,).

        A weight w has become w exp(s l) / sum w exp(s l): growth at a constant rate, of which what
        all have in common is left out.

        Args:
            share: s, in [0, 1].
        """
        grown = share * self.logs
        top = grown.max()
        return np.asarray(grown - top - math.log(self.weights @ np.exp(grown - top)))

    def nearest(self, x: Array, classes: Array | None = None) -> Array:
        """The point that is nearest to each of others, of its class if there is one, shape (m,).

        Args:
            x: shape (m, D).
            classes: those of x as these are given, None where they have none.
        """
        tree, far = self._tree
        if self.classes is not None:
            told = np.zeros((len(x), self.classes.shape[1])) if classes is None else classes
            x = np.hstack([x, far * told])
        return np.asarray(tree.query(x)[1])

    @cached_property
    def _tree(self) -> "tuple[cKDTree, float]":
        """The points, where they are looked up, and how far apart their classes are there."""
        from scipy.spatial import cKDTree

        far = FAR * float(np.ptp(self.points, axis=0).max() + 1)
        return cKDTree(_apart(self.points, self.classes, far)), far

    @classmethod
    def of(
        cls, points: Array, weights: Array, logs: Array, classes: Array | None = None
    ) -> "Gains":
        """Those of points, of which several of a class in one place grow as they do together."""
        places = _apart(points, classes, 1.0)
        own = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
        top = logs.max()
        before, after = (np.bincount(own, mass) for mass in (weights, weights * np.exp(logs - top)))
        joint = np.log(np.maximum(after, np.finfo(np.float64).tiny) / before) + top
        return cls(points, weights, joint[own], classes)


@dataclass(frozen=True, eq=False)
class Known:
    """Known growth along paths: in each gap a path grows as the point does that it began at.

    It began at the point of the snapshot before the gap that is nearest to it there, of its class.

    Args:
        gaps: what comes of the points of all snapshots but the last.
        timeline: the clock of the snapshots.
    """

    gaps: tuple[Gains, ...]
    timeline: Timeline

    def check_noise(self, times: Sequence[float]) -> None:
        """Refuse to weigh starts by growth over several gaps, which depends on the noise.

        Args:
            times: clock times, from where to where.

        Raises:
            ConfigError: if there is more than one gap between them.
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
        """Paths through clock times, with what has become of a unit of weight at each.

        Args:
            x: points at the first time, shape (n, D).
            times: clock times, at least one, in either direction, repeats allowed.
            carry: how points move.
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
        """Log growth in a gap from the first of some times to each, shape (T, n).

        Args:
            gap: which.
            x: where paths are at its start, shape (n, D).
            times: clock times.
            condition: of each path.
        """
        told, classes = self.gaps[gap].classes, None
        if told is not None and condition is not None:
            classes = condition[:, 1 : 1 + told.shape[1]]
        own = self.gaps[gap].nearest(x, classes)
        shares = [min(max(self.timeline.inner(t) - gap, 0.0), 1.0) for t in times]
        logs = np.stack([self.gaps[gap].at(share)[own] for share in shares])
        return np.asarray(logs - logs[0])


def _apart(points: Array, classes: Array | None, far: float) -> Array:
    """Points with as many more coordinates as there are classes, in which these lie apart."""
    return points if classes is None else np.hstack([points, far * classes])
