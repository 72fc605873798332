"""Likelihood: log densities of given points, from a file to a file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from cfmcli import catalog, io
from cfmcli.data.arrays import Array
from cfmcli.data.blocks import GRAIN
from cfmcli.data.table import Table
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.choice import with_tolerances
from cfmcli.flows.dynamics.estimates import dynamics, grain
from cfmcli.flows.dynamics.flow import TANGENTS
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import LikelihoodRequest, Listener, Outcome, Runtime, Scoring
from cfmcli.scorer import LogProb, Scorer
from cfmcli.workflows import points, results, runtime, shards, verbs
from cfmcli.workflows.scorers import Scorers

FEW, LEAST = 0.1, 5
"""Smallest acceptable effective fraction and number of paths per point."""

Append = Callable[[Table, Mapping[str, Array], Mapping[str, Any]], io.Annotation | None]


def likelihood(request: LikelihoodRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write the log densities of given points at a time.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how, scoring = request.integration, request.scoring
    if scoring.sde and (how.solver or how.atol is not None or how.rtol is not None):
        raise ConfigError(
            "--sde brings its own steps and knows no --solver, --atol or --rtol here: say how many "
            "with --estimator sde:steps=400."
        )
    solver = with_tolerances(how.chosen, how.atol, how.rtol)
    estimator = dynamics(scoring, solver, torch.Generator())[0]
    catalog.build("bases", scoring.base)
    shards.claim(request, where, verbs.given(request.data))
    model = verbs.load(request.run, where, TANGENTS)
    table = points.open_points(model, request.data)
    observed = _observed(model, table.head, request)
    times, own = sorted(set(observed.tolist())), request.time == points.OWN
    given = request.condition.unguided()
    with points.conditions_of(model, table.head):
        told = model.conditions.told(table.head.obs, given, table.head.origin)
    size = grain(estimator, model.dim)
    part = shards.part(request.shard, len(table), max(size, GRAIN))
    figures: dict[str, Any] = {"points": len(part), "time": times if own else times[0]}
    if request.dry_run:
        at = ", ".join(f"{time:g}" for time in times)
        return Outcome({}, figures, (f"would score {len(part)} points at time {at}",))
    weights = verbs.point_weights(model, table.head)[part.own]
    scorer = model.scorer(times[0], told, scoring, solver, Streams(where.seed))
    scorers = Scorers.of_times(scorer, observed, size)
    scores: list[LogProb] = []
    with _writing(request, table.head.rows(part.own), _names(scorer, scoring)) as append:
        for piece in part.pieces(len(model.features)):
            block, streams = table.rows(piece.rows), shards.streams(where, piece, size)
            scores.append(scorers.of(block.values, piece.rows, streams).rows(piece.kept))
            said: dict[str, Any] = {
                "base": scores[-1].base,
                "nfe": max(score.nfe for score in scores),
                "coordinates": scores[-1].coordinates,
                "estimator": scoring.estimator or ("sde" if scoring.sde else "ode"),
            }
            more = said | {"time": points.OWN if own else times[0], "known": scoring.known}
            more |= results.chosen(given)
            more |= {"sde": scoring.sde} if scoring.sde else {}
            facts = results.facts("likelihood", request.run, where, **more)
            added = append(block.rows(piece.kept), _columns(scores[-1]), facts)
    found = LogProb.joined(scores)
    figures |= said | _summed(model, found, scoring, weights)
    shards.sign(request, where, [part], figures, mass=float(weights.sum()), added=added)
    _warn_of_few(found, scoring)
    note = f"known density: {found.base}; log densities in {found.coordinates}"
    return Outcome({"log_prob": request.output}, figures, (note,))


def _observed(model: Model, table: Table, request: LikelihoodRequest) -> Array:
    """Clock time at which each point is scored, shape (n,)."""
    if request.time == points.OWN:
        return points.own_times(model, table, "--time")
    time = verbs.clock_time(model, request.time, last=True)
    done = f"scored as if they were observed at {time:g}. Score each at its own with --time own."
    points.say_other_times(model, table, time, done)
    return np.full(len(table), time)


def _warn_of_few(found: LogProb, scoring: Scoring) -> None:
    """Warn if too few paths per point are effective."""
    counting = float(np.median(found.found.effective))
    if scoring.sde and counting < max(FEW * found.paths, min(LEAST, found.paths / 2)):
        runtime.warn(
            f"Of {found.paths} paths a point only {counting:.1f} count: the log densities are "
            "rough and their errors too small. Use more paths and steps (--estimator "
            "sde:paths=64,steps=400), or noise that vanishes at the ends (--sde gamma:level=1)."
        )


def _names(scorer: Scorer, scoring: Scoring) -> tuple[str, ...]:
    """Names of the columns to write."""
    error = ("log_prob_se",) if scorer.stochastic else ()
    return ("log_prob", *error, *(("log_prob_bound", "paths") if scoring.sde else ()))


def _columns(found: LogProb) -> dict[str, Array]:
    """All columns of log densities."""
    names = ("log_prob", "log_prob_se", "log_prob_bound", "paths")
    return dict(zip(names, found.found.columns, strict=True))


def _summed(model: Model, found: LogProb, scoring: Scoring, weights: Array) -> dict[str, Any]:
    """Weighted means over the points."""
    mass = weights / weights.sum()
    mean = float(mass @ found.values)
    dim = len(model.features) if model.chain.invertible else model.dim
    divergence = catalog.build("divergences", scoring.divergence).stochastic(model.dim)
    figures = {
        "mean_log_prob": mean,
        "cross_entropy": -mean,
        "bits_per_dim": -mean / (dim * float(np.log(2))),
        "divergence": "hutchinson" if divergence else "exact",
    }
    if found.stochastic:
        figures["mean_log_prob_se"] = float(np.sqrt(mass**2 @ found.error**2))
    if scoring.sde:
        figures["mean_bound"] = float(mass @ found.found.bound)
        figures["median_paths"] = float(np.median(found.found.effective))
    return figures


@contextmanager
def _writing(request: LikelihoodRequest, head: Table, names: Sequence[str]) -> Iterator[Append]:
    """Write new columns beside ids and annotations, or into a copy of the AnnData, atomically.

    Yields a function that takes points, columns and metadata for `uns["cfm"]`; it returns what was
    added to an AnnData input. For a shard, the AnnData holds only the shard's points.

    Args:
        request: the request, with input and output.
        head: the points to write, without their values.
        names: names of the columns.
    """
    if not (results.is_anndata(request.output) and results.is_anndata(request.data)):
        with results.writing_columns(request.output, head, names) as rows:
            yield lambda table, columns, facts: rows(table, columns)
        return
    alone = request.shard is not None
    with (
        io.creating(request.output, head.obs, head.features)
        if alone
        else io.extending(request.data, request.output)
    ) as file:

        def beside(
            table: Table, columns: Mapping[str, Array], facts: Mapping[str, Any]
        ) -> io.Annotation:
            obs = {f"cfm_{name}": columns[name] for name in names}
            added = io.Annotation(obs=obs, uns={"cfm": dict(facts)})
            file.append(len(table), added, table.values if alone else None)
            return added

        yield beside
