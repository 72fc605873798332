"""Fit: from tables to a run folder, stoppable and resumable at any block of steps."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cfmcli import catalog, io, provenance
from cfmcli.data.maps import dense
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.data.table import Table
from cfmcli.errors import CheckpointError, ConfigError, DataError
from cfmcli.flows.streams import Streams
from cfmcli.flows.training import Record, Schedule, Trainer
from cfmcli.model import Model
from cfmcli.recipe import Recipe
from cfmcli.requests import FitRequest, Interrupted, Listener, Outcome, Progress, Runtime
from cfmcli.workflows import assemble, prepare, runtime, summary
from cfmcli.workflows.run import Run

SAVE_EVERY = 5.0
DECAY, MOST_DECAY = 100.0, 0.3


def ignore(progress: Progress) -> None:
    """A listener that does not listen."""


def learn(
    recipe: Recipe, tables: Sequence[Table], where: Runtime, listen: Listener = ignore
) -> Model:
    """Fit a model to tables in memory.

    Args:
        recipe: how.
        tables: points, in the order of the recipe's inputs.
        where: device and threads.
        listen: told of progress.

    Raises:
        CfmError: see `fit`.
    """
    device = _device(recipe, where)
    prepared = prepare.prepared(recipe, tables)
    parts = assemble.triple(prepared.recipe)
    streams = Streams(recipe.seed)
    trainer, _ = _trainer(prepared, parts, streams, device)
    for record in trainer.run():
        listen(_progress(record, recipe.steps))
    return _model(prepared, trainer)


def write_model(run: Run, model: Model) -> None:
    """Write a model that was fitted in memory as a run folder, without a history of training."""
    facts = {"steps": model.recipe.steps, "points": {c.label: len(c) for c in model.clouds}}
    reference = catalog.preset(model.recipe.method).reference
    origin = provenance.record("", model.recipe.seed, {}, [reference])
    run.write(model, "", {**facts, "dimension": model.dim}, origin)


def fit(recipe: Recipe, request: FitRequest, where: Runtime, listen: Listener) -> Outcome:
    """Fit a model to files and write its run folder.

    Args:
        recipe: how, with its inputs.
        request: the run folder, and whether to resume or only to plan.
        where: device, threads, leave to overwrite.
        listen: told of progress.

    Raises:
        ConfigError: options that cannot work together.
        DataError: unusable inputs.
        NumericsError: training left the finite numbers.
        OutputExistsError: the run exists.
        CheckpointError: the interrupted run is of another recipe or other inputs.
        Interrupted: a signal came; the state was saved.
    """
    if not recipe.inputs:
        raise ConfigError("There is nothing to fit: name one or more data files.")
    parts = assemble.triple(recipe)
    _check_specs(recipe)
    run = Run(Path(request.run))
    device = _device(recipe, where)
    run.claim(recipe.inputs, force=where.force, resume=request.resume)
    if request.resume and run.finished():
        return _already(run, recipe)
    tables = [io.read_table(path, prepare.selection(recipe)) for path in recipe.inputs]
    prepared = prepare.prepared(recipe, tables)
    notes = summary.described(prepared)
    if request.dry_run:
        return Outcome({}, summary.planned(prepared, device), notes)
    with run.writing():
        return _train(prepared, parts, run, (request, where, listen), device)


def _device(recipe: Recipe, where: Runtime) -> torch.device:
    """The device, and threads that suit the network and the batch."""
    width = catalog.build("fields", recipe.field).width
    return runtime.prepare(where, width, recipe.batch_size)


def _check_specs(recipe: Recipe) -> None:
    """Refuse unknown transforms and fields before any work."""
    catalog.build("fields", recipe.field)
    for spec in catalog.parse_chain(recipe.transform):
        catalog.build("transforms", spec)


def _train(
    prepared: prepare.Prepared,
    parts: assemble.Triple,
    run: Run,
    asked: tuple[FitRequest, Runtime, Listener],
    device: torch.device,
) -> Outcome:
    """Train, with the state saved now and then, and write the run."""
    request, where, listen = asked
    recipe = prepared.recipe
    streams = Streams(recipe.seed)
    inputs = run.digests(recipe.inputs)
    facts = {"recipe": recipe.to_mapping(), "inputs": inputs}
    trainer, plans = _trainer(prepared, parts, streams, device)
    records: list[Record] = _restore(run, trainer, facts) if request.resume else []
    saved = -math.inf  # the first block is saved at once
    with runtime.stoppable() as stop:
        for record in trainer.run():
            records.append(record)
            listen(_progress(record, recipe.steps))
            if stop.signal:
                _save(run, trainer, facts, records)
                raise Interrupted(
                    f"Stopped at step {trainer.step} of {recipe.steps}; the state is saved in "
                    f"{run.path}: go on with the same command and --resume.",
                    stop.signal,
                )
            if time.monotonic() - saved > SAVE_EVERY:
                _save(run, trainer, facts, records)
                saved = (
                    -math.inf
                )  # the first block is saved, so that a kill loses no more than that
    model = _model(prepared, trainer)
    metrics = summary.metrics_of(model, records, plans, streams)
    heads = parts.objective.heads
    triple = catalog.preset(recipe.method).reference
    origin = provenance.record(where.command, recipe.seed, inputs, [triple])
    run.write(model, summary.losses_csv(records, heads), metrics, origin)
    notes = (*summary.described(prepared), *map(str, plans), *summary.verdicts(metrics))
    return Outcome(run.outputs(), {"run": str(run.path), **metrics}, notes)


def _trainer(
    prepared: prepare.Prepared, parts: assemble.Triple, streams: Streams, device: torch.device
) -> tuple[Trainer, list[assemble.PlanNote]]:
    """A trainer on the prepared clouds, with its plans solved."""
    recipe = prepared.recipe
    seen, aside = _split(prepared.snapshots, recipe.validation, streams)
    task, plans = assemble.task(recipe, parts, seen, streams)
    validation = assemble.task(recipe, parts, aside, streams)[0] if aside else None
    field = catalog.build("fields", recipe.field).build(
        parts.objective.heads,
        len(prepared.chain.outputs),
        prepared.snapshots.timeline.segments,
        streams.torch("weights"),
    )
    field.settle(*_whereabouts(prepared.snapshots))
    schedule = Schedule(
        recipe.steps,
        recipe.batch_size,
        recipe.lr,
        recipe.ema,
        recipe.precision == "bf16",
        _weight_decay(seen),
    )
    trainer = Trainer(field.to(device), task, schedule, streams, validation, recipe.patience)
    return trainer, plans


def _weight_decay(snapshots: Snapshots) -> float:
    """100 / n for clouds of n points: a prior whose pull fades as the data grow."""
    sizes = [len(cloud) for cloud in snapshots.kept]
    return min(MOST_DECAY, DECAY * len(sizes) / sum(sizes))


def _whereabouts(snapshots: Snapshots) -> tuple[torch.Tensor, float]:
    """Mean of all points, and root mean square deviation per dimension."""
    x = dense(snapshots.stacked())
    if snapshots.gaussian_source:
        second = (x.var(axis=0) + x.mean(axis=0) ** 2 + 1) / 2
        center = x.mean(axis=0) / 2
        variance = second - center**2
    else:
        center, variance = x.mean(axis=0), x.var(axis=0)
    return torch.as_tensor(center), float(np.sqrt(variance.mean())) or 1.0


def _split(
    snapshots: Snapshots, share: float, streams: Streams
) -> tuple[Snapshots, Snapshots | None]:
    """Points to train on, and points kept aside for validation."""
    if not share:
        return snapshots, None
    train: list[Cloud] = []
    aside: list[Cloud] = []
    for k, cloud in enumerate(snapshots.kept):
        count = round(share * len(cloud))
        if count < 2 or len(cloud) - count < 2:
            raise DataError(
                f"Time {cloud.label} has {len(cloud)} points, too few to keep {share:g} of them "
                "for validation: lower --validation."
            )
        order = streams.numpy("validation", k).permutation(len(cloud))
        aside.append(cloud.rows(np.sort(order[:count])))
        train.append(cloud.rows(np.sort(order[count:])))
    gaussian = snapshots.gaussian_source
    return Snapshots(tuple(train), gaussian), Snapshots(tuple(aside), gaussian)


def _model(prepared: prepare.Prepared, trainer: Trainer) -> Model:
    """The trained model, on the CPU."""
    trainer.finish()
    return Model(
        prepared.recipe,
        prepared.snapshots.timeline,
        prepared.chain,
        trainer.field.eval(),
        prepared.snapshots.clouds,
        prepared.snapshots.gaussian_source,
    )


def _save(run: Run, trainer: Trainer, facts: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Write the state of training."""
    arrays = {name: value.detach().cpu().numpy() for name, value in trainer.state().items()}
    history = json.loads(json.dumps([asdict(record) for record in records]))
    run.save_state(arrays, {**facts, "records": history})


def _restore(run: Run, trainer: Trainer, facts: Mapping[str, Any]) -> list[Record]:
    """Continue from a saved state, if there is one."""
    saved = run.load_state()
    if saved is None:
        return []
    arrays, found = saved
    difference = _difference(found, facts)
    if difference:
        raise CheckpointError(
            f"The interrupted run {run.path} was another fit, it differs in {difference}: use the "
            "same command, or start anew with --force."
        )
    trainer.restore({name: torch.from_numpy(value) for name, value in arrays.items()})
    return [Record(**record) for record in found["records"]]


def _difference(found: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """What differs between two fits, in words."""
    wanted = json.loads(json.dumps(facts))
    parts = [
        f"{name} ({found['recipe'][section].get(name)!r} there, {value!r} here)"
        for section, values in wanted["recipe"].items()
        for name, value in values.items()
        if found["recipe"].get(section, {}).get(name) != value
    ]
    changed = found["inputs"] != wanted["inputs"]
    return ", ".join(parts) or ("the content of the inputs" if changed else "")


def _progress(record: Record, steps: int) -> Progress:
    """A sign of life."""
    return Progress(record.step, steps, f"loss {record.loss:.4f}")


def _already(run: Run, recipe: Recipe) -> Outcome:
    """What --resume finds when the run is finished."""
    coupling, interpolant, objective = recipe.triple()
    wanted = replace(recipe, coupling=coupling, interpolant=interpolant, objective=objective)
    facts = {"recipe": wanted.to_mapping(), "inputs": run.digests(recipe.inputs)}
    difference = _difference(run.facts(), facts)
    if difference:
        raise CheckpointError(
            f"The run {run.path} is finished and was another fit, it differs in {difference}: "
            "choose another -o, or overwrite it with --force."
        )
    note = f"The run {run.path} is finished: nothing to do."
    return Outcome(run.outputs(), {"run": str(run.path), **run.metrics()}, (note,))
