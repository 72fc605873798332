"""Transport: carries given points from one time to another, from a file to a file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import field as member
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cfmcli import io
from cfmcli.data.arrays import Array, IntArray
from cfmcli.data.table import Backed, Table
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.paths import Paths
from cfmcli.flows.objective.reading import Guide
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
    score,
    shards,
    verbs,
)
from cfmcli.workflows.journeys import Journey
from cfmcli.workflows.moved import Moved, writing_moved


def transport(request: TransportRequest, where: Runtime, listen: Listener) -> Outcome:
    """Carry given points from one time to another and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    if request.max_points < 2:
        raise ConfigError(f"--max-points {request.max_points}: expected at least 2.")
    if request.against and (request.shard or request.start == points.OWN):
        raise ConfigError(
            "--against scores all points of one time at once: leave it out of shards, and of "
            "--from own."
        )
    shards.claim(request, where, verbs.given(request.data, request.against))
    model = verbs.load(request.run, where, bf16=request.integration.bf16)
    own = request.start == points.OWN
    end = verbs.clock_time(model, request.end, last=True)
    table = points.open_points(model, request.data)
    start = points.OWN if own else verbs.clock_time(model, request.start)
    starts = points.each_time(model, table.head, start)
    times = sorted(set(starts.tolist()))
    with points.conditions_of(model, table.head):
        guide = model.guide(table.head.obs, request.condition, table.head.origin)
    first = table.rows(slice(0, 1))
    perturb.changed(model, first, request.changes)
    part = shards.part(request.shard, len(table), shards.grain(model, len(table)))
    observed = None if request.shard or own else _observed(model, request, end)
    points.say_if_noise(model, request.data, request.start)
    if not own:
        _say_other_times(model, table.head, times[0])
    perturb.warn_of_losses(model, first, request.changes)
    about: dict[str, Any] = {"from": times if own else times[0], "to": end}
    figures: dict[str, Any] = {"points": len(part), **about}
    if request.dry_run:
        line = f"would carry {len(part)} points from {request.start or times[0]} to {end:g}"
        return Outcome({}, figures, (line,))
    carrier = Carrier(Journey(model, how, starts, end), guide, request.changes)
    there = starts != end if own else _rows(model, table.head, times[0])
    rng = Streams(where.seed).numpy("scores")
    chosen = _some(np.flatnonzero(there), request.max_points, rng)
    rows, mass = there[part.own], verbs.point_weights(model, table.head)[part.own]
    tally = Tally(chosen if observed else chosen[:0], perturb.Shifts(model, mass * rows))
    added = _carried(request, where, carrier, table, part, tally)
    figures |= tally.figures(mass * rows) | carrier.told
    after = tally.masses(mass)
    if model.flow.grows and not (request.shard or own):
        ratio = after[rows].sum() / mass[rows].sum()
        figures |= growth.totals(model, (times[0], end), ratio)
    if observed is not None:
        carried = Weighted(tally.ends, after[chosen])
        figures |= _scores(carried, observed.some(request.max_points, rng))
    shards.sign(request, where, [part], figures, mass=float(mass[rows].sum()), added=added)
    return Outcome({"points": request.output}, figures)


def _carried(
    request: TransportRequest,
    where: Runtime,
    carrier: "Carrier",
    table: Backed,
    part: shards.Part,
    tally: "Tally",
) -> io.Annotation | None:
    """Carry, summarise and write the points of a shard piece by piece.

    Returns:
        The additions to an AnnData that was the input.
    """
    journey, head, added = carrier.journey, table.head, None
    told = {
        "start": points.OWN if request.start == points.OWN else journey.times[0],
        "end": journey.end,
        **results.chosen(request.condition, request.integration),
        **perturb.told(request.changes),
        **verbs.steps(carrier.told),
    }
    model = journey.model
    with writing_moved(request.output, request.data, model, head.rows(part.own)) as append:
        for piece in part.pieces(max(1, len(model.chain.genes))):
            moved = tally.heard(piece, *carrier.carry(table, piece))
            said = results.facts("transport", request.run, where, **told, nfe=tally.nfe)
            added = append(head.rows(piece.own), moved, said)
    return added


@dataclass(frozen=True)
class Carrier:
    """Carries the points of a table.

    Args:
        journey: motion, start times and end time.
        guide: conditions of all points.
        changes: changes of features to apply first.
    """

    journey: Journey
    guide: Guide | None
    changes: Sequence[str]

    @cached_property
    def told(self) -> dict[str, Any]:
        """Report of the steps chosen for the trips, and what is known of their error."""
        own, guidance = self.journey, self.guide.guidance if self.guide else 1.0
        return own.how.told(own.model.flow, [(time, own.end) for time in own.times], guidance)

    def carry(self, table: Backed, piece: shards.Part) -> tuple[Moved, Paths]:
        """Carry the points of a piece; return them with their paths."""
        model, block = self.journey.model, table.rows(piece.rows)
        x = model.encode(perturb.changed(model, block, self.changes).values)
        guide = self.guide and self.guide.of(piece.rows)
        paths, velocity, grown = self.journey.of(x, piece, guide)
        moved = Moved.of(model, (x, paths.points[-1], velocity), piece.kept, grown, len(table))
        if self.changes:
            before = model.encode(block.values.astype(np.float64))
            without = self.journey.of(before, piece, guide).paths.points[-1][piece.kept]
            moved = replace(moved, changes=perturb.differences(model, moved, without))
            moved = replace(moved, before=before[piece.kept])
        return moved, paths.rows(piece.kept)


@dataclass
class Tally:
    """Running summary of transported points.

    Args:
        chosen: indices of the points to score, ascending.
        shifts: effects of changed features.
    """

    chosen: IntArray
    shifts: perturb.Shifts
    nfe: int = 0
    _costs: list[Array] = member(default_factory=list)
    _energies: list[Array] = member(default_factory=list)
    _growths: list[Array] = member(default_factory=list)
    _ends: list[Array] = member(default_factory=list)

    def heard(self, piece: shards.Part, moved: Moved, paths: Paths) -> Moved:
        """Add a piece to the summary; return its points."""
        self.nfe = max(self.nfe, paths.nfe)
        self._costs.append(((moved.end - moved.start) ** 2).sum(axis=1))
        self._energies.append(paths.energy)
        if paths.log_mass is not None:
            self._growths.append(paths.log_mass[-1])
        first, last = np.searchsorted(self.chosen, (piece.start, piece.stop))
        self._ends.append(moved.end[self.chosen[first:last] - piece.start])
        self.shifts.add(moved)
        return moved

    def figures(self, mass: Array) -> dict[str, Any]:
        """Mean cost and energy over points with mass, if any."""
        means = {}
        if mass.any():
            costs, energies = np.concatenate(self._costs), np.concatenate(self._energies)
            cost = float(np.average(costs, weights=mass))
            means = {"mean_cost": cost, **verbs.energy(energies, mass)}
        return {**self.shifts.figures(), "nfe": self.nfe, **means}

    def masses(self, start: Array) -> Array:
        """Final masses of the points, shape (n,), given the initial ones."""
        return start * np.exp(np.concatenate(self._growths)) if self._growths else start

    @property
    def ends(self) -> Array:
        """End points of the points to score."""
        return np.concatenate(self._ends)


def _say_other_times(model: Model, table: Table, start: float) -> None:
    """Warn if a file holds points of other times than the start."""
    done = (
        f"carried as if they were observed at {start:g}. To carry each from its own time, use "
        "--from own; to choose points, cfm interpolate with --where."
    )
    points.say_other_times(model, table, start, done)


class Weighted(NamedTuple):
    """Points in flow coordinates, shape (n, D), with weights of shape (n,)."""

    points: Array
    weights: Array

    def some(self, most: int, rng: np.random.Generator) -> "Weighted":
        """Random subset of at most a number of the points."""
        rows = _some(np.arange(len(self.points)), most, rng)
        return Weighted(self.points[rows], self.weights[rows])


def _some(rows: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    """Random subset of at most a number of rows, in order."""
    return rows[np.sort(rng.permutation(len(rows))[:most])]


def _observed(model: Model, request: TransportRequest, time: float) -> Weighted | None:
    """Points observed at a time: from a file, or stored with the run and of the chosen class."""
    if not request.against:
        cloud = model.cloud(time, held_out=True)
        if cloud is None or request.condition.covariates:
            return None
        cloud = model.source.of_class(cloud, request.condition.label)
        return Weighted(np.asarray(cloud.points), cloud.weights)
    table = points.observed(model, points.read_points(model, request.against), time)
    return Weighted(model.encode(table.values), verbs.point_weights(model, table))


def _rows(model: Model, table: Table, time: float) -> npt.NDArray[np.bool_]:
    """Mask of a table's rows observed at a time; all if the table has no times or none match."""
    there = points.at_time(model, table, time)
    return there if there is not None and there.any() else np.ones(len(table), dtype=np.bool_)


def _scores(ours: Weighted, theirs: Weighted) -> dict[str, Any]:
    """Compute distances between carried and observed points."""
    return {
        **score.distances(ours.points, theirs.points, ours.weights, theirs.weights),
        "scored_points": [len(ours.points), len(theirs.points)],
        "scored_in": "flow coordinates",
    }
