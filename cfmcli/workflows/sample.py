"""Sample: new points, drawn at the source and carried to a time, to a file."""

from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.flow import CHUNK
from cfmcli.flows.streams import Streams
from cfmcli.requests import (
    Listener,
    Outcome,
    Runtime,
    SampleRequest,
)
from cfmcli.workflows import results, shards, verbs


def sample(request: SampleRequest, where: Runtime, listen: Listener) -> Outcome:
    """Draw source points, carry them to a time and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    if request.count < 1:
        raise ConfigError(f"--count {request.count}: expected at least 1.")
    shards.claim(request, where)
    model = verbs.load(request.run, where)
    model.conditions.checked(request.condition)
    time = verbs.clock_time(model, request.time, last=True)
    figures = {"points": request.count, "time": time}
    if request.dry_run:
        return Outcome({}, figures, (f"would draw {request.count} points at time {time:g}",))
    source = model.source_at(time, request.condition)
    cloud = source.draw(request.count, Streams(where.seed), request.condition)
    part = shards.part(request.shard, len(cloud), shards.grain(model, len(cloud)))
    cloud = cloud.rows(part.rows)
    guide = model.guide(cloud.obs, request.condition)
    moving = how.after(part.blocks(CHUNK))
    paths = moving.paths(model.flow, cloud.points, (cloud.time, time), guide)
    frame = results.Frame(paths.points[-1], time, verbs.apart(cloud.obs), kept=part.kept)
    told = results.chosen(request.condition, request.integration)
    said = results.facts("sample", request.run, where, time=time, nfe=paths.nfe, **told)
    results.write_frames(request.output, model, [frame], "id", said)
    figures |= {"points": len(part), "nfe": paths.nfe}
    figures |= verbs.energy(paths.energy[part.kept], cloud.weights[part.kept])
    shards.sign(request, where, [part], figures, mass=len(part))
    return Outcome({"samples": request.output}, figures)
