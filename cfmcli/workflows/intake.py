"""Intake: converts tables to snapshots in time order, in data units."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli import io
from cfmcli.data.arrays import Array
from cfmcli.data.blocks import stacked
from cfmcli.data.conditions import absent, word
from cfmcli.data.maps import dense
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.data.table import Table
from cfmcli.data.times import TimeMap, map_times
from cfmcli.data.transforms import some
from cfmcli.errors import ConfigError, DataError
from cfmcli.io import require
from cfmcli.recipe import Recipe
from cfmcli.workflows.growth import massive
from cfmcli.workflows.holdout import held_out
from cfmcli.workflows.queries import advised, chosen, spelled

if TYPE_CHECKING:
    import pandas as pd


def snapshots(recipe: Recipe, tables: Sequence[Table]) -> tuple[Snapshots, TimeMap]:
    """Build the clouds of tables, each at its time.

    Args:
        recipe: settings of the fit: keys, times and what is held out.
        tables: the inputs, in the order given.

    Returns:
        Snapshots in data units, and how their times were determined.

    Raises:
        DataError: if tables are inconsistent or a key is missing.
        ConfigError: if options about time contradict the data.
    """
    aligned = align([chosen(table, recipe.where) for table in tables])
    optional = len(aligned) > 1 and not recipe.time_key
    for key in (recipe.label_key, *recipe.covariates):
        for table in aligned[1:] if optional else aligned:
            if key:
                require(table, key)
                _filled(table, key, "label" if key == recipe.label_key else "number")
    clouds, times = (
        _by_key(recipe, aligned, tables) if recipe.time_key else _by_file(recipe, aligned)
    )
    held = held_out(recipe.holdout, clouds)
    clouds = massive(recipe.mass, clouds)
    marked = tuple(replace(cloud, held_out=cloud.label in held) for cloud in clouds)
    return Snapshots(marked, recipe.source == "gaussian"), times


def align(tables: Sequence[Table]) -> list[Table]:
    """Align tables to the features of the first, in its order.

    Raises:
        DataError: if one has other features.
    """
    first = tables[0]
    for table in tables[1:]:
        extra = set(table.features) - set(first.features)
        if extra:
            raise DataError(
                f"{table.origin} has features that {first.origin} has not: {some(sorted(extra))}. "
                "Choose common ones with --features, or --drop these."
            )
    return [first, *(adopt(table, first.features, first.origin) for table in tables[1:])]


def adopt(table: Table, features: tuple[str, ...], wanted_by: str) -> Table:
    """Select features in a given order; other numeric columns become annotations.

    Args:
        table: points to align.
        features: names of the features.
        wanted_by: who requires them, for messages.

    Raises:
        DataError: if one is missing.
    """
    if table.features == features:
        return table
    place = {name: k for k, name in enumerate(table.features)}
    missing = [name for name in features if name not in place]
    if missing:
        raise DataError(
            f"{table.origin} lacks {len(missing)} of the {len(features)} features of {wanted_by}: "
            f"{some(missing)}. It has {some(table.features)}."
        )
    obs = table.obs.copy()
    for name in table.features:
        if name not in features and table.basis == "X":
            obs[name] = dense(table.values[:, [place[name]]])[:, 0]
    order = [place[name] for name in features]
    return replace(table, values=table.values[:, order], features=features, obs=obs)


def weights(table: Table, key: str) -> Array:
    """Sample weights of a table's points, shape (n,), all one without a key.

    Raises:
        DataError: if they are not positive, finite numbers.
    """
    if not key:
        return np.ones(len(table))
    require(table, key)
    try:
        values = np.asarray(table.obs[key], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{table.origin}: the weights in '{key}' are not numbers: choose another --weight-key."
        ) from None
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        raise DataError(
            f"{io.place(table, bad[0])} has the weight {values[bad[0]]:g} in '{key}': expected "
            f"positive, finite numbers ({len(bad)} are not)."
        )
    return values


def times_of(recipe: Recipe, clouds: Sequence[Cloud], table: Table) -> Array | None:
    """Clock time of each point, shape (n,), from its label or the number it equals.

    NaN for times without a cloud; None if the table has no times.
    """
    if not recipe.time_key or recipe.time_key not in table.obs.columns:
        return None
    known = {word(c.time): c.time for c in clouds} | {c.label: c.time for c in clouds}
    told = [known.get(word(value), np.nan) for value in table.obs[recipe.time_key]]
    return np.array(told, dtype=np.float64)


def _by_file(recipe: Recipe, tables: Sequence[Table]) -> tuple[list[Cloud], TimeMap]:
    """Build one cloud per file, at 0, 1, 2, ... or at given times."""
    if recipe.time_map or recipe.time_order:
        raise ConfigError("--time-map and --time-order need --time-key, the column they speak of.")
    gaussian = recipe.source == "gaussian"
    times = recipe.times or tuple(float(k + gaussian) for k in range(len(tables)))
    if len(times) != len(tables):
        raise ConfigError(
            f"--times gives {len(times)} times for {len(tables)} files: give one each."
        )
    if any(b <= a for a, b in pairwise(times)):
        listed = ", ".join(f"{t:g}" for t in times)
        raise ConfigError(f"--times {listed}: expected ascending times, the files in that order.")
    if len(tables) < 2 and not gaussian:
        raise DataError(
            f"Found one cloud, {tables[0].origin}: give a second file, name the column of times "
            "with --time-key, or learn a generator of it with --source gaussian."
        )
    for table in tables:
        if len(table) < 2:
            raise DataError(
                f"{table.origin}: it has {len(table)} point(s) to learn from, expected at least 2: "
                "leave that file out, or add points."
            )
    clouds = [
        _cloud(table, weights(table, recipe.weight_key), word(time), time)
        for table, time in zip(tables, times, strict=True)
    ]
    rule = "--times" if recipe.times else "order of the files"
    return clouds, TimeMap(tuple(c.label for c in clouds), times, rule)


def _by_key(
    recipe: Recipe, tables: Sequence[Table], unchosen: Sequence[Table]
) -> tuple[list[Cloud], TimeMap]:
    """Build one cloud per time label, over all files.

    Args:
        recipe: settings of the fit, including how times are determined.
        tables: the selected points.
        unchosen: the same files with all their points.
    """
    if recipe.times:
        raise ConfigError("--times is for one file a time; with --time-key use --time-map.")
    labels = [_labels(table, recipe.time_key) for table in tables]
    if not any(map(len, tables)):
        raise DataError(
            f'{tables[0].origin}: no point is left by --where "{recipe.where}": choose another '
            "condition."
        )
    for table in tables:
        weights(table, recipe.weight_key)  # rows still correspond to lines here
    order, ranked = _distinct(labels, [table.obs[recipe.time_key] for table in tables])
    found = map_times(
        order,
        given=recipe.time_map,
        order=recipe.time_order,
        ranked=ranked,
        left_out=_known(recipe, unchosen) - set(order) if recipe.where else (),
    )
    clouds = []
    for name, time in zip(found.labels, found.times, strict=True):
        parts = [table.rows(own == name) for table, own in zip(tables, labels, strict=True)]
        whole = _joined([part for part in parts if len(part)])
        if len(whole) < 2:
            raise _lonely(whole, recipe.time_key, name)
        clouds.append(_cloud(whole, weights(whole, recipe.weight_key), name, time))
    return clouds, found


def _lonely(table: Table, key: str, name: str) -> DataError:
    """Build the error for a time with a single point, with how to leave it out."""
    value = table.obs[key].iloc[0]
    said = f"'{value}'" if isinstance(value, str) else name
    return DataError(
        f"{table.origin}: Time {name} in '{key}' has 1 point, expected at least 2: leave that time "
        f"out with {advised(f'{spelled(key)} != {said}')}, or add points."
    )


def _labels(table: Table, key: str) -> npt.NDArray[Any]:
    """Time label of every point of a table."""
    from pandas.api.types import is_bool_dtype

    require(table, key)
    _filled(table, key, "time")
    if is_bool_dtype(table.obs[key]):
        raise DataError(
            f"{table.origin}: '{key}' holds true and false, expected times: numbers, or labels "
            "such as d2. Choose another --time-key, or write the times out."
        )
    return np.array([word(value) for value in table.obs[key]], dtype=object)


def _known(recipe: Recipe, tables: Sequence[Table]) -> set[str]:
    """All time labels of tables, including those of unselected points."""
    columns = (table.obs[recipe.time_key] for table in tables)
    return {word(value) for column in columns for value in column.dropna().unique()}


def _filled(table: Table, key: str, what: str) -> None:
    """Raise if points lack a value in a column.

    Raises:
        DataError: with file, line and id of the first.
    """
    missing = np.flatnonzero(absent(table.obs[key]))
    if len(missing):
        name, gone = spelled(key), table.obs[key].isna().to_numpy().sum()
        tests = {f"{name}.notna()": gone, f"{name} != ''": len(missing) - gone}
        rest = " and ".join(test for test, count in tests.items() if count)
        raise DataError(
            f"{io.place(table, missing[0])} has no {what} in '{key}' ({len(missing)} such "
            f"points): fill it in, or leave those out with {advised(rest)}."
        )


def _distinct(
    labels: Sequence[npt.NDArray[Any]], columns: Sequence["pd.Series[Any]"]
) -> tuple[list[str], bool]:
    """Distinct labels, in category order if all columns share one ordering."""
    import pandas as pd

    present = set(np.concatenate(labels))
    kinds = [c.dtype for c in columns]
    first = kinds[0]
    if isinstance(first, pd.CategoricalDtype) and first.ordered and all(k == first for k in kinds):
        return [name for name in map(word, first.categories) if name in present], True
    return sorted(present), False


def _joined(tables: Sequence[Table]) -> Table:
    """Concatenate tables with the same features."""
    if len(tables) == 1:
        return tables[0]
    import pandas as pd

    values = stacked([table.values for table in tables])
    obs = pd.concat([table.obs for table in tables])
    return replace(tables[0], values=values, obs=obs.set_axis(io.numbered(obs.index), axis=0))


def _cloud(table: Table, mass: Array, name: str, time: float) -> Cloud:
    """Convert a table to the cloud of one time."""
    total = float(mass.sum())
    return Cloud(table.values, mass / total, table.obs, name, time, mass=total)
