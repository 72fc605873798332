"""Scorer: log densities of points at one time, for any subset of the points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from warnings import warn

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin

from cfmcli.data.arrays import Array, IntArray
from cfmcli.data.chain import Chain
from cfmcli.errors import CfmWarning
from cfmcli.flows.coupling.resampling import systematic
from cfmcli.flows.dynamics.diffusions import Diffusion
from cfmcli.flows.dynamics.estimates import Grouped, Groups, LogDensity, estimates, grain
from cfmcli.flows.dynamics.estimators import Estimator, Means
from cfmcli.flows.dynamics.flow import Flow
from cfmcli.flows.dynamics.mass import Guided, becoming, log_gain
from cfmcli.flows.objective.reading import Guide
from cfmcli.flows.streams import Streams

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

T = TypeVar("T")
DRAWS = 4096
"""Number of samples that represent a population of known density."""
MOST = 64
"""Maximum number of conditions with a population of their own."""


@dataclass(frozen=True, eq=False)
class LogProb(NDArrayOperatorsMixin):
    """Log densities of points; behaves as an array in arithmetic, DataFrames and indexing.

    Args:
        found: log p in nats, in the stated coordinates, with errors and bounds.
        stochastic: whether they are stochastic estimates.
        base: name of the known density.
        coordinates: coordinates that the density refers to.
        paths: number of paths per point.
    """

    found: LogDensity
    stochastic: bool
    base: str
    coordinates: str
    paths: int = 1

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[float]:
        return iter(self.values)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Convert to an array of the values."""
        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **how: Any) -> Any:
        """Apply a NumPy function or operator to the values."""
        plain = (item.values if isinstance(item, LogProb) else item for item in inputs)
        if any(isinstance(item, LogProb) for item in how.get("out", ())):
            del how["out"]  # `lp += 1` makes an array: what was told of lp is not true of lp + 1
        return getattr(ufunc, method)(*plain, **how)

    @property
    def values(self) -> Array:
        """log p of each point, shape (n,)."""
        return self.found.values

    @property
    def error(self) -> Array:
        """Standard error of each value, shape (n,); zero if exact."""
        return self.found.error

    @property
    def nfe(self) -> int:
        """Largest number of field evaluations of any chunk."""
        return self.found.nfe

    def rows(self, index: slice | IntArray) -> "LogProb":
        """Log densities of some of the points."""
        values, error, bound, effective = (column[index] for column in self.found.columns)
        return replace(self, found=LogDensity(values, error, bound, effective, self.nfe))

    @classmethod
    def joined(cls, parts: Sequence["LogProb"]) -> "LogProb":
        """Concatenate log densities of consecutive parts of the points."""
        columns = zip(*(part.found.columns for part in parts), strict=True)
        values, error, bound, effective = map(np.concatenate, columns)
        most = max(part.nfe for part in parts)
        return replace(parts[0], found=LogDensity(values, error, bound, effective, most))


@dataclass(frozen=True, eq=False)
class Scorer:
    """Computes log densities of points at one time, given a fitted known density.

    Args:
        flow: the trained flow.
        chain: transform to flow coordinates.
        span: clock times of the points and of the known density.
        how: the estimator, the diffusion of its paths, and the numerical settings.
        groups: row indices of each group, covering all points, and the group's known density.
        guide: condition of each point, if the flow has conditions.
        populations: if mass varies, row indices of the points, and samples of their population at
            the second time under their conditions.
    """

    flow: Flow
    chain: Chain
    span: tuple[float, float]
    how: tuple[Estimator, Diffusion, Means]
    groups: Groups
    guide: Guide | None
    populations: Sequence[tuple[IntArray, Guided]]

    @cached_property
    def masses(self) -> list[float]:
        """Mass of each population at the first time of the span, if it is 1 at the second."""
        times, solver = self.span[::-1], self.how[2].solver
        return [becoming(self.flow, drawn, times, solver) for _, drawn in self.populations]

    @property
    def stochastic(self) -> bool:
        """Whether log densities are stochastic estimates."""
        estimator, _, means = self.how
        return estimator.paths > 1 or means.divergence.stochastic(len(self.chain.outputs))

    def at(self, time: float, places: IntArray) -> "Scorer":
        """Build the scorer of some of the points at another time.

        Args:
            time: clock time.
            places: indices of the points, ascending; the first becomes row 0.
        """
        groups, populations = _among(places, self.groups), _among(places, self.populations)
        guide = self.guide and self.guide.of(torch.from_numpy(places))
        own = replace(self, groups=groups, populations=populations, guide=guide)
        return replace(own, span=(time, self.span[1]))

    def of(self, points: "Matrix", rows: slice, streams: Streams) -> LogProb:
        """Compute log densities of some of the points, in nats.

        Args:
            points: their positions, shape (n, d), data units.
            rows: which rows of all points they are.
            streams: random streams for probes and noise.

        Raises:
            ConfigError: if a score is needed but not available.
            NumericsError: if the integration fails.
        """
        x, guide = self.chain.forward(points), self.guide and self.guide.of(rows)
        own = [(_within(places, rows), density) for places, density in self.groups]
        found = estimates(self.flow, x, self.span, self.how, own, guide, streams)
        more = self.chain.log_abs_det(points)
        if self.populations:
            most = grain(self.how[0], x.shape[1])
            more = more + log_gain(self.flow, (x, guide), self.span, self.how[2].solver, most)
            for (places, _), mass in zip(self.populations, self.masses, strict=True):
                more[_within(places, rows)] -= np.log(mass)
        values, bound = (v + more for v in (found.values, found.bound))
        return LogProb(
            replace(found, values=values, bound=bound),
            self.stochastic,
            Grouped(self.groups, rows).name,
            self.chain.coordinates,
            self.how[0].paths,
        )


def populations(
    groups: Groups, guide: Guide | None, streams: Streams
) -> list[tuple[IntArray, Guided]]:
    """Sample the known density, separately for each condition of the points.

    With too many conditions, the samples are drawn under all of them together.

    Args:
        groups: row indices of each group, covering all points, and the group's known density.
        guide: condition of each point, if the flow has conditions.
        streams: random streams for the samples.
    """
    found: list[tuple[IntArray, Guided]] = []
    for rows, density in groups:
        x = density.draw(DRAWS, streams.numpy("population"))
        if guide is None:
            found.append((rows, (x, None)))
            continue
        values, own = torch.unique(guide.values[rows], dim=0, return_inverse=True)
        if len(values) > MOST:
            warn(
                f"The points have {len(values)} conditions: log densities are those of points "
                "under any of them, as what the mass of each becomes would take too long.",
                CfmWarning,
                stacklevel=4,
            )
            every = systematic(np.ones(len(rows)), DRAWS, streams.numpy("conditions"))
            found.append((rows, (x, guide.of(torch.from_numpy(rows[every])))))
            continue
        for k in range(len(values)):
            alike = Guide(values[k].expand(DRAWS, -1), guide.guidance)
            found.append((rows[(own == k).numpy()], (x, alike)))
    return found


def _among(places: IntArray, groups: Sequence[tuple[IntArray, T]]) -> list[tuple[IntArray, T]]:
    """Re-index groups of all points to a subset of them; empty groups are dropped."""
    own = [(np.flatnonzero(np.isin(places, rows)), what) for rows, what in groups]
    return [(rows, what) for rows, what in own if len(rows)]


def _within(places: IntArray, rows: slice) -> IntArray:
    """Positions of ascending indices within a range of rows, relative to its start."""
    first, last = np.searchsorted(places, (rows.start, rows.stop))
    own: IntArray = places[first:last] - rows.start
    return own
