"""The scorer: log densities of points at one time, whichever of them come at once."""

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
"""Points that stand for a population of known density."""
MOST = 64
"""Conditions for each of which a population is carried."""


@dataclass(frozen=True, eq=False)
class LogProb(NDArrayOperatorsMixin):
    """Log densities of points, an array in arithmetic, in frames and under an index.

    Args:
        found: log p in nats, in the stated coordinates, with errors and bounds.
        stochastic: whether they were estimated.
        base: name of the density that was known.
        coordinates: what the density is a density of.
        paths: paths of each point.
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
        """The values, wherever NumPy asks for an array."""
        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **how: Any) -> Any:
        """What a function of NumPy, or an operator, makes of the values."""
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
        """Standard error of each, shape (n,); zero where exact."""
        return self.found.error

    @property
    def nfe(self) -> int:
        """Evaluations of the field, at most for a chunk."""
        return self.found.nfe

    def rows(self, index: slice | IntArray) -> "LogProb":
        """Those of some of the points."""
        values, error, bound, effective = (column[index] for column in self.found.columns)
        return replace(self, found=LogDensity(values, error, bound, effective, self.nfe))

    @classmethod
    def joined(cls, parts: Sequence["LogProb"]) -> "LogProb":
        """Those of one part of the points after those of another."""
        columns = zip(*(part.found.columns for part in parts), strict=True)
        values, error, bound, effective = map(np.concatenate, columns)
        most = max(part.nfe for part in parts)
        return replace(parts[0], found=LogDensity(values, error, bound, effective, most))


@dataclass(frozen=True, eq=False)
class Scorer:
    """What gives log densities of points at one time, its known density fitted.

    Args:
        flow: velocity and score.
        chain: transform to flow coordinates.
        span: clock times, where densities are asked for and where one is known.
        how: the estimator, the diffusion of its paths, and what to compute with.
        groups: rows of the points, all of them in all, and the density known for them.
        guide: the condition of each point, where the flow has conditions.
        populations: where mass is not constant, rows of the points and draws of the population at
            the second time that they are of, under its conditions.
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
        """What the unit mass of each population at the second time is at the first."""
        times, solver = self.span[::-1], self.how[2].solver
        return [becoming(self.flow, drawn, times, solver) for _, drawn in self.populations]

    @property
    def stochastic(self) -> bool:
        """Whether log densities are estimated."""
        estimator, _, means = self.how
        return estimator.paths > 1 or means.divergence.stochastic(len(self.chain.outputs))

    def at(self, time: float, places: IntArray) -> "Scorer":
        """The scorer of some of the points at another time.

        Args:
            time: clock time.
            places: which points, ascending: the first of them is row 0 there.
        """
        groups, populations = _among(places, self.groups), _among(places, self.populations)
        guide = self.guide and self.guide.of(torch.from_numpy(places))
        own = replace(self, groups=groups, populations=populations, guide=guide)
        return replace(own, span=(time, self.span[1]))

    def of(self, points: "Matrix", rows: slice, streams: Streams) -> LogProb:
        """Log densities of some of the points, in nats.

        Args:
            points: their positions, shape (n, d), data units.
            rows: which they are.
            streams: where their probes and noise come from.

        Raises:
            ConfigError: if a score is needed and there is none.
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
    """Draws of the known density, for the points of each condition under that condition.

    Of too many conditions to draw for each, the draws are under all of them alike.

    Args:
        groups: rows of points, all of them in all, and the density known for them.
        guide: the condition of each point, where the flow has conditions.
        streams: where the draws come from.
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
    """Groups of all points as groups of some of them; those of which there is none left out."""
    own = [(np.flatnonzero(np.isin(places, rows)), what) for rows, what in groups]
    return [(rows, what) for rows, what in own if len(rows)]


def _within(places: IntArray, rows: slice) -> IntArray:
    """Which of some ascending places lie among rows, counted from the first of these."""
    first, last = np.searchsorted(places, (rows.start, rows.stop))
    own: IntArray = places[first:last] - rows.start
    return own
