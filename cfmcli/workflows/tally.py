"""Tally: scores at times left out, row by row, and what they come to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfmcli import io
from cfmcli.data.table import Table
from cfmcli.workflows.measures import DISTANCES

MODEL, REFERENCE, FLOOR = "model", "reference", "floor"
STATIC = "static_ot"
KEYS = ("time", "label", "method", "kind", "seed", "metric")


@dataclass(frozen=True)
class Row:
    """One score.

    Args:
        time: the clock time left out.
        label: label of the points scored, empty for all of them.
        method: name of the method or of the reference.
        kind: model, reference or floor.
        seed: seed of the fit, or of the reference's subsample.
        metric: name of the distance.
        value: the distance, in flow coordinates.
    """

    time: float
    label: str
    method: str
    kind: str
    seed: int
    metric: str
    value: float


def tally(rows: Sequence[Row]) -> dict[str, Any]:
    """The scores, a table of them by time and method, and the mean over times.

    Args:
        rows: every score.
    """
    whole = [row for row in rows if not row.label]
    times = list(dict.fromkeys(row.time for row in rows))
    table = [_line(_of(rows, time=time), {"time": time}) for time in times]
    return {
        "scores": [vars(row) for row in rows],
        "table": [line for lines in table for line in lines],
        "means": _against_static(_line(whole, {})),
    }


def write(path: str, rows: Sequence[Row]) -> None:
    """Write the scores, a row each."""
    import pandas as pd

    frame = pd.DataFrame([vars(row) for row in rows])
    columns = (*KEYS, "value")
    table = Table(frame[["value"]].to_numpy(), ("value",), frame[list(KEYS)], columns=columns)
    io.write_table(path, table)


def _line(rows: Sequence[Row], lead: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line for each label and method: every distance, and the spread of W1 over seeds."""
    lines = []
    for label, method in dict.fromkeys((row.label, row.method) for row in rows):
        own = _of(rows, label=label, method=method)
        line = {**lead, **({"label": label} if any(r.label for r in rows) else {})}
        line |= {"method": method, "kind": own[0].kind}
        for metric in DISTANCES:
            seeds = _by_seed(_of(own, metric=metric))
            line[metric] = float(np.mean(seeds)) if seeds else None
            if metric == "w1" and any(r.seed != rows[0].seed for r in rows):
                line["w1_sd"] = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None
        lines.append(line)
    return lines


def _by_seed(rows: Iterable[Row]) -> list[float]:
    """The mean of some scores for each seed."""
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row.seed, []).append(row.value)
    return [float(np.mean(values)) for values in found.values()]


def _against_static(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with W1 as a share of static optimal transport's."""
    (static,) = (line["w1"] for line in lines if line["method"] == STATIC)
    return [line | {"w1_over_static_ot": line["w1"] / static if static else None} for line in lines]


def _of(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(getattr(row, k) == v for k, v in wanted.items())]
