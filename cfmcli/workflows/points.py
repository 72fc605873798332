"""Points: reads and selects the points that a command works on, from a file or the run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cfmcli import io
from cfmcli.data.arrays import Array
from cfmcli.data.conditions import word
from cfmcli.data.neighbours import Rows
from cfmcli.data.snapshots import BackedCloud, Cloud
from cfmcli.data.table import Backed, Table
from cfmcli.errors import ConfigError, DataError
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import Condition, InterpolateRequest
from cfmcli.workflows import intake, prepare, results, runtime, verbs
from cfmcli.workflows.counted import not_logged, not_logged_where_read
from cfmcli.workflows.picks import picked
from cfmcli.workflows.queries import satisfying

NAMELESS = (".npy", ".npz")
STARTS, OWN = 1000, "own"


def read_points(model: Model, path: str) -> Table:
    """Read the points of a file, with the features of a model in its order.

    Raises:
        DataError: if they are missing or unusable.
    """
    return not_logged(model.chain, _read_points(model, path))


def open_points(model: Model, path: str) -> Backed:
    """Open the points of a file like `read_points`, but read values only when rows are accessed.

    Raises:
        DataError: if they are missing or unusable.
    """
    return not_logged_where_read(model.chain, _open_points(model, path))


def _read_points(model: Model, path: str) -> Table:
    """Read the points of a file, without a check of their scale."""
    table = io.read_table(path, _wanted(model, path))
    if _nameless(path):
        return table.with_values(table.values, counted(model, table))
    return intake.adopt(table, model.features, "the model")


def _open_points(model: Model, path: str) -> Backed:
    """Open the points of a file, without a check of their scale; values stay in the file."""
    found = io.open_table(path, _wanted(model, path))
    if _nameless(path):
        return replace(found, head=replace(found.head, features=counted(model, found.head)))
    if found.head.features == model.features:
        return found
    if set(found.head.features) != set(model.features):
        return Backed.of(_read_points(model, path))
    order = [found.head.features.index(name) for name in model.features]
    return found.columns(order, model.features)


def _nameless(path: str) -> bool:
    """Whether a file format has no feature names."""
    return Path(path).suffix.lower() in NAMELESS


def _wanted(model: Model, path: str) -> io.Selection:
    """Selection of a file's content that holds the points of a model."""
    recipe = model.recipe
    nameless = _nameless(path)
    base = prepare.selection(recipe)
    return io.Selection(
        features=() if nameless else model.features,
        annotations=base.annotations,
        id_key=recipe.id_key if not nameless else "",
        layer=recipe.layer if results.is_anndata(path) else "",
        use_rep=recipe.use_rep if results.is_anndata(path) else "",
    )


def counted(model: Model, table: Table) -> tuple[str, ...]:
    """The model's features for an array without names, after checking their number."""
    if len(table.features) != len(model.features):
        raise DataError(
            f"{table.origin} has {len(table.features)} columns, the model expects "
            f"{len(model.features)}: {', '.join(model.features[:5])}..."
        )
    return model.features


def at_time(model: Model, table: Table, time: float) -> npt.NDArray[np.bool_] | None:
    """Mask of a table's points observed at a time.

    None if the table has no times, or the run has no snapshot at that time.
    """
    told = intake.times_of(model.recipe, model.clouds, table)
    if told is None or all(cloud.time != time for cloud in model.clouds):
        return None
    return np.asarray(told == time)


def say_other_times(model: Model, table: Table, time: float, done: str) -> None:
    """Warn if a table holds points of other times than the one assumed for all.

    Args:
        model: the model with its clock.
        table: the points.
        time: clock time assumed for them.
        done: what is done with all of them, and the alternative.
    """
    there = at_time(model, table, time)
    if there is not None and not there.all():
        other = int((~there).sum())
        runtime.warn(
            f"{table.origin} holds {other} points of other times than {time:g}; all are {done}"
        )


def own_times(model: Model, table: Table, option: str = "--from") -> Array:
    """Clock time of each point of a table, shape (n,), from its time column.

    Args:
        model: the model with its clock.
        table: the points.
        option: name of the option, for messages.

    Raises:
        ConfigError: if the table has no times.
        DataError: if some are of a time unknown to the run.
    """
    told, key = intake.times_of(model.recipe, model.clouds, table), model.recipe.time_key
    if told is None:
        raise ConfigError(
            f"{option} own: {table.origin} has no column of times as the run knows them"
            f"{f' ({key})' if key else ''}: give the clock time of all points."
        )
    strange = np.flatnonzero(np.isnan(told))
    if len(strange):
        got = word(table.obs[key].iloc[strange[0]])
        raise DataError(
            f"{table.origin}: '{key}' holds {got} for some points, a time that the run does not "
            f"know. It knows {', '.join(c.label for c in model.clouds)}; say when all points were "
            f"observed with {option}."
        )
    return told


def each_time(model: Model, table: Table, time: float | str, option: str = "--from") -> Array:
    """Clock time of each point of a table, shape (n,): one for all, or "own".

    Raises:
        ConfigError: if the table has no times, or the text is not a snapshot's label.
        DataError: if some are of a time unknown to the run.
    """
    if time == OWN:
        return own_times(model, table, option)
    return np.full(len(table), verbs.clock_of(model, time))


def say_if_noise(model: Model, path: str, start: str) -> None:
    """Warn if points of a file are taken for the noise that a generator starts from.

    Args:
        model: the model with its clock.
        path: the file, empty for none.
        start: stated time of its points, empty if none was stated.
    """
    if path and model.gaussian_source and not start:
        first, last = model.timeline.times
        runtime.warn(
            f"{path}: the run starts from noise at {first:g}, and its points are taken for that. "
            f"Give --from {last:g} for points such as the run learnt, or --from {first:g} for "
            "points of the noise."
        )


def observed(model: Model, table: Table, time: float) -> Table:
    """Points of a table observed at a time; all if none are, with a warning if it has times."""
    rows = _observed(model, table, time)
    return table if len(rows) == len(table) else table.rows(rows)


def _observed(model: Model, table: Table, time: float) -> Rows:
    """Rows of a table observed at a time; all if none are, with a warning if it has times."""
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


@contextmanager
def conditions_of(model: Model, table: Table, by: str = "cfm interpolate ") -> Iterator[None]:
    """Context that explains errors in conditions of points that the run's `--where` left out.

    Raises:
        DataError: as what is done in it does.
    """
    try:
        yield
    except DataError as error:
        query, left = model.recipe.where, len(table)
        told = set(model.conditions.keys) <= set(table.obs.columns)  # no row makes up for a column
        with suppress(ConfigError):
            left = len(satisfying(table.obs, query)) if query and told else left
        if left == len(table):
            raise
        raise DataError(
            f'{error} The run was fitted with --where "{query}", which leaves {left} of these '
            f"{len(table)} points: leave the others out of {table.origin} too, or choose points "
            f"with {by}--where."
        ) from None


def starts(
    model: Model,
    request: InterpolateRequest,
    start: float,
    streams: Streams,
    say: Callable[[str], None] = lambda _: None,
) -> list[BackedCloud]:
    """Clouds to carry: every snapshot, the points of a file, or a stored snapshot.

    If the flow is conditional, all points have conditions among their annotations.

    Args:
        model: the model that carries them.
        request: the request.
        start: clock time of the start.
        streams: random streams for drawn points and conditions.
        say: receives a note if points of a file are omitted although no time was chosen.
    """
    given = request.condition
    model.conditions.checked(given)
    if request.population and not model.gaussian_source:
        clouds = [model.source.conditioned(cloud, streams, given) for cloud in model.kept]
        return [BackedCloud.of(cloud) for cloud in clouds]
    say_if_noise(model, request.data, request.start)
    whole = open_points(model, request.data) if request.data else None
    if whole:
        cloud = _given(model, whole, start)
        if len(cloud) < len(whole) and not (request.start or request.cells):
            say(
                f"{len(cloud)} of {len(whole)} points of {request.data} are of time {start:g}, and "
                "start alone: --from chooses another time."
            )
    else:
        stored = model.cloud(start, held_out=True) or _normal_cloud(model, start, streams, given)
        cloud = BackedCloud.of(model.source.conditioned(stored, streams, given))
    found = picked(cloud, request, lambda: _times(model, whole.head if whole else None))
    return [_completed(model, whole.head, found, given) if whole else found]


def _times(model: Model, table: Table | None) -> Mapping[str, float]:
    """Clock time of each point by id, from a table or the run; NaN if unknown."""
    if table is None:
        return {str(name): cloud.time for cloud in model.clouds for name in cloud.obs.index}
    told = intake.times_of(model.recipe, model.clouds, table)
    times = np.full(len(table), np.nan) if told is None else told
    return dict(zip(map(str, table.obs.index), times.tolist(), strict=True))


def _given(model: Model, whole: Backed, start: float) -> BackedCloud:
    """Points of a file observed at a time."""
    rows = _observed(model, whole.head, start)
    table = whole if len(rows) == len(whole) else whole.chosen(rows)
    mass = verbs.point_weights(model, table.head)
    head = Cloud(table.head.values, mass / mass.sum(), table.head.obs, f"{start:g}", start)
    return BackedCloud(head, lambda rows: model.encode(table.read(rows)))


def _completed(model: Model, table: Table, cloud: BackedCloud, given: Condition) -> BackedCloud:
    """Add the conditions of points to their annotations."""
    own = replace(table, values=cloud.head.points, obs=cloud.head.obs)
    with conditions_of(model, own, by=""):
        obs = model.conditions.completed(own.obs, given, own.origin)
    return replace(cloud, head=replace(cloud.head, obs=obs))


def _normal_cloud(model: Model, start: float, streams: Streams, given: Condition) -> Cloud:
    """Draw points of a Gaussian source."""
    if not model.gaussian_source or start != model.timeline.times[0]:
        listed = ", ".join(cloud.label for cloud in model.clouds)
        raise ConfigError(
            f"--from {start:g}: the run stores no cloud at that time: give DATA, or start from "
            f"one of {listed}."
        )
    return model.source.draw(STARTS, streams, given)
