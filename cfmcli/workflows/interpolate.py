"""Interpolate: states and trajectories at chosen times, to a file."""

import numpy as np

from cfmcli import io
from cfmcli.data.snapshots import Cloud
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.motion import Motion
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import (
    InterpolateRequest,
    Listener,
    Outcome,
    Runtime,
)
from cfmcli.workflows import points, results, verbs


def interpolate(request: InterpolateRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write points at each of some times: trajectories, or populations.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    _check_interpolate(request)
    io.claim(request.output, force=where.force, inputs=verbs.given(request.data, request.cells))
    model = verbs.load(request.run, where)
    times = _asked_times(model, request)
    start = verbs.clock_time(model, request.start)
    for time in (*times, start):
        model.timeline.inner(time)
    clouds = points.starts(model, request, start, Streams(where.seed))
    figures = {"times": times, "points": sum(len(cloud) for cloud in clouds)}
    if request.dry_run:
        return Outcome({}, figures, (f"would write points at {len(times)} times",))
    frames, nfe = _carried(model, clouds, times, how, request)
    told = results.chosen(request.condition, request.integration)
    said = results.facts("interpolate", request.run, where, nfe=nfe, **told)
    results.write_frames(request.output, model, frames, said)
    figures |= {"rows": len(frames.points), "nfe": nfe}
    return Outcome({"trajectories": request.output}, figures)


def _check_interpolate(request: InterpolateRequest) -> None:
    """Refuse what cannot be meant."""
    if bool(request.times) == bool(request.frames):
        raise ConfigError("Say when: either --times 0.5,1,1.5 or --frames 20.")
    if request.frames < 0 or request.frames == 1:
        raise ConfigError(f"--frames {request.frames}: expected at least 2.")
    if request.population and (request.data or request.cells or request.where or request.start):
        raise ConfigError(
            "--population carries the run's own snapshots: leave out DATA, --from, --cells and "
            "--where."
        )


def _asked_times(model: Model, request: InterpolateRequest) -> list[float]:
    """The clock times asked for."""
    if request.frames:
        first, last = model.timeline.times[0], model.timeline.times[-1]
        return [float(t) for t in np.linspace(first, last, request.frames)]
    times = [model.timeline.parse(text) for text in request.times]
    if len(set(times)) < len(times):
        raise ConfigError(f"--times {','.join(request.times)}: a time stands there twice.")
    return times


def _carried(
    model: Model,
    clouds: list[Cloud],
    times: list[float],
    how: Motion,
    request: InterpolateRequest,
) -> tuple[results.Frames, int]:
    """Rows for each time: from one cloud, or from the nearest snapshot before each time."""
    import pandas as pd

    places, stamps, frames, velocities, nfe = [], [], [], [], 0
    for cloud in clouds:
        every = not request.population
        own = [t for t in times if every or _nearest_before(clouds, t) is cloud]
        if not own:
            continue
        x = np.asarray(cloud.points, dtype=np.float64)
        guide = model.guide(cloud.obs, request.condition)
        paths = model.trajectories(x, own, cloud.time, how, guide)
        nfe = max(nfe, paths.nfe)
        for time, frame in zip(own, paths.points, strict=True):
            places.append(frame)
            stamps.append(np.full(len(frame), time))
            frames.append(cloud.obs.assign(trajectory=cloud.obs.index))
            velocities.append(model.flow.velocity(frame, time, guide=guide))
    obs = verbs.apart(pd.concat(frames))
    moments, stacked = np.concatenate(stamps), np.concatenate(places)
    obs = obs.set_axis(results.unique_names(obs.index, moments), axis=0)
    return results.Frames(stacked, moments, obs, "trajectory", np.concatenate(velocities)), nfe


def _nearest_before(clouds: list[Cloud], time: float) -> Cloud:
    """The latest cloud that is not after a time."""
    return [cloud for cloud in clouds if cloud.time <= time][-1]
