"""Sample: new points, drawn at the source and carried to a time, to a file."""

import numpy as np

from cfmcli import io
from cfmcli.errors import ConfigError
from cfmcli.flows.streams import Streams
from cfmcli.requests import (
    Listener,
    Outcome,
    Runtime,
    SampleRequest,
)
from cfmcli.workflows import results, verbs


def sample(request: SampleRequest, where: Runtime, listen: Listener) -> Outcome:
    """Draw source points, carry them to a time and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    if request.count < 1:
        raise ConfigError(f"--count {request.count}: expected at least 1.")
    io.claim(request.output, force=where.force)
    model = verbs.load(request.run, where)
    model.conditions.checked(request.condition)
    time = verbs.clock_time(model, request.time, last=True)
    figures = {"points": request.count, "time": time}
    if request.dry_run:
        return Outcome({}, figures, (f"would draw {request.count} points at time {time:g}",))
    cloud = model.source.draw(request.count, Streams(where.seed), request.condition)
    guide = model.guide(cloud.obs, request.condition)
    paths = how.paths(model.flow, cloud.points, (cloud.time, time), guide)
    end, stamps = paths.points[-1], np.full(request.count, time)
    frames = results.Frames(end, stamps, verbs.apart(cloud.obs), "id")
    told = results.chosen(request.condition, request.integration)
    said = results.facts("sample", request.run, where, time=time, nfe=paths.nfe, **told)
    results.write_frames(request.output, model, frames, said)
    figures |= {"nfe": paths.nfe, **verbs.energy(paths.energy, cloud.weights)}
    return Outcome({"samples": request.output}, figures)
