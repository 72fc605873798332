"""Stochastic: a flow run as a diffusion of the same densities, and the likelihood of that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.data.blocks import blocks
from cfmcli.data.table import Array
from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.plans import IntArray
from cfmcli.flows.densities import Density
from cfmcli.flows.dynamics.diffusions import Constant, Diffusion, diffusion
from cfmcli.flows.dynamics.estimators import Estimator, Means
from cfmcli.flows.dynamics.flow import CHUNK, Flow, Paths
from cfmcli.flows.dynamics.legs import Leg, journey
from cfmcli.flows.dynamics.sde import Process, StochasticSolver, denoise
from cfmcli.flows.dynamics.sde_likelihood import Leg as Stretch
from cfmcli.flows.dynamics.sde_likelihood import at_once, log_density
from cfmcli.flows.dynamics.solvers import Solver
from cfmcli.flows.objective.reading import NO_SCORE, Drift, Guide, Local
from cfmcli.flows.streams import Streams
from cfmcli.requests import Scoring

QUIET_FROM = 0.97
"""Path time from which paths between noise and points are led without noise: there the score is
read off a velocity times 1 / (1 - t), and so are its errors."""

STILL = Constant(0.0)


@dataclass(frozen=True)
class Noise:
    """How a flow is made stochastic.

    Args:
        solver: integrator.
        diffusion: level of noise along a gap.
        streams: where the noise comes from; equal streams give equal paths.
    """

    solver: StochasticSolver
    diffusion: Diffusion
    streams: Streams


@dataclass(frozen=True)
class LogDensity:
    """Log densities of points.

    Args:
        values: log p in nats, shape (n,).
        error: standard error of each, shape (n,).
        bound: a lower bound in the mean, shape (n,).
        effective: effective number of paths of each, shape (n,).
        nfe: evaluations of the field for each chunk of points, at most.
    """

    values: Array
    error: Array
    bound: Array
    effective: Array
    nfe: int

    @property
    def columns(self) -> tuple[Array, Array, Array, Array]:
        """Everything that is told of each point."""
        return self.values, self.error, self.bound, self.effective

    def rows(self, index: slice) -> "LogDensity":
        """What is told of some points."""
        values, error, bound, effective = (column[index] for column in self.columns)
        return LogDensity(values, error, bound, effective, self.nfe)


def wander(
    flow: Flow, x: Array, times: Sequence[float], noise: Noise, guide: Guide | None = None
) -> Paths:
    """Carry points through clock times by dX = (b +- epsilon s) dt + sqrt(2 epsilon) dW.

    Forward with the plus, backward with the minus: at every time the points have the density that
    the flow itself would give them. The last stretch from noise to points, beyond t = 0.97, takes
    steps of denoising instead, and the same stretch backward is the flow's own.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 2.3

    Args:
        flow: velocity and score.
        x: points at the first time, shape (n, D).
        times: clock times, at least one, in either direction, repeats allowed.
        noise: solver, diffusion and randomness.
        guide: the condition of each point, where the flow has conditions.

    Returns:
        Paths; such paths have no energy, which is NaN.

    Raises:
        ConfigError: if a time lies outside the snapshots, or the flow has no score.
        NumericsError: if the integration fails.
    """
    inner = [flow.timeline.inner(time) for time in times]
    found = {s: np.empty(x.shape) for s in inner}
    most = 0
    # Each direction and each start has noise of its own.
    forward, begin = int(inner[-1] >= inner[0]), int(max(inner[0], 0.0) * 2**20)
    for number, rows in enumerate(blocks(len(x), CHUNK)):
        found[inner[0]][rows], spent = x[rows], 0
        generator = noise.streams.block("noise", number, forward, begin)
        here = flow.tensor(x[rows], False)
        for leg in journey(inner, flow.timeline.segments):
            drift = flow.drift(leg.segment, guide, rows)
            with torch.no_grad():
                states, nfe = _along(drift, leg, here, noise, generator)
            for s, place in zip(leg.times, states, strict=True):
                if s in found:
                    found[s][rows] = place.double().cpu().numpy()
            here, spent = states[-1], spent + nfe
        most = max(most, spent)
    return Paths(np.stack([found[s] for s in inner]), np.full(len(x), np.nan), most)


def estimate(
    flow: Flow,
    x: Array,
    times: tuple[float, float],
    how: tuple[Estimator, Diffusion, Means],
    base: Density,
    guide: Guide | None = None,
) -> LogDensity:
    """Log densities of points at a clock time, from paths to a time of known density.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 2.6

    Args:
        flow: velocity and score.
        x: points at the first time, shape (n, D).
        times: clock times, from where to where.
        how: the estimator, the diffusion of its paths, and what to compute with.
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
        stretches: list[Stretch] = []
        for leg in legs:
            own = guide and guide.of(index.cpu())
            drift = flow.drift(leg.segment, own, double=means.solver.double)
            local = [s - leg.segment for s in leg.times]
            for times_of, quiet in _stretches([local[0], local[-1]], drift):
                level = STILL if quiet else diffusion
                stretches.append((process(drift, level), (times_of[0], times_of[-1])))
        return stretches

    def log_base(y: Tensor) -> Tensor:
        return torch.as_tensor(base.log_prob(y.double().cpu().numpy())).to(y)

    points = flow.tensor(x, means.solver.double)
    with torch.no_grad():
        told = log_density(estimator, journey_of, log_base, points, means)
    columns = (told.log_prob, told.error, told.bound, told.effective)
    values, error, bound, effective = (part.double().cpu().numpy() for part in columns)
    return LogDensity(values, error, bound, effective, told.nfe)


def dynamics(
    scoring: Scoring, solver: Solver, generator: torch.Generator
) -> tuple[Estimator, Diffusion, Means]:
    """What `estimate` needs, from what a user says.

    Args:
        scoring: specs.
        solver: integrator of the flow.
        generator: source of noise and probes.

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


def grain(estimator: Estimator, dim: int) -> int:
    """Points whose densities are obtained at once: a power of 2, so that few grids of blocks exist.

    Args:
        estimator: how densities are obtained.
        dim: dimension of the points.
    """
    most = min(CHUNK, at_once(estimator, dim))
    return 1 << (most.bit_length() - 1)


Groups = Sequence[tuple[IntArray, Density]]


@dataclass(frozen=True)
class Grouped:
    """The known density at the ends of paths from points of several groups.

    Args:
        groups: rows of points, all of them in all, and the density that holds for them.
        rows: the points that the paths come from, path after path.
    """

    groups: Groups
    rows: slice

    @property
    def name(self) -> str:
        """What it is called in outputs."""
        return ", ".join(dict.fromkeys(density.name for _, density in self.groups))

    def log_prob(self, x: Array) -> Array:
        """log density at ends of shape (P n, D), in nats: shape (P n,)."""
        count = self.rows.stop - self.rows.start
        paths, found = x.reshape(-1, count, x.shape[1]), np.empty((len(x) // count, count))
        for rows, density in self.groups:
            own = rows[(rows >= self.rows.start) & (rows < self.rows.stop)] - self.rows.start
            if len(own):
                ends = density.log_prob(paths[:, own].reshape(-1, x.shape[1]))
                found[:, own] = ends.reshape(-1, len(own))
        return found.reshape(-1)


def estimates(
    flow: Flow,
    x: Array,
    times: tuple[float, float],
    how: tuple[Estimator, Diffusion, Means],
    groups: Groups,
    guide: Guide | None,
    streams: Streams,
) -> LogDensity:
    """Log densities of points of several groups, a block at a time, each with its own randomness.

    Args:
        flow: velocity and score.
        x: points at the first time, shape (n, D).
        times: clock times, from where to where.
        how: as `estimate` takes it, but for the generator.
        groups: rows of points, all of them in all, and their density at the second time.
        guide: the condition of each point, where the flow has conditions.
        streams: where noise and probes come from.

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


def process(drift: Drift, diffusion: Diffusion) -> Process:
    """A gap's velocity and score as a process on its own time t in [0, 1].

    Args:
        drift: velocity and score of the gap.
        diffusion: level of noise along it.

    Raises:
        ConfigError: if there is noise and no score.
    """
    k, reading = drift.segment, drift.reading
    if diffusion.level and not reading.has_score:
        raise ConfigError(NO_SCORE)
    return Process(
        Local(drift),
        (lambda t, y: drift.score(t + k, y)) if reading.has_score else None,
        diffusion.along(reading.noise),
        reading.score_margin if reading.has_score else 0.0,
        diffusion.level == 0,
    )


def _along(
    drift: Drift, leg: Leg, x: Tensor, noise: Noise, generator: torch.Generator
) -> tuple[list[Tensor], int]:
    """Points at the times of one leg, and the evaluations that it took."""
    local = [s - leg.segment for s in leg.times]
    noisy, still = process(drift, noise.diffusion), process(drift, STILL)
    if noisy.still:
        return noise.solver.solve(still, x, local, generator)
    found, nfe = {local[0]: x}, 0
    for times, quiet in _stretches(local, drift):
        here = found[times[0]]
        if quiet and times[0] < times[-1]:
            states, calls = _denoised(drift, here, times, noise.solver)
        else:
            states, calls = noise.solver.solve(still if quiet else noisy, here, times, generator)
        found |= dict(zip(times, states, strict=True))
        nfe += calls
    return [found[t] for t in local], nfe


def _stretches(times: list[float], drift: Drift) -> list[tuple[list[float], bool]]:
    """Times of a gap cut at `QUIET_FROM` where its paths come from noise; which are beyond it."""
    if not drift.reading.normal_source:
        return [(times, False)]
    up = times[0] < times[-1]
    low, high = min(times), max(times)
    cut = {QUIET_FROM} if low < QUIET_FROM < high else set()
    whole = sorted({*times, *cut}, reverse=not up)
    parts = [
        ([t for t in whole if t <= QUIET_FROM], False),
        ([t for t in whole if t >= QUIET_FROM], True),
    ]
    return [(part, quiet) for part, quiet in (parts if up else parts[::-1]) if len(part) > 1]


def _denoised(
    drift: Drift, x: Tensor, times: list[float], solver: StochasticSolver
) -> tuple[list[Tensor], int]:
    """Steps of denoising through ascending times, the denoiser read off the velocity."""
    states, nfe = [x], 0
    for start, end in pairwise(times):
        here = states[-1]
        for a, b in pairwise(solver.grid(start, end)):
            clock = torch.full((len(here), 1), a + drift.segment).to(here)
            eta = drift.reading.eta(drift.velocity(clock, here), a, here)
            here = denoise(here, eta, drift.reading.ends_at(a), drift.reading.ends_at(b))
            nfe += 1
        states.append(here)
    return states, nfe
