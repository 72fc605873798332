"""Sample: new points, drawn at the source and carried to a time, written to a file."""

from typing import Any

import numpy as np

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
from cfmcli.workflows.frames import Frame, Piece, writing_frames

MOST = 10**9
"""Maximum number of points in one call: ids of more would fill 64 GB of memory."""


def sample(request: SampleRequest, where: Runtime, listen: Listener) -> Outcome:
    """Draw source points, carry them to a time and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    if not 1 <= request.count <= MOST:
        raise ConfigError(f"--count {request.count}: expected at least 1, and at most {MOST:,}.")
    shards.claim(request, where)
    model = verbs.load(request.run, where, bf16=request.integration.bf16)
    model.conditions.checked(request.condition)
    time = verbs.clock_time(model, request.time, last=True)
    figures: dict[str, Any] = {"points": request.count, "time": time}
    if request.dry_run:
        return Outcome({}, figures, (f"would draw {request.count} points at time {time:g}",))
    source = model.source_at(time, request.condition, request.integration.sde)
    drawn = source.drawn(request.count, Streams(where.seed), request.condition)
    part = shards.part(request.shard, len(drawn), shards.grain(model, len(drawn)))
    guide = model.guide(drawn.head.obs, request.condition)
    frame = Frame(time, verbs.apart(drawn.head.obs.iloc[part.own]))
    trips = [(source.time, time)]
    moves = how.told(model.flow, trips, request.condition.guidance)
    told = results.chosen(request.condition, request.integration) | verbs.steps(moves)
    energies, nfe = [], 0
    with writing_frames(request.output, model, [frame], "id") as append:
        for piece in part.pieces(max(1, len(model.chain.genes))):
            span, own = (source.time, time), guide and guide.of(piece.rows)
            moving = how.after(piece.blocks(CHUNK))
            paths = moving.paths(model.flow, drawn.read(piece.rows), span, own)
            energies.append(paths.energy[piece.kept])
            nfe = max(nfe, paths.nfe)
            said = results.facts("sample", request.run, where, time=time, nfe=nfe, **told)
            append(Piece(paths.points[-1], kept=piece.kept), said)
    figures |= {"points": len(part), "nfe": nfe, **moves}
    figures |= verbs.energy(np.concatenate(energies), drawn.head.weights[part.own])
    shards.sign(request, where, [part], figures, mass=len(part))
    return Outcome({"samples": request.output}, figures)
