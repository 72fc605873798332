"""Likelihood: log densities of given points, from a file to a file."""

from typing import Any

import numpy as np
import torch

from cfmcli import catalog, io
from cfmcli.data.blocks import GRAIN
from cfmcli.data.table import Array, Table
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.flow import TANGENTS
from cfmcli.flows.dynamics.stochastic import dynamics, grain
from cfmcli.model import LogProb, Model, with_tolerances
from cfmcli.requests import LikelihoodRequest, Listener, Outcome, Runtime, Scoring
from cfmcli.workflows import points, results, runtime, shards, verbs

FEW, LEAST = 0.1, 5
"""Share and number of the paths of a point that should count, at least."""


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
    time = verbs.clock_time(model, request.time, last=True)
    table = points.read_points(model, request.data)
    given = request.condition.unguided()
    told = model.conditions.told(table.obs, given, table.origin)
    block = grain(estimator, model.dim)
    part = shards.part(request.shard, len(table), max(block, GRAIN))
    figures: dict[str, Any] = {"points": len(part), "time": time}
    if request.dry_run:
        return Outcome({}, figures, (f"would score {len(part)} points at time {time:g}",))
    company = model.log_prob(
        table.values[part.rows],
        time,
        obs=told.iloc[part.rows],
        scoring=scoring,
        solver=solver,
        streams=shards.streams(where, part, block),
    )
    found, weights = company.rows(part.kept), verbs.point_weights(model, table)[part.own]
    said: dict[str, Any] = {
        "base": found.base,
        "nfe": found.nfe,
        "coordinates": found.coordinates,
    }
    said |= {"estimator": scoring.estimator or ("sde" if scoring.sde else "ode")}
    more = said | {"known": scoring.known} | results.chosen(given)
    more |= {"sde": scoring.sde} if scoring.sde else {}
    facts = results.facts("likelihood", request.run, where, time=time, **more)
    added = _write_columns(request, table.rows(part.own), _scored(found, scoring), facts)
    figures |= said | _summed(model, found, scoring, weights)
    shards.sign(request, where, [part], figures, mass=float(weights.sum()), added=added)
    enough = max(FEW * found.paths, min(LEAST, found.paths / 2))
    if scoring.sde and figures["median_paths"] < enough:
        runtime.warn(
            f"Of {found.paths} paths a point only {figures['median_paths']:.1f} count: the log "
            "densities are rough and their errors too small. Use more paths and steps (--estimator "
            "sde:paths=64,steps=400), or noise that vanishes at the ends (--sde gamma:level=1)."
        )
    note = f"known density: {found.base}; log densities in {found.coordinates}"
    return Outcome({"log_prob": request.output}, figures, (note,))


def _scored(found: LogProb, scoring: Scoring) -> dict[str, Array]:
    """The columns of log densities."""
    columns = {"log_prob": found.values}
    if found.stochastic:
        columns["log_prob_se"] = found.error
    if scoring.sde:
        columns |= {"log_prob_bound": found.found.bound, "paths": found.found.effective}
    return columns


def _summed(model: Model, found: LogProb, scoring: Scoring, weights: Array) -> dict[str, Any]:
    """Means over the points, by their weights."""
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


def _write_columns(
    request: LikelihoodRequest, table: Table, columns: dict[str, Array], facts: dict[str, Any]
) -> io.Annotation | None:
    """Write new columns beside ids and annotations, or into a copy of the AnnData.

    Returns:
        What was added to the AnnData; of a shard's points it holds those alone.
    """
    if results.is_anndata(request.output) and results.is_anndata(request.data):
        obs = {f"cfm_{name}": values for name, values in columns.items()}
        added = io.Annotation(obs=obs, uns={"cfm": facts})
        if request.shard:
            io.write_anndata(request.output, table.values, table.obs, table.features, added)
        else:
            io.annotate(request.data, request.output, added)
        return added
    results.write_columns(request.output, table, columns)
    return None
