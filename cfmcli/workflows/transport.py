"""Transport: given points carried from one time to another, from a file to a file."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cfmcli.data.table import Array, Table
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.flow import CHUNK
from cfmcli.flows.dynamics.mass import changes
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import (
    Listener,
    Outcome,
    Runtime,
    TransportRequest,
)
from cfmcli.workflows import (
    growth,
    perturb,
    points,
    results,
    runtime,
    score,
    shards,
    verbs,
)
from cfmcli.workflows.moved import Moved, write_moved


def transport(request: TransportRequest, where: Runtime, listen: Listener) -> Outcome:
    """Carry given points from one time to another and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    if request.max_points < 2:
        raise ConfigError(f"--max-points {request.max_points}: expected at least 2.")
    if request.shard and request.against:
        raise ConfigError("--against scores all points at once: leave it out of shards.")
    shards.claim(request, where, verbs.given(request.data, request.against))
    model = verbs.load(request.run, where)
    start, end = (
        verbs.clock_time(model, request.start),
        verbs.clock_time(model, request.end, last=True),
    )
    table = points.read_points(model, request.data)
    guide = model.guide(table.obs, request.condition, table.origin)
    given = perturb.changed(model, table, request.changes)
    part = shards.part(request.shard, len(table), shards.grain(model, len(table)))
    observed = None if request.shard else _observed(model, request, end)
    _warn_of_other_times(model, table, start)
    perturb.warn_of_losses(model, table, request.changes)
    figures: dict[str, Any] = {"points": len(part), "from": start, "to": end}
    if request.dry_run:
        return Outcome({}, figures, (f"would carry {len(part)} points {start:g} -> {end:g}",))
    x, own = model.encode(given.values[part.rows]), guide and guide.of(part.rows)
    how = how.after(part.blocks(CHUNK))
    paths = how.paths(model.flow, x, (start, end), own)
    velocity = model.flow.velocity(x, start, forward=end >= start, guide=own)
    grown = changes(model.flow, x, (start, end), paths, own)
    moved = Moved.of(model, (x, paths.points[-1], velocity), part.kept, grown)
    if request.changes:
        before = model.encode(table.values[part.rows].astype(np.float64))
        without = how.paths(model.flow, before, (start, end), own).points[-1][part.kept]
        moved = replace(moved, changes=perturb.differences(model, moved, without))
        figures |= perturb.shifts(model, moved, before[part.kept])
    said = results.facts(
        "transport",
        request.run,
        where,
        start=start,
        end=end,
        nfe=paths.nfe,
        **results.chosen(request.condition, request.integration),
        **perturb.told(request.changes),
    )
    written = table.rows(part.own)
    added = write_moved(request.output, request.data, model, written, moved, said)
    rows, mass = _rows(model, table, start)[part.own], verbs.point_weights(model, table)[part.own]
    figures |= {"nfe": paths.nfe, **_means(moved, paths.energy[part.kept], mass * rows)}
    after = paths.rows(part.kept).masses(-1, mass)
    if grown and not request.shard:
        ratio = after[rows].sum() / mass[rows].sum()
        figures |= growth.totals(model, (start, end), ratio)
    if observed is not None:
        carried = Weighted(moved.end[rows], after[rows])
        figures |= _scores(carried, observed, request.max_points, Streams(where.seed))
    shards.sign(request, where, [part], figures, mass=float(mass[rows].sum()), added=added)
    return Outcome({"points": request.output}, figures)


def _means(moved: Moved, energy: Array, mass: Array) -> dict[str, float]:
    """Mean cost and energy, over the points with mass, where there are some."""
    if not mass.any():
        return {}
    costs = ((moved.end - moved.start) ** 2).sum(axis=1)
    return {"mean_cost": float(np.average(costs, weights=mass)), **verbs.energy(energy, mass)}


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
    table = points.observed(model, points.read_points(model, request.against), time)
    return Weighted(model.encode(table.values), verbs.point_weights(model, table))


def _rows(model: Model, table: Table, time: float) -> npt.NDArray[np.bool_]:
    """The rows of a table that were observed at a time; all where it does not say, or none was."""
    there = points.at_time(model, table, time)
    return there if there is not None and there.any() else np.ones(len(table), dtype=np.bool_)


def _scores(x: Weighted, y: Weighted, most: int, streams: Streams) -> dict[str, Any]:
    """Distances between carried and observed points, on at most so many of each."""
    rng = streams.numpy("scores")
    ours, theirs = x.some(most, rng), y.some(most, rng)
    return {
        **score.distances(ours.points, theirs.points, ours.weights, theirs.weights),
        "scored_points": [len(ours.points), len(theirs.points)],
        "scored_in": "flow coordinates",
    }
