"""Verbs: sample, transport, likelihood and interpolate, from files to files."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cfmcli import catalog, io
from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Array, Table
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics import CHUNK, TANGENTS
from cfmcli.flows.solvers import Solver
from cfmcli.flows.streams import Streams
from cfmcli.model import Model, with_tolerances
from cfmcli.requests import (
    Integration,
    InterpolateRequest,
    LikelihoodRequest,
    Listener,
    Outcome,
    Runtime,
    SampleRequest,
    TransportRequest,
)
from cfmcli.workflows import points, prepare, results, runtime, score


def load(run: str, where: Runtime, rows: int = CHUNK) -> Model:
    """The model of a run, on the device asked for.

    Args:
        run: run folder.
        where: device and threads.
        rows: points, or tangents of points, that pass through the network at once.
    """
    model = Model.load(run)
    width = catalog.build("fields", model.recipe.field).width
    return model.on(runtime.prepare(where, width, rows))


def sample(request: SampleRequest, where: Runtime, listen: Listener) -> Outcome:
    """Draw source points, carry them to a time and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    solver = _solver(request.integration)
    if request.count < 1:
        raise ConfigError(f"--count {request.count}: expected at least 1.")
    io.claim(request.output, force=where.force)
    model = load(request.run, where)
    time = _time(model, request.time, last=True)
    figures = {"points": request.count, "time": time}
    if request.dry_run:
        return Outcome({}, figures, (f"would draw {request.count} points at time {time:g}",))
    start = model.source(request.count, Streams(where.seed))
    paths = model.flow.paths(start, (model.timeline.times[0], time), solver)
    import pandas as pd

    names = pd.Index([str(k) for k in range(request.count)], name="id")
    frames = results.Frames(
        paths.points[-1], np.full(request.count, time), pd.DataFrame(index=names), "id"
    )
    said = results.facts("sample", request.run, where, time=time, nfe=paths.nfe)
    results.write_frames(request.output, model, frames, said)
    figures |= {"nfe": paths.nfe, "path_energy": float(paths.energy.mean())}
    return Outcome({"samples": request.output}, figures)


def transport(request: TransportRequest, where: Runtime, listen: Listener) -> Outcome:
    """Carry given points from one time to another and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    solver = _solver(request.integration)
    if request.max_points < 2:
        raise ConfigError(f"--max-points {request.max_points}: expected at least 2.")
    io.claim(request.output, force=where.force, inputs=_given(request.data, request.against))
    model = load(request.run, where)
    start, end = _time(model, request.start), _time(model, request.end, last=True)
    table = points.read_points(model, request.data)
    _warn_of_other_times(model, table, start)
    observed = _observed(model, request.against, end)
    figures: dict[str, Any] = {"points": len(table), "from": start, "to": end}
    if request.dry_run:
        return Outcome({}, figures, (f"would carry {len(table)} points {start:g} -> {end:g}",))
    x = model.encode(table.values)
    paths = model.flow.paths(x, (start, end), solver)
    velocity = model.flow.velocity(x, start, forward=end >= start)
    moved = results.Moved(x, paths.points[-1], velocity)
    said = results.facts(
        "transport",
        request.run,
        where,
        start=start,
        end=end,
        nfe=paths.nfe,
        solver=request.integration.solver,
    )
    results.write_moved(request.output, request.data, model, table, moved, said)
    rows = _rows(model, table, start)
    figures |= {
        "nfe": paths.nfe,
        "mean_cost": float(((moved.end - x) ** 2).sum(axis=1)[rows].mean()),
        "path_energy": float(paths.energy[rows].mean()),
    }
    if observed is not None:
        carried = Weighted(moved.end[rows], _weights(model, table)[rows])
        figures |= _scores(carried, observed, request.max_points, Streams(where.seed))
    return Outcome({"points": request.output}, figures)


def likelihood(request: LikelihoodRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write the log densities of given points at a time.

    Raises:
        CfmError: see the command line's exit codes.
    """
    solver = _solver(request.integration)
    catalog.build("divergences", request.divergence)
    catalog.build("bases", request.base)
    io.claim(request.output, force=where.force, inputs=_given(request.data))
    model = load(request.run, where, TANGENTS)
    time = _time(model, request.time, last=True)
    table = points.read_points(model, request.data)
    figures: dict[str, Any] = {"points": len(table), "time": time}
    if request.dry_run:
        return Outcome({}, figures, (f"would score {len(table)} points at time {time:g}",))
    found = model.log_prob(
        table.values,
        time,
        base=request.base,
        divergence=request.divergence,
        solver=solver,
        seed=where.seed,
    )
    columns = {"log_prob": found.values}
    if found.stochastic:
        columns["log_prob_se"] = found.error
    _write_columns(
        request,
        table,
        columns,
        results.facts(
            "likelihood",
            request.run,
            where,
            time=time,
            base=found.base,
            nfe=found.nfe,
            coordinates=found.coordinates,
        ),
    )
    mean = float(found.values.mean())
    dim = len(model.features) if model.chain.invertible else model.dim
    figures |= {
        "mean_log_prob": mean,
        "cross_entropy": -mean,
        "bits_per_dim": -mean / (dim * float(np.log(2))),
        "coordinates": found.coordinates,
        "base": found.base,
        "divergence": "hutchinson" if found.stochastic else "exact",
        "nfe": found.nfe,
    }
    if found.stochastic:
        figures["mean_log_prob_se"] = float(np.sqrt((found.error**2).sum()) / len(table))
    note = f"source density: {found.base}; log densities in {found.coordinates}"
    return Outcome({"log_prob": request.output}, figures, (note,))


def interpolate(request: InterpolateRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write points at each of some times: trajectories, or populations.

    Raises:
        CfmError: see the command line's exit codes.
    """
    solver = _solver(request.integration)
    _check_interpolate(request)
    io.claim(request.output, force=where.force, inputs=_given(request.data, request.cells))
    model = load(request.run, where)
    times = _asked_times(model, request)
    start = _time(model, request.start)
    for time in (*times, start):
        model.timeline.inner(time)
    clouds = points.starts(model, request, start, Streams(where.seed))
    figures = {"times": times, "points": sum(len(cloud) for cloud in clouds)}
    if request.dry_run:
        return Outcome({}, figures, (f"would write points at {len(times)} times",))
    frames, nfe = _carried(model, clouds, times, solver, population=request.population)
    said = results.facts("interpolate", request.run, where, nfe=nfe)
    results.write_frames(request.output, model, frames, said)
    figures |= {"rows": len(frames.points), "nfe": nfe}
    return Outcome({"trajectories": request.output}, figures)


def _solver(how: Integration) -> Solver:
    """The solver asked for."""
    return with_tolerances(how.solver, how.atol, how.rtol)


def _given(*paths: str) -> list[str]:
    """The paths that are not empty."""
    return [path for path in paths if path]


def _time(model: Model, text: str, *, last: bool = False) -> float:
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


def _observed(model: Model, against: str, time: float) -> Weighted | None:
    """Observed points at a time: of a file, or stored with the run."""
    if not against:
        cloud = model.cloud(time, held_out=True)
        return None if cloud is None else Weighted(np.asarray(cloud.points), cloud.weights)
    table = points.read_points(model, against)
    table = table.rows(_rows(model, table, time))
    return Weighted(model.encode(table.values), _weights(model, table))


def _rows(model: Model, table: Table, time: float) -> npt.NDArray[np.bool_]:
    """The rows of a table that were observed at a time; all where it does not say, or none was."""
    there = points.at_time(model, table, time)
    return there if there is not None and there.any() else np.ones(len(table), dtype=np.bool_)


def _weights(model: Model, table: Table) -> Array:
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


def _write_columns(
    request: LikelihoodRequest, table: Table, columns: dict[str, Array], facts: dict[str, Any]
) -> None:
    """Write new columns beside ids and annotations, or into a copy of the AnnData."""
    if results.is_anndata(request.output) and results.is_anndata(request.data):
        obs = {f"cfm_{name}": values for name, values in columns.items()}
        io.annotate(request.data, request.output, io.Annotation(obs=obs, uns={"cfm": facts}))
        return
    names = tuple(columns)
    kept = table.obs.drop(columns=[n for n in names if n in table.obs.columns])
    kept.index.name = "id"
    order = ("id", *(str(c) for c in kept.columns if c != "id"), *names)
    values = np.stack(list(columns.values()), axis=1)
    io.write_table(request.output, Table(values, names, kept, columns=order))


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
    model: Model, clouds: list[Cloud], times: list[float], solver: Solver, *, population: bool
) -> tuple[results.Frames, int]:
    """Rows for each time: from one cloud, or from the nearest snapshot before each time."""
    import pandas as pd

    places, stamps, frames, nfe = [], [], [], 0
    for cloud in clouds:
        own = [t for t in times if not population or _nearest_before(clouds, t) is cloud]
        if not own:
            continue
        x = np.asarray(cloud.points, dtype=np.float64)
        paths = model.trajectories(x, own, cloud.time, solver)
        nfe = max(nfe, paths.nfe)
        for time, frame in zip(own, paths.points, strict=True):
            places.append(frame)
            stamps.append(np.full(len(frame), time))
            frames.append(cloud.obs.assign(trajectory=cloud.obs.index))
    obs = pd.concat(frames)
    moments = np.concatenate(stamps)
    clash = {c: f"{c}_start" for c in ("time", "cfm_time") if c in obs.columns}
    obs = obs.rename(columns=clash).set_axis(results.unique_names(obs.index, moments), axis=0)
    stacked = np.concatenate(places)
    velocity = np.concatenate(
        [model.flow.velocity(p, float(s[0])) for p, s in zip(places, stamps, strict=True)]
    )
    return results.Frames(stacked, moments, obs, "trajectory", velocity), nfe


def _nearest_before(clouds: list[Cloud], time: float) -> Cloud:
    """The latest cloud that is not after a time."""
    return [cloud for cloud in clouds if cloud.time <= time][-1]
