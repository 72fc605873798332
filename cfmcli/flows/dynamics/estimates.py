"""Estimates: log densities of points, by paths to a time of known density."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.data.arrays import Array, IntArray
from cfmcli.data.blocks import blocks
from cfmcli.errors import ConfigError
from cfmcli.flows.densities import Density, Evaluated
from cfmcli.flows.dynamics.diffusions import Diffusion, diffusion
from cfmcli.flows.dynamics.estimators import Estimator, Means
from cfmcli.flows.dynamics.flow import CHUNK, Flow
from cfmcli.flows.dynamics.legs import journey
from cfmcli.flows.dynamics.sde_likelihood import Stretch, at_once, log_density
from cfmcli.flows.dynamics.solvers import Solver
from cfmcli.flows.dynamics.stochastic import STILL, process, stretches
from cfmcli.flows.objective.reading import Guide
from cfmcli.flows.streams import Streams
from cfmcli.requests import Scoring

Groups = Sequence[tuple[IntArray, Density]]


@dataclass(frozen=True)
class LogDensity:
    """Log densities of points, with error estimates.

    Args:
        values: log p in nats, shape (n,).
        error: standard error of each, shape (n,).
        bound: lower bound in expectation, shape (n,).
        effective: effective number of paths per point, shape (n,).
        nfe: largest number of field evaluations of any chunk of points.
    """

    values: Array
    error: Array
    bound: Array
    effective: Array
    nfe: int

    @property
    def columns(self) -> tuple[Array, Array, Array, Array]:
        """All per-point results."""
        return self.values, self.error, self.bound, self.effective

    def rows(self, index: slice) -> "LogDensity":
        """Results of some points."""
        values, error, bound, effective = (column[index] for column in self.columns)
        return LogDensity(values, error, bound, effective, self.nfe)


@dataclass(frozen=True)
class Grouped:
    """Known density at the ends of paths whose points belong to several groups.

    Args:
        groups: row indices of each group, covering all points, and the group's density.
        rows: the points that the paths start from; ends are stored path by path.
    """

    groups: Groups
    rows: slice

    @property
    def name(self) -> str:
        """Names of the densities, for outputs."""
        return ", ".join(dict.fromkeys(density.name for _, density in self.groups))

    def log_prob(self, x: Array) -> Array:
        """Log density in nats at ends of shape (P n, D), shape (P n,)."""
        count = self.rows.stop - self.rows.start
        paths, found = x.reshape(-1, count, x.shape[1]), np.empty((len(x) // count, count))
        for rows, density in self.groups:
            own = rows[(rows >= self.rows.start) & (rows < self.rows.stop)] - self.rows.start
            if len(own):
                ends = density.log_prob(paths[:, own].reshape(-1, x.shape[1]))
                found[:, own] = ends.reshape(-1, len(own))
        return found.reshape(-1)


def dynamics(
    scoring: Scoring, solver: Solver, generator: torch.Generator
) -> tuple[Estimator, Diffusion, Means]:
    """Build estimator, diffusion and settings for `estimate` from specs.

    Args:
        scoring: the specs.
        solver: integrator of the flow.
        generator: source of randomness for noise and probes.

    Raises:
        ConfigError: if a spec is wrong, or noise and estimator do not go together.
    """
    estimator: Estimator = catalog.build(
        "estimators", scoring.estimator or ("sde" if scoring.sde else "ode")
    )
    if estimator.paths > 1 and not scoring.sde:
        raise ConfigError(
            f"--estimator {scoring.estimator} is for stochastic dynamics: say how stochastic with "
            "--sde, for example --sde 0.5."
        )
    if scoring.sde and estimator.paths == 1:
        raise ConfigError(
            f"--estimator {scoring.estimator} is for the flow itself, and --sde {scoring.sde} adds "
            "noise: use --estimator sde, or leave --sde out."
        )
    divergence = catalog.build("divergences", scoring.divergence)
    level = diffusion(scoring.sde) if scoring.sde else STILL
    return estimator, level, Means(divergence, solver, generator)


def estimate(
    flow: Flow,
    x: Array,
    times: tuple[float, float],
    how: tuple[Estimator, Diffusion, Means],
    base: Evaluated,
    guide: Guide | None = None,
) -> LogDensity:
    """Estimate log densities of points at a clock time, by paths to a time of known density.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 2.6

    Args:
        flow: the trained flow.
        x: points at the first time, shape (n, D).
        times: clock times of the points and of the known density.
        how: the estimator, the diffusion of its paths, and the numerical settings.
        base: the density at the second time.
        guide: the condition of each point, where the flow has conditions.

    Raises:
        ConfigError: if a time lies outside the snapshots, or a score is needed and there is none.
        NumericsError: if the integration fails.
    """
    estimator, diffusion, means = how
    legs = journey([flow.timeline.inner(time) for time in times], flow.timeline.segments)

    if not legs:
        there = base.log_prob(x)
        return LogDensity(there, np.zeros(len(x)), there, np.ones(len(x)), 0)

    def journey_of(index: Tensor) -> list[Stretch]:
        found: list[Stretch] = []
        for leg in legs:
            own = guide and guide.of(index.cpu())
            drift = flow.drift(leg.segment, own, double=means.solver.double)
            local = [s - leg.segment for s in leg.times]
            for times_of, quiet in stretches([local[0], local[-1]], drift):
                level = STILL if quiet else diffusion
                found.append((process(drift, level), (times_of[0], times_of[-1])))
        return found

    def log_base(y: Tensor) -> Tensor:
        return torch.as_tensor(base.log_prob(y.double().cpu().numpy())).to(y)

    points = flow.tensor(x, means.solver.double)
    with torch.no_grad():
        told = log_density(estimator, journey_of, log_base, points, means)
    columns = (told.log_prob, told.error, told.bound, told.effective)
    values, error, bound, effective = (part.double().cpu().numpy() for part in columns)
    return LogDensity(values, error, bound, effective, told.nfe)


def estimates(
    flow: Flow,
    x: Array,
    times: tuple[float, float],
    how: tuple[Estimator, Diffusion, Means],
    groups: Groups,
    guide: Guide | None,
    streams: Streams,
) -> LogDensity:
    """Estimate log densities of grouped points, block by block with separate random streams.

    Args:
        flow: the trained flow.
        x: points at the first time, shape (n, D).
        times: clock times of the points and of the known density.
        how: as for `estimate`, except that the generator is replaced.
        groups: row indices of each group, covering all points, and its density at the second time.
        guide: the condition of each point, where the flow has conditions.
        streams: random streams for noise and probes.

    Raises:
        ConfigError: if a time lies outside the snapshots, or a score is needed and there is none.
        NumericsError: if the integration fails.
    """
    parts = []
    for number, rows in enumerate(blocks(len(x), grain(how[0], x.shape[1]))):
        means = replace(how[2], generator=streams.block("probes", number))
        own, base = guide and guide.of(rows), Grouped(groups, rows)
        parts.append(estimate(flow, x[rows], times, (*how[:2], means), base, own))
    columns = zip(*(part.columns for part in parts), strict=True)
    values, error, bound, effective = map(np.concatenate, columns)
    return LogDensity(values, error, bound, effective, max(part.nfe for part in parts))


def grain(estimator: Estimator, dim: int) -> int:
    """Number of points processed at once: a power of 2, so that few sizes of blocks occur.

    Args:
        estimator: the density estimator.
        dim: dimension of the points.
    """
    most = min(CHUNK, at_once(estimator, dim))
    return 1 << (most.bit_length() - 1)
