"""Interpolate: states and trajectories at chosen times, written to a file."""

from dataclasses import replace
from typing import Any

import numpy as np

from cfmcli.catalog import did_you_mean, preset
from cfmcli.data.arrays import Array
from cfmcli.data.neighbours import Rows
from cfmcli.data.snapshots import BackedCloud
from cfmcli.data.table import Table
from cfmcli.errors import ConfigError
from cfmcli.flows.streams import Streams
from cfmcli.layers import written
from cfmcli.model import Model
from cfmcli.requests import InterpolateRequest, Listener, Outcome, Runtime
from cfmcli.workflows import points, results, runtime, shards, verbs
from cfmcli.workflows.courses import Course
from cfmcli.workflows.frames import writing_frames
from cfmcli.workflows.score import share_of

SIDES = ("before", "both")
Leg = tuple[BackedCloud, list[float]]
"""Points, and the times they are requested at."""


def interpolate(request: InterpolateRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write points at several times: trajectories, or populations.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    _check_interpolate(request)
    shards.claim(request, where, verbs.given(request.data, request.cells))
    model = verbs.load(request.run, where, bf16=request.integration.bf16)
    times = asked_times(model, request)
    start = verbs.clock_time(model, request.start)
    for time in (*times, start):
        model.timeline.inner(time)
    streams = Streams(where.seed)
    clouds = points.starts(model, request, start, streams, runtime.warn)
    legs = _legs(model, clouds, times, request, streams)
    parts = [shards.part(request.shard, len(c), shards.grain(model, len(c))) for c, _ in legs]
    figures: dict[str, Any] = {"times": times, "points": _started(legs, parts)}
    if request.dry_run:
        return Outcome({}, figures, (f"would write points at {len(times)} times",))
    taken = any("weight" in cloud.head.obs.columns for cloud, _ in legs)
    weight = "cfm_weight" if taken else "weight"
    courses = [
        Course(model, how, cloud, own, part, request, weight)
        for (cloud, own), part in zip(legs, parts, strict=True)
        if own
    ]
    frames = [frame for course in courses for frame in course.frames]
    trips = [(cloud.head.time, time) for cloud, own in legs for time in own]
    moves = how.told(model.flow, trips, request.condition.guidance)
    told = results.chosen(request.condition, request.integration) | verbs.steps(moves)
    nfe, mass = 0, dict.fromkeys((written(frame.time) for frame in frames), 0.0)
    with writing_frames(request.output, model, frames, "trajectory") as append:
        for course in courses:
            for time, piece, spent in course.pieces():
                nfe = max(nfe, spent)
                said = results.facts("interpolate", request.run, where, nfe=nfe, **told)
                append(piece, said)
                mass[written(time)] += sum(float(own.sum()) for own in piece.columns.values())
    figures |= {"rows": sum(len(frame.obs) for frame in frames), "nfe": nfe, **moves}
    if model.flow.grows and not request.shard:
        observed = {written(cloud.time): cloud.mass for cloud in model.clouds}
        figures["mass"] = mass
        figures["observed_mass"] = {t: m for t, m in observed.items() if t in mass}
    shards.sign(request, where, [c.part for c in courses for _ in c.times], figures)
    return Outcome({"trajectories": request.output}, figures, _observed(request, legs))


def _check_interpolate(request: InterpolateRequest) -> None:
    """Refuse inconsistent requests."""
    if bool(request.times) == bool(request.frames):
        raise ConfigError("Say when: either --times 0.5,1,1.5 or --frames 20.")
    if request.frames < 0 or request.frames == 1:
        raise ConfigError(f"--frames {request.frames}: expected at least 2.")
    if request.data == request.cells == "-":
        raise ConfigError("DATA and --cells both want stdin: name a file for one of them.")
    if request.sides and not request.population:
        raise ConfigError("--sides is of populations: add --population, or leave it out.")
    if request.sides not in ("", *SIDES):
        raise ConfigError(f"--sides '{request.sides}'.{did_you_mean(request.sides, SIDES)}")
    if request.population and (request.data or request.cells or request.where or request.start):
        raise ConfigError(
            "--population carries the run's own snapshots: leave out DATA, --from, --cells and "
            "--where."
        )


def asked_times(model: Model, request: InterpolateRequest) -> list[float]:
    """The requested clock times."""
    if request.frames:
        first, last = model.timeline.times[0], model.timeline.times[-1]
        return [float(t) for t in np.linspace(first, last, request.frames)]
    times = [verbs.clock_of(model, text) for text in request.times]
    if len(set(times)) < len(times):
        raise ConfigError(f"--times {','.join(request.times)}: a time stands there twice.")
    return times


def _legs(
    model: Model,
    clouds: list[BackedCloud],
    times: list[float],
    request: InterpolateRequest,
    streams: Streams,
) -> list[Leg]:
    """Assign times to points: of one cloud, or of the snapshots on either side of each time."""
    if not request.population:
        return [(cloud, times) for cloud in clouds]
    sides = request.sides or ("both" if preset(model.recipe.method).both_sides else "before")
    legs: list[Leg] = [(cloud, []) for cloud in clouds]
    for time in times:
        k = max(place for place, cloud in enumerate(clouds) if cloud.head.time <= time)
        if sides == "before" or clouds[k].head.time == time:
            legs[k][1].append(time)
        else:
            both = clouds[k], clouds[k + 1]
            legs += [(side, [time]) for side in _shared(model, both, time, streams)]
    return legs


def _started(legs: list[Leg], parts: list[shards.Part]) -> int:
    """Number of points carried to any time, each counted once."""
    wanted = [(cloud, part) for (cloud, own), part in zip(legs, parts, strict=True) if own]
    named = [(c.head.time, c.head.obs.index[part.own]) for c, part in wanted]
    return len({(time, name) for time, names in named for name in names})


def _observed(request: InterpolateRequest, legs: list[Leg]) -> tuple[str, ...]:
    """Note the times at which a population is observed rather than predicted."""
    known = [c.head.label for c, own in legs if request.population and c.head.time in own]
    if not known:
        return ()
    return (
        f"at {', '.join(known)}: the observed points themselves; to have such a time predicted, "
        "hold it out of the fit with --holdout",
    )


def _shared(
    model: Model, sides: tuple[BackedCloud, BackedCloud], time: float, streams: Streams
) -> list[BackedCloud]:
    """Sample two snapshots in proportion to their nearness to a time."""
    heads = [side.head for side in sides]
    share = share_of(time, *heads)
    parts = 1 - share, share
    weights = [verbs.point_weights(model, Table(h.points, (), h.obs, h.label)) for h in heads]
    whole = min(own.sum() / part for own, part in zip(weights, parts, strict=True))
    rng = streams.numpy("population")
    chosen = [_filled(own, whole * part, rng) for own, part in zip(weights, parts, strict=True)]
    some = [side.rows(rows) for side, rows in zip(sides, chosen, strict=True)]
    return [
        replace(own, head=replace(own.head, mass=part * head.mass))
        for own, part, head in zip(some, parts, heads, strict=True)
    ]


def _filled(weights: Array, total: float, rng: np.random.Generator) -> Rows:
    """Random rows whose weights sum to about a total; at least one."""
    order = rng.permutation(len(weights))
    sums = np.cumsum(weights[order])
    return np.sort(order[: 1 + int(np.argmin(np.abs(sums - total)))])
