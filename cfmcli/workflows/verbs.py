"""Verbs: sample, transport, likelihood and interpolate, from files to files."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cfmcli import catalog, io, stored
from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Array, Table
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.flow import CHUNK
from cfmcli.flows.dynamics.motion import Deterministic, Motion, motion
from cfmcli.flows.streams import Streams
from cfmcli.model import Model, with_tolerances
from cfmcli.requests import (
    Integration,
    InterpolateRequest,
    Listener,
    Outcome,
    Runtime,
    SampleRequest,
    TransportRequest,
)
from cfmcli.workflows import points, prepare, results, runtime, score

if TYPE_CHECKING:
    import pandas as pd


def load(run: str, where: Runtime, rows: int = CHUNK) -> Model:
    """The model of a run, on the device asked for.

    Args:
        run: run folder.
        where: device and threads.
        rows: points, or tangents of points, that pass through the network at once.
    """
    model = stored.load(run)
    width = catalog.build("fields", model.recipe.field).width
    return model.on(runtime.prepare(where, width, rows))


def sample(request: SampleRequest, where: Runtime, listen: Listener) -> Outcome:
    """Draw source points, carry them to a time and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = motion_of(request.integration, where)
    if request.count < 1:
        raise ConfigError(f"--count {request.count}: expected at least 1.")
    io.claim(request.output, force=where.force)
    model = load(request.run, where)
    model.conditions.checked(request.condition)
    time = clock_time(model, request.time, last=True)
    figures = {"points": request.count, "time": time}
    if request.dry_run:
        return Outcome({}, figures, (f"would draw {request.count} points at time {time:g}",))
    cloud = model.source.draw(request.count, Streams(where.seed), request.condition)
    guide = model.guide(cloud.obs, request.condition)
    paths = how.paths(model.flow, cloud.points, (cloud.time, time), guide)
    end, stamps = paths.points[-1], np.full(request.count, time)
    frames = results.Frames(end, stamps, _apart(cloud.obs), "id")
    told = results.chosen(request.condition, request.integration)
    said = results.facts("sample", request.run, where, time=time, nfe=paths.nfe, **told)
    results.write_frames(request.output, model, frames, said)
    figures |= {"nfe": paths.nfe, **_energy(paths.energy, cloud.weights)}
    return Outcome({"samples": request.output}, figures)


def transport(request: TransportRequest, where: Runtime, listen: Listener) -> Outcome:
    """Carry given points from one time to another and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = motion_of(request.integration, where)
    if request.max_points < 2:
        raise ConfigError(f"--max-points {request.max_points}: expected at least 2.")
    io.claim(request.output, force=where.force, inputs=given(request.data, request.against))
    model = load(request.run, where)
    start, end = clock_time(model, request.start), clock_time(model, request.end, last=True)
    table = points.read_points(model, request.data)
    guide = model.guide(table.obs, request.condition, table.origin)
    _warn_of_other_times(model, table, start)
    observed = _observed(model, request, end)
    figures: dict[str, Any] = {"points": len(table), "from": start, "to": end}
    if request.dry_run:
        return Outcome({}, figures, (f"would carry {len(table)} points {start:g} -> {end:g}",))
    x = model.encode(table.values)
    paths = how.paths(model.flow, x, (start, end), guide)
    velocity = model.flow.velocity(x, start, forward=end >= start, guide=guide)
    moved = results.Moved(x, paths.points[-1], velocity)
    said = results.facts(
        "transport",
        request.run,
        where,
        start=start,
        end=end,
        nfe=paths.nfe,
        **results.chosen(request.condition, request.integration),
    )
    results.write_moved(request.output, request.data, model, table, moved, said)
    rows, mass = _rows(model, table, start), point_weights(model, table)
    costs = ((moved.end - x) ** 2).sum(axis=1)
    figures |= {
        "nfe": paths.nfe,
        "mean_cost": float(np.average(costs[rows], weights=mass[rows])),
        **_energy(paths.energy[rows], mass[rows]),
    }
    if observed is not None:
        carried = Weighted(moved.end[rows], point_weights(model, table)[rows])
        figures |= _scores(carried, observed, request.max_points, Streams(where.seed))
    return Outcome({"points": request.output}, figures)


def interpolate(request: InterpolateRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write points at each of some times: trajectories, or populations.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = motion_of(request.integration, where)
    _check_interpolate(request)
    io.claim(request.output, force=where.force, inputs=given(request.data, request.cells))
    model = load(request.run, where)
    times = _asked_times(model, request)
    start = clock_time(model, request.start)
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


def motion_of(how: Integration, where: Runtime) -> Motion:
    """The motion asked for.

    Args:
        how: solver, tolerances and noise.
        where: the seed of the noise.

    Raises:
        ConfigError: if they do not go together.
    """
    if not how.sde:
        return Deterministic(with_tolerances(how.chosen, how.atol, how.rtol))
    if how.atol is not None or how.rtol is not None:
        raise ConfigError(
            "--sde has fixed steps and knows no --atol or --rtol: leave them out, or say how many "
            "steps with --solver stochastic-heun:steps=400."
        )
    return motion(how.solver, how.sde, Streams(where.seed))


def _energy(energies: Array, weights: Array) -> dict[str, float]:
    """The mean energy of paths, where they have one."""
    energy = float(np.average(energies, weights=weights))
    return {} if np.isnan(energy) else {"path_energy": energy}


def given(*paths: str) -> list[str]:
    """The paths that are not empty."""
    return [path for path in paths if path]


def clock_time(model: Model, text: str, *, last: bool = False) -> float:
    """A clock time from what was typed, inside what the model learnt."""
    if not text:
        return model.timeline.times[-1 if last else 0]
    time = model.timeline.parse(text)
    model.timeline.inner(time)
    return time


def _warn_of_other_times(model: Model, table: Table, start: float) -> None:
    """Say so where a file holds points of other times than the start."""
    other = points.at_time(model, table, start)
    if other is not None and not other.all():
        runtime.warn(
            f"{table.origin} holds {int((~other).sum())} points of other times than {start:g}; all "
            f"are carried as if they were observed at {start:g}. To choose points, use "
            "cfm interpolate with --where."
        )


class Weighted(NamedTuple):
    """Points in flow coordinates, shape (n, D), with weights of shape (n,)."""

    points: Array
    weights: Array

    def some(self, most: int, rng: np.random.Generator) -> "Weighted":
        """At most so many of them, at random."""
        rows = np.sort(rng.permutation(len(self.points))[:most])
        return Weighted(self.points[rows], self.weights[rows])


def _observed(model: Model, request: TransportRequest, time: float) -> Weighted | None:
    """Points observed at a time: of a file, or stored with the run and of the class chosen."""
    if not request.against:
        cloud = model.cloud(time, held_out=True)
        if cloud is None or request.condition.covariates:
            return None
        cloud = model.source.of_class(cloud, request.condition.label)
        return Weighted(np.asarray(cloud.points), cloud.weights)
    table = points.read_points(model, request.against)
    table = table.rows(_rows(model, table, time))
    return Weighted(model.encode(table.values), point_weights(model, table))


def _rows(model: Model, table: Table, time: float) -> npt.NDArray[np.bool_]:
    """The rows of a table that were observed at a time; all where it does not say, or none was."""
    there = points.at_time(model, table, time)
    return there if there is not None and there.any() else np.ones(len(table), dtype=np.bool_)


def point_weights(model: Model, table: Table) -> Array:
    """The weights of a table's points, equal where it has no such column."""
    key = model.recipe.weight_key
    return prepare.weights(table, key if key in table.obs.columns else "")


def _scores(x: Weighted, y: Weighted, most: int, streams: Streams) -> dict[str, Any]:
    """Distances between carried and observed points, on at most so many of each."""
    rng = streams.numpy("scores")
    ours, theirs = x.some(most, rng), y.some(most, rng)
    return {
        **score.distances(ours.points, theirs.points, ours.weights, theirs.weights),
        "scored_points": [len(ours.points), len(theirs.points)],
        "scored_in": "flow coordinates",
    }


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
    obs = _apart(pd.concat(frames))
    moments, stacked = np.concatenate(stamps), np.concatenate(places)
    obs = obs.set_axis(results.unique_names(obs.index, moments), axis=0)
    return results.Frames(stacked, moments, obs, "trajectory", np.concatenate(velocities)), nfe


def _apart(obs: "pd.DataFrame") -> "pd.DataFrame":
    """Annotations of starting points, with names that columns of times do not have."""
    clash = {name: f"{name}_start" for name in ("time", "cfm_time") if name in obs.columns}
    return obs.rename(columns=clash)


def _nearest_before(clouds: list[Cloud], time: float) -> Cloud:
    """The latest cloud that is not after a time."""
    return [cloud for cloud in clouds if cloud.time <= time][-1]
