"""Interpolate: states and trajectories at chosen times, to a file."""

from dataclasses import replace

import numpy as np

from cfmcli.catalog import did_you_mean, preset
from cfmcli.data.neighbours import Rows
from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Array, Table
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.flow import CHUNK, Paths
from cfmcli.flows.dynamics.motion import Motion
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import InterpolateRequest, Listener, Outcome, Runtime
from cfmcli.workflows import points, results, shards, verbs
from cfmcli.workflows.score import share_of

SIDES = ("before", "both")
Leg = tuple[Cloud, list[float]]
"""Points, and the times at which they are wanted."""


def interpolate(request: InterpolateRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write points at each of some times: trajectories, or populations.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    _check_interpolate(request)
    shards.claim(request, where, verbs.given(request.data, request.cells))
    model = verbs.load(request.run, where)
    times = asked_times(model, request)
    start = verbs.clock_time(model, request.start)
    for time in (*times, start):
        model.timeline.inner(time)
    streams = Streams(where.seed)
    legs = _legs(model, points.starts(model, request, start, streams), times, request, streams)
    parts = [shards.part(request.shard, len(c), shards.grain(model, len(c))) for c, _ in legs]
    figures = {"times": times, "points": _started(legs, parts)}
    if request.dry_run:
        return Outcome({}, figures, (f"would write points at {len(times)} times",))
    frames, nfe = [], 0
    for (cloud, own), part in zip(legs, parts, strict=True):
        if own:
            found, spent = _carried(model, cloud.rows(part.rows), own, (how, part), request)
            frames += [(part, frame) for frame in found]
            nfe = max(nfe, spent)
    told = results.chosen(request.condition, request.integration)
    said = results.facts("interpolate", request.run, where, nfe=nfe, **told)
    written = [frame for _, frame in frames]
    results.write_frames(request.output, model, written, "trajectory", said)
    figures |= {"rows": sum(len(part) for part, _ in frames), "nfe": nfe}
    if model.flow.grows and not request.shard:
        figures |= _masses(model, written)
    shards.sign(request, where, [part for part, _ in frames], figures)
    return Outcome({"trajectories": request.output}, figures)


def _check_interpolate(request: InterpolateRequest) -> None:
    """Refuse what cannot be meant."""
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
    cloud: Cloud,
    times: list[float],
    how: tuple[Motion, shards.Part],
    request: InterpolateRequest,
) -> tuple[list[results.Frame], int]:
    """The points of a cloud at each time, and the evaluations that it took."""
    motion, part = how
    x = np.asarray(cloud.points, dtype=np.float64)
    guide = model.guide(cloud.obs, request.condition)
    moving = motion.after(part.blocks(CHUNK))
    paths = model.trajectories(x, times, cloud.time, moving, guide)
    frames = []
    for k, (time, place) in enumerate(zip(times, paths.points, strict=True)):
        told = cloud.obs.assign(trajectory=cloud.obs.index, **_weight(cloud, paths, k))
        obs = verbs.apart(told)
        names = results.unique_names(obs.index, np.full(len(obs), time))
        velocity = model.flow.velocity(place, time, guide=guide)
        obs = obs.set_axis(names, axis=0)
        frames.append(results.Frame(place, time, obs, velocity, part.kept))
    return frames, paths.nfe


def _legs(
    model: Model,
    clouds: list[Cloud],
    times: list[float],
    request: InterpolateRequest,
    streams: Streams,
) -> list[Leg]:
    """Which points are wanted when: of one cloud, or of the snapshots beside each time."""
    if not request.population:
        return [(cloud, times) for cloud in clouds]
    sides = request.sides or ("both" if preset(model.recipe.method).both_sides else "before")
    legs: list[Leg] = [(cloud, []) for cloud in clouds]
    for time in times:
        k = max(place for place, cloud in enumerate(clouds) if cloud.time <= time)
        if sides == "before" or clouds[k].time == time:
            legs[k][1].append(time)
        else:
            both = clouds[k], clouds[k + 1]
            legs += [(side, [time]) for side in _shared(model, both, time, streams)]
    return legs


def _started(legs: list[Leg], parts: list[shards.Part]) -> int:
    """The points that are carried to any time, each counted once."""
    wanted = [(cloud, part) for (cloud, own), part in zip(legs, parts, strict=True) if own]
    return len({(c.time, name) for c, part in wanted for name in c.obs.index[part.own]})


def _shared(model: Model, sides: tuple[Cloud, Cloud], time: float, streams: Streams) -> list[Cloud]:
    """As much weight of two snapshots as gives each its share: the nearer, the more."""
    share = share_of(time, *sides)
    parts = 1 - share, share
    weights = [verbs.point_weights(model, Table(s.points, (), s.obs, s.label)) for s in sides]
    whole = min(own.sum() / part for own, part in zip(weights, parts, strict=True))
    rng = streams.numpy("population")
    chosen = [_filled(own, whole * part, rng) for own, part in zip(weights, parts, strict=True)]
    return [
        replace(side.rows(rows), mass=part * side.mass)
        for side, part, rows in zip(sides, parts, chosen, strict=True)
    ]


def _filled(weights: Array, total: float, rng: np.random.Generator) -> Rows:
    """Random rows whose weights add up to about a total; at least one."""
    order = rng.permutation(len(weights))
    sums = np.cumsum(weights[order])
    return np.sort(order[: 1 + int(np.argmin(np.abs(sums - total)))])


def _weight(cloud: Cloud, paths: Paths, k: int) -> dict[str, Array]:
    """The mass of each point at the k-th time, as a column, where mass is not constant."""
    if paths.log_mass is None:
        return {}
    name = "cfm_weight" if "weight" in cloud.obs.columns else "weight"
    return {name: paths.masses(k, cloud.mass * cloud.weights)}


def _masses(model: Model, frames: list[results.Frame]) -> dict[str, dict[str, float]]:
    """The total mass at each time, in units of the first snapshot's, and what was observed."""
    name = "cfm_weight" if "cfm_weight" in frames[0].obs.columns else "weight"
    found: dict[str, float] = {}
    for frame in frames:
        time = f"{frame.time:g}"
        found[time] = found.get(time, 0.0) + float(frame.obs[name].sum())
    observed = {f"{cloud.time:g}": cloud.mass for cloud in model.clouds}
    return {"mass": found, "observed_mass": {t: m for t, m in observed.items() if t in found}}
