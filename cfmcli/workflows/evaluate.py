"""Evaluate: scores of a run against observed points, and the straightness of its paths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cfmcli import io
from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Table
from cfmcli.errors import ConfigError, DataError
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import EvaluateRequest, Listener, Outcome, Progress, Runtime
from cfmcli.workflows import points, results, verbs
from cfmcli.workflows.judge import SPLITS, Judge, Score

TABLES = tuple(name for name, kind in io.FORMATS.items() if kind in ("delimited", "parquet"))
NOTE = (
    "floor: the same distance between two samples of the observed points, of floor_points each, "
    f"mean of {SPLITS} splits: about the least to expect on fresh points. Points that the model "
    "was fitted to come nearer, and so do samples that are larger than floor_points"
)


def evaluate(request: EvaluateRequest, where: Runtime, listen: Listener) -> Outcome:
    """Score a run against its stored snapshots or given points.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how = verbs.motion_of(request.integration, where)
    _check(request, where)
    model = verbs.load(request.run, where)
    observed = _observed(model, request)
    judge = Judge(model, how, Streams(where.seed), request.max_points)
    total = judge.count(observed)
    figures = _about(judge, observed, request.integration.chosen)
    if request.dry_run:
        return Outcome({}, figures, (f"would compute {total} scores",))
    scores = []
    for score in judge.scores(observed):
        scores.append(score)
        listen(Progress(len(scores), total, f"{score.metric} at {score.end:g}"))
    if request.output:
        _write(request.output, scores)
    figures |= how.told(model.flow, [(score.start, score.end) for score in scores])
    outputs = {"metrics": request.output} if request.output else {}
    return Outcome(outputs, figures | {"scores": [score.row() for score in scores]}, (NOTE,))


def _check(request: EvaluateRequest, where: Runtime) -> None:
    """Refuse invalid or unwritable requests before any work."""
    run = Path(request.run)
    if request.run == "-" or run.is_file() or run.suffix.lower() in results.ANNDATA:
        raise ConfigError(
            f"cfm evaluate scores a run folder that cfm fit wrote, got the data file {request.run}."
            f" To score a run against these points: cfm evaluate RUN --against {request.run}."
        )
    if request.max_points < 2:
        raise ConfigError(f"--max-points {request.max_points}: expected at least 2.")
    if request.output:
        given = [request.against] if request.against else []
        io.claim(request.output, force=where.force, inputs=given, suffixes=TABLES)


def _observed(model: Model, request: EvaluateRequest) -> list[Cloud]:
    """Observed clouds: the stored snapshots after the first, one of them, or a file."""
    stored = sorted(model.clouds, key=lambda cloud: cloud.time)
    stored = [cloud for cloud in stored if cloud.time > model.timeline.times[0]]
    if request.against:
        return [_read(model, request.against, _time(model, request.time))]
    if not request.time:
        return stored
    time = _time(model, request.time)
    found = [cloud for cloud in stored if cloud.time == time]
    if not found:
        raise ConfigError(
            f"--time {request.time}: the run stores no snapshot then. Give the observed points "
            f"with --against DATA, or one of the times {', '.join(c.label for c in stored)}."
        )
    return found


def _time(model: Model, text: str) -> float:
    """The clock time to score at, after the first; the last by default."""
    time, last = verbs.clock_time(model, text, last=True), model.timeline.times[-1]
    if model.timeline.inner(time) <= 0:
        raise ConfigError(
            f"--time {text}: the points start there. Choose a later time, up to {last:g}."
        )
    return time


def _read(model: Model, path: str, time: float) -> Cloud:
    """Read the points of a file observed at a time, in flow coordinates."""
    table = points.observed(model, points.read_points(model, path), time)
    mass = verbs.point_weights(model, table)
    if len(table) < 2:
        raise DataError(f"{table.origin}: 1 point observed at {time:g}, expected at least 2.")
    return Cloud(model.encode(table.values), mass / mass.sum(), table.obs, f"{time:g}", time)


def _about(judge: Judge, observed: Sequence[Cloud], solver: str) -> dict[str, Any]:
    """Describe the sizes of both sides, and of the samples behind the floors."""
    start = len(judge.start(0))
    sizes = {cloud.label: min(len(cloud), judge.most) for cloud in observed}
    return {
        "points": {label: [start, size] for label, size in sizes.items()},
        "floor_points": {c.label: min(len(c) // 2, sizes[c.label]) for c in observed},
        "solver": solver,
        "scored_in": "flow coordinates",
    }


def _write(path: str, scores: Sequence[Score]) -> None:
    """Write the scores, one row each."""
    import pandas as pd

    frame = pd.DataFrame([score.row() for score in scores])
    values = frame[["value", "floor"]].to_numpy(dtype=float)
    names = tuple(frame.columns)
    obs = frame[["from", "to", "metric"]]
    io.write_table(path, Table(values, ("value", "floor"), obs, columns=names))
