"""Summary: plans, notes and results of a fit."""

import csv
import io as text_io
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from cfmcli.data.transforms import some
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.record import Record
from cfmcli.model import Model
from cfmcli.workflows import aside, growth, score
from cfmcli.workflows.prepare import Prepared
from cfmcli.workflows.training import Job


def losses_csv(records: Sequence[Record], heads: Sequence[str]) -> str:
    """Format losses.csv, one row per block of steps."""
    out = text_io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(["step", "loss", "grad_norm", "seconds", *heads, "validation"])
    for r in records:
        own = [repr(r.heads[name]) for name in heads]
        last = "" if math.isnan(r.validation) else repr(r.validation)
        write([r.step, repr(r.loss), repr(r.grad_norm), f"{r.seconds:.3f}", *own, last])
    return out.getvalue()


def metrics_of(
    model: Model, records: Sequence[Record], job: Job, streams: Streams
) -> dict[str, Any]:
    """Collect the metrics of a fit."""
    return {
        **_trained(records, job),
        "points": {c.label: len(c) for c in model.clouds},
        "dimension": model.dim,
        "plans": [plan.figures() for plan in job.plans],
        "holdout": [score.held_out(model, c, streams) for c in model.clouds if c.held_out],
    }


def _trained(records: Sequence[Record], job: Job) -> dict[str, Any]:
    """Duration and losses of training; validation refers to the weights that were kept."""
    step = job.trainer.best.step if job.trainer else 0
    best = next((record for record in records if record.step == step), None)
    last = [record.loss for record in records[-10:] if record.step > job.turn]
    return {
        "steps": records[-1].step if records else 0,
        "loss": float(np.mean(last)) if last else None,
        "validation": best and best.validation,
        "best_step": best and best.step,
        "training_seconds": records[-1].seconds if records else 0.0,
    }


def described(prepared: Prepared) -> tuple[str, ...]:
    """Describe the data as understood."""
    clouds = prepared.snapshots.clouds
    sizes = ", ".join(f"{c.label}: {len(c)}{' (held out)' * c.held_out}" for c in clouds)
    return (
        f"times: {prepared.times}",
        f"points: {sizes}",
        f"features: {len(prepared.chain.features)} ({some(prepared.chain.features)}), flow in "
        f"{len(prepared.chain.outputs)} dimensions after {prepared.recipe.transform}",
        *((f"conditional on {prepared.conditions}",) if prepared.conditions.width else ()),
        *growth.described(prepared.recipe, prepared.snapshots.kept),
        *aside.told(prepared.recipe, prepared.snapshots),
        *prepared.notes,
    )


def planned(prepared: Prepared, device: torch.device) -> dict[str, Any]:
    """Describe what a fit would do and cost.

    Raises:
        DataError: if a cloud is too small for its held-out fraction.
    """
    recipe, snapshots = prepared.recipe, prepared.snapshots
    sizes = [len(cloud) for cloud in snapshots.kept]
    drawn = aside.timed(recipe, snapshots).most_steps * recipe.batch_size
    return {
        "recipe": recipe.to_mapping(),
        "device": str(device),
        "points": {cloud.label: len(cloud) for cloud in snapshots.clouds},
        "dimension": len(prepared.chain.outputs),
        "kept_aside": aside.counts(recipe, snapshots),
        "pairs_drawn": drawn,
        "epochs": drawn / max(sizes),
        "largest_plan": max((a * b for a, b in pairwise(sizes)), default=0),
    }


def verdicts(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for each held-out time."""
    return tuple(
        f"held out {s['label']}: W1 {s['model_w1']:.4f} (static OT {s['static_ot_w1']:.4f}, "
        f"previous {s['previous_w1']:.4f}, next {s['next_w1']:.4f})"
        for s in metrics["holdout"]
    )
