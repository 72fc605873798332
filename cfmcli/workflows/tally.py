"""Tally: scores at left-out times, row by row, with summaries."""

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
    """One score of a prediction.

    Args:
        time: clock time left out.
        label: label of the points scored, empty for all of them.
        method: name of the method or of the reference.
        kind: model, reference or floor.
        seed: seed of the fit, or of the reference's subsample.
        metric: name of the distance.
        value: the distance, in flow coordinates; None with too few points.
        points: number of points of the prediction, or of each half, that are compared.
    """

    time: float
    label: str
    method: str
    kind: str
    seed: int
    metric: str
    value: float | None
    points: int


def tally(rows: Sequence[Row]) -> dict[str, Any]:
    """Collect the scores, a table of them by time and method, and means over times.

    Args:
        rows: all scores.
    """
    times = list(dict.fromkeys(row.time for row in rows))
    table = [_counted(_of(rows, time=time), {"time": time}) for time in times]
    return {
        "scores": [vars(row) for row in rows],
        "table": [line for lines in table for line in lines],
        "means": _against_static(_line(rows, {}), rows),
    }


def write(path: str, rows: Sequence[Row]) -> None:
    """Write the scores, one row each."""
    import pandas as pd

    frame = pd.DataFrame([vars(row) for row in rows])
    columns = (*KEYS, "value", "points")
    values = frame[["value"]].to_numpy(dtype=float)
    table = Table(values, ("value",), frame[[*KEYS, "points"]], columns=columns)
    io.write_table(path, table)


def _line(rows: Sequence[Row], lead: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Summarise each label and method: all distances, and the spread of W1 over seeds."""
    lines = []
    for label, method in dict.fromkeys((row.label, row.method) for row in rows):
        own = _of(rows, label=label, method=method)
        line = {**lead, **({"label": label} if any(r.label for r in rows) else {})}
        line |= {"method": method, "kind": own[0].kind}
        for metric in DISTANCES:
            seeds = list(_means(_of(own, metric=metric), "seed").values())
            line[metric] = float(np.mean(seeds)) if seeds else None
            if metric == "w1" and any(r.seed != rows[0].seed for r in rows):
                line["w1_sd"] = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None
        lines.append(line)
    return lines


def _counted(rows: Sequence[Row], lead: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Summaries for one time, with numbers of points."""
    points = {(row.label, row.method): row.points for row in rows}
    return [
        line | {"points": points[line.get("label", ""), line["method"]]}
        for line in _line(rows, lead)
    ]


def _means(rows: Iterable[Row], key: str) -> dict[float, float]:
    """Mean of the available scores for each seed, or for each time."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if row.value is not None:
            found.setdefault(getattr(row, key), []).append(row.value)
    return {value: float(np.mean(scores)) for value, scores in found.items()}


def _against_static(lines: list[dict[str, Any]], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Add W1 relative to static optimal transport for the same label."""
    return [line | {"w1_over_static_ot": _share(line, rows)} for line in lines]


def _share(line: Mapping[str, Any], rows: Sequence[Row]) -> float | None:
    """W1 of a summary relative to static transport, over the times that have both."""
    w1 = _of(rows, label=line.get("label", ""), metric="w1")
    own, other = (_means(_of(w1, method=name), "time") for name in (line["method"], STATIC))
    both = sorted(own.keys() & other.keys())
    whole = sum(other[time] for time in both)
    return sum(own[time] for time in both) / whole if whole else None


def _of(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Rows with the given values."""
    return [row for row in rows if all(getattr(row, k) == v for k, v in wanted.items())]
