"""Fit: from tables to a run folder; can be stopped and resumed at any block of steps."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from cfmcli import catalog, io, provenance
from cfmcli.data.table import Table
from cfmcli.errors import CheckpointError, ConfigError, Interrupted
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.ranks import Ranks
from cfmcli.flows.training.record import Record
from cfmcli.flows.training.trainer import Trainer
from cfmcli.model import Model
from cfmcli.recipe import AUTO, Recipe
from cfmcli.requests import FitRequest, Listener, Outcome, Progress, Runtime
from cfmcli.specs import parse_chain
from cfmcli.workflows import (
    assemble,
    couplings,
    prepare,
    rectify,
    results,
    runtime,
    summary,
    team,
    training,
)
from cfmcli.workflows.bending import settles
from cfmcli.workflows.run import Run

SAVE_EVERY = 5.0


def ignore(progress: Progress) -> None:
    """Ignore progress."""


def learn(
    recipe: Recipe, tables: Sequence[Table], where: Runtime, listen: Listener = ignore
) -> Model:
    """Fit a model to tables in memory.

    Args:
        recipe: settings of the fit.
        tables: points, in the order of the recipe's inputs.
        where: device and threads.
        listen: receives progress.

    Raises:
        CfmError: see `fit`.
    """
    device = _device(recipe, where)
    if recipe.from_run:
        recipe = rectify.inherited(recipe)
    check_specs(recipe)
    if recipe.from_run:
        return trained(rectify.prepared(recipe), device, listen)
    prepared = prepare.prepared(recipe, tables)
    if tables[0].columns:
        prepare.free_names(prepared.recipe, tables[0])
    return trained(prepared, device, listen)


def trained(prepared: prepare.Prepared, device: torch.device, listen: Listener = ignore) -> Model:
    """Train a model on prepared data.

    Args:
        prepared: the data with their recipe.
        device: device of training.
        listen: receives progress.
    """
    recipe = prepared.recipe
    job = training.job(prepared, Streams(recipe.seed), device)
    if job.trainer:
        for record in job.trainer.run():
            listen(_progress(record, job.trainer.end))
    return job.model()


def write_model(run: Run, model: Model, steps: int | None = None) -> None:
    """Write a model that was fitted in memory, and its steps if known, as a run folder."""
    if steps is None and model.recipe.steps != AUTO:
        steps = int(model.recipe.steps)
    points = {cloud.label: len(cloud) for cloud in model.clouds}
    facts: dict[str, Any] = {"steps": steps, "points": points, "holdout": []}
    reference = catalog.preset(model.recipe.method).reference
    origin = provenance.record("", model.recipe.seed, {}, [reference])
    run.write(model, "", {**facts, "dimension": model.dim}, origin)


def fit(recipe: Recipe, request: FitRequest, where: Runtime, listen: Listener) -> Outcome:
    """Fit a model to files and write its run folder.

    Args:
        recipe: settings of the fit, including its inputs.
        request: the run folder, and whether to resume or only plan.
        where: device, threads, permission to overwrite.
        listen: receives progress.

    Raises:
        ConfigError: inconsistent options.
        DataError: unusable inputs.
        NumericsError: training became non-finite.
        OutputExistsError: the run exists.
        CheckpointError: the run to resume has another recipe or other inputs.
        Interrupted: a signal was received; the state is saved.
    """
    if recipe.from_run:
        recipe = rectify.inherited(recipe)
    elif not recipe.inputs:
        raise ConfigError("There is nothing to fit: name one or more data files.")
    assemble.triple(recipe)
    check_specs(recipe)
    if request.nproc > 1 and not (request.dry_run or team.is_rank(os.environ)):
        team.shared(recipe, request.nproc)
        return team.started(request.nproc, request.arguments)
    with team.joined(recipe, where, os.environ) as (ranks, own):
        return _fit(recipe, (request, own, listen if ranks.leads else ignore), ranks)


def _fit(recipe: Recipe, asked: tuple[FitRequest, Runtime, Listener], ranks: Ranks) -> Outcome:
    """Fit as one of the ranks of a distributed fit, or alone."""
    request, where, listen = asked
    run = Run(Path(request.run))
    device = _device(recipe, where)
    run.claim(rectify.files(recipe), force=where.force, resume=request.resume)
    finished = request.resume and run.finished()
    ranks.largest(0)  # no rank writes before all have checked
    if finished:
        return replace(_already(run, recipe), told=ranks.leads)
    prepared = _prepared(recipe)
    notes = summary.described(prepared)
    listen(Progress(0, 0, notes=notes))
    if request.dry_run:
        return Outcome({}, summary.planned(prepared, device), notes, told=ranks.leads)
    with run.writing(resume=request.resume) if ranks.leads else nullcontext():
        return _train(prepared, run, asked, (device, ranks))


def _prepared(recipe: Recipe) -> prepare.Prepared:
    """Prepare the data from files, or from the run that makes the pairs."""
    if recipe.from_run:
        return rectify.prepared(recipe)
    tables = [io.read_table(path, prepare.selection(recipe)) for path in recipe.inputs]
    found = prepare.prepared(recipe, tables)
    if not results.is_anndata(recipe.inputs[0]):
        prepare.free_names(found.recipe, tables[0])
    return found


def _device(recipe: Recipe, where: Runtime) -> torch.device:
    """Select the device, and threads that suit network and batch."""
    width = catalog.build("fields", recipe.field).width
    return runtime.prepare(where, width, recipe.batch_size)


def check_specs(recipe: Recipe) -> None:
    """Refuse unknown transforms and fields, and settings without effect, before any work."""
    assemble.check_conditions(recipe)
    catalog.build("fields", recipe.field)
    for spec in parse_chain(recipe.chain()):
        catalog.build("transforms", spec)


def _train(
    prepared: prepare.Prepared,
    run: Run,
    asked: tuple[FitRequest, Runtime, Listener],
    at: tuple[torch.device, Ranks],
) -> Outcome:
    """Train, save the state periodically, and write the run; only the leading rank writes."""
    request, where, listen = asked
    ranks = at[1]
    recipe = prepared.recipe
    streams = Streams(recipe.seed)
    inputs = run.digests(rectify.files(recipe))
    facts = {"recipe": recipe.to_mapping(), "inputs": inputs}
    job = training.job(prepared, streams, *at)
    settled = (*map(str, job.plans), *job.bending.told())
    listen(Progress(0, 0, notes=settled))
    maps = couplings.writers(prepared.snapshots, job.plans) if request.write_couplings else {}
    records: list[Record] = _restore(run, job.trainer, facts) if request.resume else []
    saved = -math.inf  # the first block is saved, so that a kill loses no more than that
    with runtime.stoppable() as stop:
        for record in job.trainer.run() if job.trainer else ():
            most = job.trainer.end if job.trainer else 0
            records.append(record)
            listen(_progress(record, most))
            signal = int(ranks.largest(stop.signal))
            if not ranks.leads:
                if signal:
                    raise SystemExit(128 + signal)
                continue
            if signal:
                _save(run, job.trainer, facts, records)
                raise Interrupted(
                    f"Stopped at step {record.step} of {most}; the state is saved in "
                    f"{run.path}: go on with the same command and --resume.",
                    signal,
                )
            if time.monotonic() - saved > SAVE_EVERY:
                _save(run, job.trainer, facts, records)
                saved = time.monotonic()
    if not ranks.leads:
        return Outcome(told=False)
    model = job.model()
    workers = job.trainer.schedule.workers if job.trainer else 0
    metrics = {
        **summary.metrics_of(model, records, job, streams),
        **job.bending.figures(),
        "converged_at": job.converged,
        "ot_workers": workers,
    }
    heads = job.triple.objective.heads
    triple = catalog.preset(recipe.method).reference
    origin = provenance.record(where.command, recipe.seed, inputs, [triple])
    losses = summary.losses_csv(records, heads) if heads else ""
    run.write(model, losses, metrics | {"warnings": list(where.warnings)}, origin, maps)
    notes = (*summary.described(prepared), *settled, *job.ended(), *summary.verdicts(metrics))
    return Outcome(run.outputs(), {"run": str(run.path), **metrics}, notes)


def _save(
    run: Run, trainer: Trainer | None, facts: Mapping[str, Any], records: Sequence[Record]
) -> None:
    """Save the state of training."""
    if trainer is None:
        return
    arrays = {name: value.detach().cpu().numpy() for name, value in trainer.state().items()}
    history = json.loads(json.dumps([asdict(record) for record in records]))
    run.save_state(arrays, {**facts, "records": history})


def _restore(run: Run, trainer: Trainer | None, facts: Mapping[str, Any]) -> list[Record]:
    """Continue from a saved state, if any."""
    saved = run.load_state()
    if saved is None or trainer is None:
        return []
    arrays, found = saved
    difference = _difference(found, facts)
    if not difference and trainer.strange(arrays):
        difference = "the version of cfm that began it"
    if difference:
        raise CheckpointError(
            f"The interrupted run {run.path} was another fit, it differs in {difference}: use the "
            "same command, or start anew with --force."
        )
    trainer.restore({name: torch.from_numpy(value) for name, value in arrays.items()})
    return [Record(**record) for record in found["records"]]


def _difference(found: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Describe how two fits differ; settings that the first was saved without are defaults."""
    wanted = json.loads(json.dumps(facts))
    usual = json.loads(json.dumps(Recipe().to_mapping()))
    there = {
        section: {**values, **found["recipe"].get(section, {})} for section, values in usual.items()
    }
    parts = [
        f"{name} ({there[section][name]!r} there, {value!r} here)"
        for section, values in wanted["recipe"].items()
        for name, value in values.items()
        if not _same(name, there[section][name], value)
    ]
    changed = found["inputs"] != wanted["inputs"]
    return ", ".join(parts) or ("the content of the inputs" if changed else "")


def _same(name: str, found: Any, wanted: Any) -> bool:
    """Whether a setting matches the requested one; a path may include choices made by a fit."""
    return settles(str(found), wanted) if name == "interpolant" else bool(found == wanted)


def _progress(record: Record, steps: int) -> Progress:
    """Convert a record to progress."""
    return Progress(record.step, steps, f"loss {record.loss:.4f}")


def _already(run: Run, recipe: Recipe) -> Outcome:
    """Outcome of --resume for a finished run."""
    facts = {"recipe": recipe.resolved().to_mapping(), "inputs": run.digests(rectify.files(recipe))}
    difference = _difference(run.facts(), facts)
    if difference:
        raise CheckpointError(
            f"The run {run.path} is finished and was another fit, it differs in {difference}: "
            "choose another -o, or overwrite it with --force."
        )
    note = f"The run {run.path} is finished: nothing to do."
    return Outcome(run.outputs(), {"run": str(run.path), **run.metrics()}, (note,))
