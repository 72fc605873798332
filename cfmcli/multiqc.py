"""MultiQC: results of a run as custom content for MultiQC.

Reference: docs.seqera.io/multiqc/custom_content
"""

import csv
import io
from collections.abc import Mapping
from statistics import fmean
from typing import Any

COLUMNS = {
    "cells": ("Cells", "Points of all snapshots", "{:,.0f}"),
    "loss": ("Loss", "Training loss over the last blocks of steps", "{:.4g}"),
    "holdout_w1": ("Held-out W1", "Mean W1 to the held-out snapshots", "{:.4g}"),
    "static_ot_w1": ("Static OT W1", "The same of static optimal transport", "{:.4g}"),
    "warnings": ("Warnings", "Warnings of the fit", "{:,.0f}"),
}


def contents(sample: str, metrics: Mapping[str, Any], losses: str) -> dict[str, dict[str, Any]]:
    """File name -> custom content.

    Args:
        sample: name of the run in MultiQC.
        metrics: the content of metrics.json.
        losses: content of losses.csv, empty if there is none.
    """
    found = {f"{sample}_stats_mqc.json": _stats(sample, metrics)}
    return found | ({f"{sample}_loss_mqc.json": _loss(sample, losses)} if losses else {})


def _stats(sample: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the general statistics table."""
    held = metrics["holdout"]
    figures = {
        "cells": sum(metrics["points"].values()),
        "loss": metrics.get("loss"),
        "holdout_w1": fmean(score["model_w1"] for score in held) if held else None,
        "static_ot_w1": fmean(score["static_ot_w1"] for score in held) if held else None,
        "warnings": len(metrics.get("warnings", ())),
    }
    known = {name: value for name, value in figures.items() if value is not None}
    said = [
        {name: {"namespace": "cfm", "title": title, "description": what, "format": form}}
        for name, (title, what, form) in COLUMNS.items()
    ]
    content = {"id": "cfm_stats", "plot_type": "generalstats", "pconfig": said}
    return content | {"data": {sample: known}}


def _loss(sample: str, losses: str) -> dict[str, Any]:
    """Line graph of the training loss."""
    rows = csv.DictReader(io.StringIO(losses))
    return {
        "id": "cfm_loss",
        "section_name": "cfm: training loss",
        "description": "Regression loss of the flow, the mean of each block of steps.",
        "plot_type": "linegraph",
        "pconfig": {
            "id": "cfm_loss_plot",
            "title": "cfm: training loss",
            "xlab": "step",
            "ylab": "loss",
        },
        "data": {sample: [[int(row["step"]), float(row["loss"])] for row in rows]},
    }
