"""Points: which points a verb works on, of a file or of the run, and which of them are chosen."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cfmcli import catalog, io
from cfmcli.data.neighbours import Rows
from cfmcli.data.snapshots import BackedCloud, Cloud
from cfmcli.data.table import Array, Backed, Table
from cfmcli.errors import ConfigError, DataError
from cfmcli.flows.streams import Streams
from cfmcli.io.formats import standard_input
from cfmcli.model import Model
from cfmcli.requests import Condition, InterpolateRequest
from cfmcli.workflows import intake, prepare, results, runtime, verbs

NAMELESS = (".npy", ".npz")
STARTS, OWN = 1000, "own"
# What a condition may call; anything else that pandas can call may write files.
QUESTIONS = (
    *("str", "contains", "startswith", "endswith", "match", "fullmatch", "lower", "upper", "strip"),
    *("len", "abs", "isin", "between", "isna", "notna", "isnull", "notnull"),
)
LITERAL = r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`[^`]*`"


def read_points(model: Model, path: str) -> Table:
    """The points of a file, with the features of a model in its order.

    Raises:
        DataError: if they are not there or not usable.
    """
    table = io.read_table(path, _wanted(model, path))
    if _nameless(path):
        return table.with_values(table.values, counted(model, table))
    return intake.adopt(table, model.features, "the model")


def open_points(model: Model, path: str) -> Backed:
    """The same, of which the numbers are read when their rows are asked for.

    Raises:
        DataError: if they are not there or not usable.
    """
    found = io.open_table(path, _wanted(model, path))
    if _nameless(path):
        return replace(found, head=replace(found.head, features=counted(model, found.head)))
    if found.head.features == model.features:
        return found
    if set(found.head.features) != set(model.features):
        return Backed.of(read_points(model, path))
    order = [found.head.features.index(name) for name in model.features]
    return found.columns(order, model.features)


def _nameless(path: str) -> bool:
    """Whether a file has no names of features."""
    return Path(path).suffix.lower() in NAMELESS


def _wanted(model: Model, path: str) -> io.Selection:
    """What of a file holds the points of a model."""
    recipe = model.recipe
    nameless = _nameless(path)
    by_name = not nameless and not any("," in name for name in model.features)
    base = prepare.selection(recipe)
    return io.Selection(
        features=",".join(model.features) if by_name else "",
        annotations=base.annotations,
        id_key=recipe.id_key if not nameless else "",
        layer=recipe.layer if results.is_anndata(path) else "",
        use_rep=recipe.use_rep if results.is_anndata(path) else "",
    )


def counted(model: Model, table: Table) -> tuple[str, ...]:
    """The model's features for an array without names, which must be as many."""
    if len(table.features) != len(model.features):
        raise DataError(
            f"{table.origin} has {len(table.features)} columns, the model expects "
            f"{len(model.features)}: {', '.join(model.features[:5])}..."
        )
    return model.features


def at_time(model: Model, table: Table, time: float) -> npt.NDArray[np.bool_] | None:
    """Which points of a table were observed at a time, None where it does not say."""
    told = intake.times_of(model.recipe, model.clouds, table)
    if told is None or all(cloud.time != time for cloud in model.clouds):
        return None
    return np.asarray(told == time)


def say_other_times(model: Model, table: Table, time: float, done: str) -> None:
    """Say so where a table holds points of other times than the one that all are taken for.

    Args:
        model: whose clock is meant.
        table: the points.
        time: clock time that they are taken for.
        done: what is done with all of them, and how to have it otherwise.
    """
    there = at_time(model, table, time)
    if there is not None and not there.all():
        other = int((~there).sum())
        runtime.warn(
            f"{table.origin} holds {other} points of other times than {time:g}; all are {done}"
        )


def own_times(model: Model, table: Table, option: str = "--from") -> Array:
    """The clock time at which each point of a table was observed, shape (n,).

    Args:
        model: whose clock is meant.
        table: the points.
        option: how a user asks for it.

    Raises:
        ConfigError: if the table does not tell.
        DataError: if some are of a time that the run does not know.
    """
    told, key = intake.times_of(model.recipe, model.clouds, table), model.recipe.time_key
    if told is None:
        raise ConfigError(
            f"{option} own: {table.origin} has no column of times as the run knows them"
            f"{f' ({key})' if key else ''}: give the clock time of all points."
        )
    strange = np.flatnonzero(np.isnan(told))
    if len(strange):
        got = intake.spelled(table.obs[key].iloc[strange[:1]])[0]
        raise DataError(
            f"{table.origin}: '{key}' holds {got} for some points, a time that the run does not "
            f"know. It knows {', '.join(c.label for c in model.clouds)}; say when all points were "
            f"observed with {option}."
        )
    return told


def say_if_noise(model: Model, path: str, start: str) -> None:
    """Say so where points of a file are taken for the noise that a generator starts from.

    Args:
        model: whose clock is meant.
        path: the file, empty for none.
        start: when its points were said to be observed, empty where nothing was said.
    """
    if path and model.gaussian_source and not start:
        first, last = model.timeline.times
        runtime.warn(
            f"{path}: the run starts from noise at {first:g}, and its points are taken for that. "
            f"Give --from {last:g} for points such as the run learnt, or --from {first:g} for "
            "points of the noise."
        )


def observed(model: Model, table: Table, time: float) -> Table:
    """The points of a table that were observed at a time; all, said aloud, where none was."""
    rows = _observed(model, table, time)
    return table if len(rows) == len(table) else table.rows(rows)


def _observed(model: Model, table: Table, time: float) -> Rows:
    """The rows of a table that were observed at a time; all, said aloud, where none was."""
    key = model.recipe.time_key
    there = at_time(model, table, time)
    if there is not None and there.any():
        return np.flatnonzero(there)
    if key and key in table.obs.columns:
        runtime.warn(
            f"{table.origin}: no point has the time {time:g} in '{key}'; all {len(table)} points "
            "are taken as observed then."
        )
    return np.arange(len(table))


def starts(
    model: Model, request: InterpolateRequest, start: float, streams: Streams
) -> list[BackedCloud]:
    """The clouds to carry: every snapshot, the points of a file, or a stored snapshot.

    Where the flow is conditional, all their points have conditions among their annotations.
    """
    given = request.condition
    model.conditions.checked(given)
    if request.population and not model.gaussian_source:
        clouds = [model.source.conditioned(cloud, streams, given) for cloud in model.kept]
        return [BackedCloud.of(cloud) for cloud in clouds]
    say_if_noise(model, request.data, request.start)
    if request.data:
        cloud = _given(model, request, start)
    else:
        stored = model.cloud(start, held_out=True) or _normal_cloud(model, start, streams, given)
        cloud = BackedCloud.of(model.source.conditioned(stored, streams, given))
    return [_chosen(cloud, request)]


def _given(model: Model, request: InterpolateRequest, start: float) -> BackedCloud:
    """The points of a file that were observed at a time."""
    whole = open_points(model, request.data)
    rows = _observed(model, whole.head, start)
    table = whole if len(rows) == len(whole) else whole.chosen(rows)
    obs = model.conditions.completed(table.head.obs, request.condition, table.head.origin)
    mass = verbs.point_weights(model, table.head)
    head = Cloud(table.head.values, mass / mass.sum(), obs, f"{start:g}", start)
    return BackedCloud(head, lambda rows: model.encode(table.read(rows)))


def _normal_cloud(model: Model, start: float, streams: Streams, given: Condition) -> Cloud:
    """Points of a Gaussian source."""
    if not model.gaussian_source or start != model.timeline.times[0]:
        listed = ", ".join(cloud.label for cloud in model.clouds)
        raise ConfigError(
            f"--from {start:g}: the run stores no cloud at that time: give DATA, or start from "
            f"one of {listed}."
        )
    return model.source.draw(STARTS, streams, given)


def _chosen(cloud: BackedCloud, request: InterpolateRequest) -> BackedCloud:
    """The starting points that --cells and --where leave."""
    if request.cells:
        cloud = cloud.rows(_listed(cloud.head, request.cells))
    if request.where:
        cloud = cloud.rows(_queried(cloud.head, request.where))
    if not len(cloud):
        raise DataError("No starting point is left: check --cells, --where and --from.")
    return cloud


def _listed(cloud: Cloud, path: str) -> Rows:
    """Rows of the ids in a file, in its order."""
    import pandas as pd

    try:
        text = (standard_input() if path == "-" else Path(path).read_bytes()).decode()
        wanted = [line.strip() for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: the list of ids cannot be read ({why}).") from None
    rows = cloud.obs.index.get_indexer(pd.Index(wanted))
    missing = [name for name, row in zip(wanted, rows, strict=True) if row < 0]
    if missing:
        known = catalog.did_you_mean(missing[0], list(cloud.obs.index[:20]))
        raise DataError(
            f"{path}: {len(missing)} of {len(wanted)} ids are not among the starting points, the "
            f"first is '{missing[0]}'.{known}"
        )
    return np.asarray(rows)


def _queried(cloud: Cloud, query: str) -> npt.NDArray[np.intp]:
    """Rows for which a condition on the annotations holds."""
    numbered = cloud.obs.reset_index(drop=True)
    try:
        called = re.findall(r"\.\s*([^\W\d]\w*)", re.sub(LITERAL, "''", query))
        if not set(called) <= set(QUESTIONS):
            raise ValueError(f"of methods it may use {', '.join(QUESTIONS)}")
        holds = np.asarray(numbered.eval(query, engine="python", local_dict={}, global_dict={}))
        if holds.dtype != np.bool_ or holds.shape != (len(numbered),):
            raise ValueError("it is not true or false for each point")
    except Exception as error:
        columns = ", ".join(map(str, numbered.columns)) or "(none)"
        raise ConfigError(
            f'--where "{query}": {error}. Expected a condition on the columns {columns}, for '
            "example \"celltype == 'HSC'\"."
        ) from None
    return np.flatnonzero(holds)
