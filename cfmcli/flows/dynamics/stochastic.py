"""Stochastic: runs a flow as an SDE with the same marginals."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from cfmcli.data.arrays import Array
from cfmcli.data.blocks import blocks
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.dynamics.diffusions import Constant, Diffusion
from cfmcli.flows.dynamics.flow import CHUNK, Flow
from cfmcli.flows.dynamics.legs import Leg, journey
from cfmcli.flows.dynamics.paths import Paths
from cfmcli.flows.dynamics.sde import Process, StochasticSolver, denoise
from cfmcli.flows.objective.reading import NO_SCORE, Drift, Guide, Local
from cfmcli.flows.streams import Streams
from cfmcli.flows.view import View

QUIET_FROM = 0.97
"""Path time from which paths between noise and data continue without noise: the score there is
computed from a velocity times 1 / (1 - t), which amplifies its errors."""

STILL = Constant(0.0)

LOST = 1000
"""Distance of path ends, relative to all points, beyond which paths count as diverged."""


@dataclass(frozen=True)
class Noise:
    """Settings of stochastic dynamics.

    Args:
        solver: integrator.
        diffusion: noise level along a gap.
        streams: random streams of the noise; equal streams give equal paths.
    """

    solver: StochasticSolver
    diffusion: Diffusion
    streams: Streams


def wander(
    flow: Flow, x: Array, times: Sequence[float], noise: Noise, guide: Guide | None = None
) -> Paths:
    """Carry points through clock times by dX = (b +- epsilon s) dt + sqrt(2 epsilon) dW.

    The sign is plus forward and minus backward; at every time the points have the density that the
    flow itself would give them. From noise to data, the last stretch beyond t = 0.97 uses denoising
    steps instead; the same stretch backward follows the flow.

    Reference: Albergo et al. (2023), arXiv 2303.08797, sec. 2.3

    Args:
        flow: the trained flow.
        x: points at the first time, shape (n, D).
        times: clock times, at least one, in either direction, repeats allowed.
        noise: solver, diffusion and randomness.
        guide: condition of each point, if the flow has conditions.

    Returns:
        Paths, with NaN as energy, which is not defined for them.

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
            _not_lost(states[-1], here, flow.field.view)
            here, spent = states[-1], spent + nfe
        most = max(most, spent)
    return Paths(np.stack([found[s] for s in inner]), np.full(len(x), np.nan), most)


def _not_lost(end: Tensor, start: Tensor, view: View) -> None:
    """Raise if overly long steps have thrown paths far beyond all points.

    Raises:
        NumericsError: if an end is `LOST` times as far out as the starts and the snapshots.
    """
    center = view.means.mean(dim=0).to(end)
    away, begun = ((x - center).norm(dim=1).max() for x in (end, start))
    wide = (view.means.to(end) - center).norm(dim=1).max() + view.scale * end.shape[1] ** 0.5
    if away > LOST * torch.maximum(begun, wide):
        raise NumericsError(
            f"The stochastic dynamics flung points {float(away):.2g} units away, {LOST} times as "
            "far as the run has seen: use more steps (--solver stochastic-heun:steps=400), or a "
            "smaller diffusion."
        )


def process(drift: Drift, diffusion: Diffusion) -> Process:
    """Build the process of a gap on its own time t in [0, 1].

    Args:
        drift: velocity and score of the gap.
        diffusion: noise level along the gap.

    Raises:
        ConfigError: if there is noise but no score.
    """
    local, reading = Local(drift), drift.reading
    if diffusion.level and not reading.has_score:
        raise ConfigError(NO_SCORE)
    if not reading.has_score:
        return Process(local, None, diffusion.along(reading.blur), still=True)
    margins = reading.score_margin, reading.margin
    noise, still = diffusion.along(reading.blur), diffusion.level == 0
    return Process(local, local.score, noise, *margins, still, local.both)


def stretches(times: list[float], drift: Drift) -> list[tuple[list[float], bool]]:
    """Cut times of a gap at `QUIET_FROM` if its source is noise, and mark the part beyond it.

    Args:
        times: times in [0, 1], strictly monotone.
        drift: velocity and score of the gap.

    Returns:
        The times of each part in order, and whether it lies beyond the cut.
    """
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


def _along(
    drift: Drift, leg: Leg, x: Tensor, noise: Noise, generator: torch.Generator
) -> tuple[list[Tensor], int]:
    """Carry points through the times of one leg; return positions and evaluations."""
    local = [s - leg.segment for s in leg.times]
    noisy, still = process(drift, noise.diffusion), process(drift, STILL)
    if noisy.still:
        return noise.solver.solve(still, x, local, generator)
    found, nfe = {local[0]: x}, 0
    for times, quiet in stretches(local, drift):
        here = found[times[0]]
        if quiet and times[0] < times[-1]:
            states, calls = _denoised(drift, here, times, noise.solver)
        else:
            states, calls = noise.solver.solve(still if quiet else noisy, here, times, generator)
        found |= dict(zip(times, states, strict=True))
        nfe += calls
    return [found[t] for t in local], nfe


def _denoised(
    drift: Drift, x: Tensor, times: list[float], solver: StochasticSolver
) -> tuple[list[Tensor], int]:
    """Take denoising steps through ascending times; the denoiser comes from the velocity."""
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
