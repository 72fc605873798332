"""Fate: probabilities of the classes that points reach at a later time, written to a file."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli import io, metrics
from cfmcli.data.arrays import Array
from cfmcli.data.neighbours import nearest, tree
from cfmcli.data.table import Table
from cfmcli.errors import ConfigError, DataError
from cfmcli.flows.dynamics.flow import CHUNK
from cfmcli.flows.objective.reading import Guide
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import FateRequest, Listener, Outcome, Progress, Runtime
from cfmcli.workflows import perturb, points, results, runtime, targets, verbs

if TYPE_CHECKING:
    import pandas as pd

PREFIX, PROBABILITIES, NAMES = "p_", "cfm_fate_probs", "cfm_fate_names"


def fate(request: FateRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write the probabilities of the classes that given points reach at a later time.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    inputs = verbs.given(request.data, request.vote.against)
    io.claim(request.output, force=where.force, inputs=inputs)
    model = verbs.load(request.run, where)
    end = verbs.clock_time(model, request.end, last=True)
    table = points.read_points(model, request.data)
    given = perturb.changed(model, table, request.changes)
    starts = _starts(model, table, request)
    ballot = targets.ballot(model, request.vote, end, Streams(where.seed))
    teller = Teller(model, request, where, ballot, end)
    classes = ballot.among.classes
    figures: dict[str, Any] = {
        "points": len(table),
        "from": sorted(set(starts.tolist())),
        "to": end,
        "label_key": request.vote.key,
        "neighbours": ballot.voters,
        "draws": request.paths,
        "spread": {f"{start:g}": teller.spread(start) for start in sorted(set(starts.tolist()))},
    }
    true = _truth(table, request.truth, classes, starts != end) if request.truth else None
    perturb.warn_of_losses(model, table, request.changes)
    if request.dry_run:
        return Outcome({}, figures, (f"would tell the fates of {len(table)} points at {end:g}",))
    p, nfe = teller.tell(given, starts, listen)
    mass = verbs.point_weights(model, table)
    trips = [(start, end) for start in figures["from"]]
    moves = how.told(model.flow, trips, request.condition.guidance)
    said = _facts(figures) | verbs.steps(moves)
    _write(request, table, p, classes, results.facts("fate", request.run, where, **said))
    figures |= moves | {
        "classes": dict(zip(classes, np.average(p, axis=0, weights=mass).tolist(), strict=True)),
        "nfe": nfe,
        "mean_entropy": float(np.average(metrics.entropy(p), weights=mass)),
        "calibration": ballot.figures,
    }
    if request.changes:
        gap = p - teller.tell(table, starts, listen)[0]
        shift = np.average(gap, axis=0, weights=mass)
        figures["shift"] = dict(zip(classes, shift.tolist(), strict=True))
    if true is not None:
        known = true.any(axis=1)
        own = mass[known]
        figures["truth"] = targets.scored(p[known], true[known], ballot.among.frequencies, own)
    return Outcome({"fates": request.output}, figures, teller.notes)


@dataclass(frozen=True, eq=False)
class Teller:
    """Computes fates: carries points to the end and takes votes of labelled points there.

    Args:
        model: the model whose flow carries them.
        request: the request.
        where: runtime settings, including the seed.
        ballot: the labelled points that vote at the end.
        end: clock time of the end.
    """

    model: Model
    request: FateRequest
    where: Runtime
    ballot: targets.Ballot
    end: float

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes to the user on how fates are averaged."""
        if not self.model.conditions.width or self.request.integration.sde:
            return ()
        return (
            "the run is conditional: each fate is that of one path, of the point itself (--spread "
            "1); for the mean of many, give --sde EPS where the run has a score",
        )

    def spread(self, start: float) -> int:
        """Number of observed points near a start whose fates are averaged; 1 for the point alone.

        The default is n^(4/5) / 3 of n points if dynamics are deterministic and unconditional: the
        order at which regression on a line of points has the smallest error.

        Reference: Györfi et al. (2002), doi 10.1007/b97848, theorem 6.2, for the order.

        Raises:
            ConfigError: if neighbours are requested but there are none.
        """
        cloud, wanted = self.model.cloud(start, held_out=True), self.request.spread
        alone = cloud is None or self.model.conditions.width or start == self.end
        if wanted > 1 and start != self.end and (cloud is None or self.model.conditions.width):
            why = f"stores no points at {start:g}" if cloud is None else "is conditional"
            raise ConfigError(
                f"--spread {wanted}: the run {why}, so there are no neighbours to ask: leave "
                "--spread out, or give --sde EPS where the run has a score."
            )
        if cloud is None or alone:
            return 1
        usual = 1 if self.request.integration.sde else max(1, round(len(cloud) ** 0.8 / 3))
        return min(wanted or usual, len(cloud))

    def tell(self, table: Table, starts: Array, listen: Listener) -> tuple[Array, int]:
        """Compute class probabilities, shape (n, C), and the largest number of field evaluations.

        Args:
            table: points in data units.
            starts: clock time of each, shape (n,).
            listen: receives progress.
        """
        x = self.model.encode(table.values)
        p = np.empty((len(table), len(self.ballot.among.classes)))
        done = most = 0
        for start in sorted(set(starts.tolist())):
            rows = np.flatnonzero(starts == start)
            cloud, spread = self.model.cloud(start, held_out=True), self.spread(start)
            if cloud is None or spread == 1:
                own = table.rows(rows)
                with points.conditions_of(self.model, own):
                    guide = self.model.guide(own.obs, self.request.condition, own.origin)
                p[rows], nfe = self._fates(x[rows], start, guide)
            else:
                near = np.asarray(cloud.points, dtype=np.float64)
                fates, nfe = self._fates(near, start, None)
                voters = nearest(tree(near), x[rows], spread)
                mass = cloud.weights[voters]
                mass /= mass.sum(axis=1, keepdims=True)
                p[rows] = np.einsum("ns,nsc->nc", mass, fates[voters])
            done, most = done + len(rows), max(most, nfe)
            listen(Progress(done, len(table), f"from {start:g}"))
        # Rounding must not make a mean of certain fates uncertain.
        return p / p.sum(axis=1, keepdims=True), most

    def _fates(self, x: Array, start: float, guide: Guide | None) -> tuple[Array, int]:
        """Mean votes at the end over all paths, shape (n, D) -> (n, C), and the NFE."""
        if start == self.end:
            return self.ballot.votes_of_others(x), 0
        total, nfe = np.zeros((len(x), len(self.ballot.among.classes))), 0
        for seed, count in _blocks(self.request.paths, len(x), self.where.seed):
            how = verbs.motion_of(self.request.integration, replace(self.where, seed=seed))
            many = guide and Guide(guide.values.repeat(count, 1), guide.guidance)
            paths = how.paths(self.model.flow, np.tile(x, (count, 1)), (start, self.end), many)
            total += self.ballot.votes(paths.points[-1]).reshape(count, len(x), -1).sum(axis=0)
            nfe = max(nfe, paths.nfe)
        return total / self.request.paths, nfe


def _blocks(draws: int, size: int, seed: int) -> Iterator[tuple[int, int]]:
    """Split draws into blocks carried at once; yield the seed of their noise and their number."""
    most = max(1, CHUNK // size)
    for block, first in enumerate(range(0, draws, most)):
        own = int(Streams(seed).numpy("draws", block).integers(2**31))
        yield own, min(most, draws - first)


def _starts(model: Model, table: Table, request: FateRequest) -> Array:
    """Clock time of every point: as given, its own, or the first.

    Raises:
        ConfigError: if no time is given and the first is that of noise.
    """
    key = model.recipe.time_key
    own = request.start == points.OWN or (not request.start and key in table.obs.columns)
    if model.gaussian_source and not request.start and not own:
        first, last = model.timeline.times
        raise ConfigError(
            f"{table.origin}: the run starts from noise at {first:g}, and its points are not said "
            f"to be that: give --from {first:g} for points of the noise, or --from {last:g} for "
            "points such as the run learnt."
        )
    if not own:
        return np.full(len(table), verbs.clock_time(model, request.start))
    return points.own_times(model, table)


def _facts(figures: dict[str, Any]) -> dict[str, Any]:
    """Metadata of the result."""
    kept = ("to", "label_key", "neighbours", "draws")
    return {name: figures[name] for name in kept}


def _truth(table: Table, key: str, classes: tuple[str, ...], early: npt.NDArray[np.bool_]) -> Array:
    """One-hot classes that points actually reached, shape (n, C); zeros if unknown.

    Points already at the end are not predicted, so they count as unknown.
    """
    io.require(table, key)
    labels = np.where(early, targets.names(table.obs[key]), "").tolist()
    if not early.all():
        runtime.warn(
            f"{table.origin}: {int((~early).sum())} points are at the end already, of whom "
            f"nothing is foretold: the scores of --truth {key} leave them out."
        )
    strange = sorted(set(labels) - {"", *classes})
    if strange or not any(labels):
        got = f"'{strange[0]}'" if strange else "nothing"
        raise DataError(
            f"{table.origin}: --truth {key} holds {got}; expected classes among "
            f"{', '.join(classes)}."
        )
    return np.array([[label == name for name in classes] for label in labels], dtype=np.float64)


def _write(
    request: FateRequest, table: Table, p: Array, classes: tuple[str, ...], facts: dict[str, Any]
) -> None:
    """Write probabilities as columns beside the ids, or into a copy of the AnnData."""
    import pandas as pd

    columns = {f"{PREFIX}{name}": p[:, k] for k, name in enumerate(classes)}
    columns["entropy"] = metrics.entropy(p)
    if not (results.is_anndata(request.output) and results.is_anndata(request.data)):
        results.write_columns(request.output, table, columns)
        return
    likely = pd.Categorical(np.array(classes)[p.argmax(axis=1)], categories=list(classes))
    added = io.Annotation(
        obs={"cfm_fate": likely, "cfm_fate_entropy": columns["entropy"]},
        obsm={PROBABILITIES: p},
        uns={NAMES: np.array(classes, dtype=object), "cfm": facts},
    )
    io.annotate(request.data, request.output, added)


def read(path: str, ids: "pd.Index[Any]") -> tuple[tuple[str, ...], Array]:
    """Read the fates of some points from a file that `fate` wrote.

    Args:
        path: the file.
        ids: ids of the m points.

    Returns:
        Names of C classes, and probabilities of shape (m, C).

    Raises:
        DataError: if it holds no fates, or lacks some of the points.
    """
    if results.is_anndata(path):
        table = io.read_table(path, io.Selection(use_rep=PROBABILITIES))
        classes = io.names_in_uns(path, NAMES)
    else:
        table = io.read_table(path, io.Selection(features=f"{PREFIX}*"))
        table = _told(table)
        classes = [name.removeprefix(PREFIX) for name in table.features]
    rows = table.obs.index.astype(str).get_indexer(ids.astype(str))
    if (rows < 0).any():
        raise DataError(
            f"{path}: it lacks the fates of {int((rows < 0).sum())} of {len(ids)} points, the "
            f"first is '{ids[rows < 0][0]}': run cfm fate on the same points."
        )
    return tuple(classes), np.asarray(table.values[rows], dtype=np.float64)


def _told(table: Table) -> Table:
    """Select the fate columns among those with their prefix: the last ones that sum to 1.

    Raises:
        DataError: if there are none.
    """
    values = np.asarray(table.values, dtype=np.float64)
    sums = np.cumsum(values[:, ::-1], axis=1)
    whole = np.flatnonzero(np.isclose(sums, 1, atol=1e-3).all(axis=0))
    if not len(whole):
        raise DataError(
            f"{table.origin}: no columns of fates that sum to 1 among "
            f"{', '.join(table.features)}: give what cfm fate wrote."
        )
    first = len(table.features) - 1 - int(whole[0])
    return table.with_values(values[:, first:], table.features[first:])
