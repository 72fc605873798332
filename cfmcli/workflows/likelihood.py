"""Likelihood: log densities of given points, from a file to a file."""

from typing import Any

import numpy as np
import torch

from cfmcli import catalog, io
from cfmcli.data.table import Array, Table
from cfmcli.flows.dynamics import TANGENTS
from cfmcli.flows.stochastic import dynamics
from cfmcli.model import LogProb, Model, with_tolerances
from cfmcli.requests import LikelihoodRequest, Listener, Outcome, Runtime, Scoring
from cfmcli.workflows import points, results, verbs


def likelihood(request: LikelihoodRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write the log densities of given points at a time.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how, scoring = request.integration, request.scoring
    solver = with_tolerances(how.chosen, how.atol, how.rtol)
    dynamics(scoring, solver, torch.Generator())
    catalog.build("bases", scoring.base)
    io.claim(request.output, force=where.force, inputs=verbs.given(request.data))
    model = verbs.load(request.run, where, TANGENTS)
    time = verbs.clock_time(model, request.time, last=True)
    table = points.read_points(model, request.data)
    given = request.condition.unguided()
    told = model.conditions.told(table.obs, given, table.origin)
    figures: dict[str, Any] = {"points": len(table), "time": time}
    if request.dry_run:
        return Outcome({}, figures, (f"would score {len(table)} points at time {time:g}",))
    found = model.log_prob(
        table.values, time, obs=told, scoring=scoring, solver=solver, seed=where.seed
    )
    said: dict[str, Any] = {
        "base": found.base,
        "nfe": found.nfe,
        "coordinates": found.coordinates,
    }
    said |= {"estimator": scoring.estimator or ("sde" if scoring.sde else "ode")}
    more = said | {"known": scoring.known} | results.chosen(given)
    more |= {"sde": scoring.sde} if scoring.sde else {}
    facts = results.facts("likelihood", request.run, where, time=time, **more)
    _write_columns(request, table, _scored(found, scoring), facts)
    figures |= said | _summed(model, found, scoring)
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


def _summed(model: Model, found: LogProb, scoring: Scoring) -> dict[str, Any]:
    """Means over the points."""
    mean = float(found.values.mean())
    dim = len(model.features) if model.chain.invertible else model.dim
    divergence = catalog.build("divergences", scoring.divergence).stochastic(model.dim)
    figures = {
        "mean_log_prob": mean,
        "cross_entropy": -mean,
        "bits_per_dim": -mean / (dim * float(np.log(2))),
        "divergence": "hutchinson" if divergence else "exact",
    }
    if found.stochastic:
        figures["mean_log_prob_se"] = float(np.sqrt((found.error**2).sum()) / len(found.values))
    if scoring.sde:
        figures["mean_bound"] = float(found.found.bound.mean())
        figures["median_paths"] = float(np.median(found.found.effective))
    return figures


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
