"""Results: conversion of results to files for other tools."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import cfmcli
from cfmcli import io
from cfmcli.data.arrays import Array
from cfmcli.data.chain import Chain
from cfmcli.data.conditions import word
from cfmcli.data.counts import ChoiceMap
from cfmcli.data.maps import ProjectionMap
from cfmcli.data.table import Table
from cfmcli.model import Model
from cfmcli.requests import Condition, Integration, Runtime
from cfmcli.workflows import runtime

if TYPE_CHECKING:
    import pandas as pd

ANNDATA = (".h5ad", ".zarr")
AppendColumns = Callable[[Table, Mapping[str, Array]], None]


def is_anndata(path: str) -> bool:
    """Whether a path names an AnnData file."""
    return Path(path).suffix.lower() in ANNDATA


def clocked(key: str, times: Array, labels: "Sequence[object] | pd.Series[Any]") -> dict[str, Any]:
    """Time columns of cells, by name.

    Args:
        key: name of the time column, made an ordered categorical of floats; none if empty.
        times: clock times, shape (n,).
        labels: labels of the times in the data.
    """
    numbers = {"cfm_time": times}
    return {key: clock(times), f"{key}_label": labels, **numbers} if key else numbers


def clock(times: Array) -> "pd.Categorical":
    """Convert times to an ordered categorical of floats, as CellRank, moscot and WOT expect."""
    import pandas as pd

    known = np.unique(times[~np.isnan(times)])
    return pd.Categorical(times, categories=known.tolist(), ordered=True)


def loadings(model: Model, *, own: bool = True) -> dict[str, Array]:
    """Loadings of the model's PCA, if any, as varm entries.

    Args:
        model: the model with its transform.
        own: whether scanpy's names are free; they are used if its scores are written too.
    """
    if model.chain.decoder:
        back = model.chain.decoder.map
        return {"PCs": back.components.T, "X_mean": back.mean.T}
    found = _pca(model)
    if found is None:
        return {}
    names = ("PCs", "X_mean") if own and model.chain.after_pca else ("cfm_PCs", "cfm_X_mean")
    mean, components = found.mean, found.components
    for item in reversed(model.chain.maps):
        if isinstance(item, ChoiceMap):
            mean, components = item.inverse(mean), item.inverse_tangent(mean, components)
    return dict(zip(names, (components.T, mean.T), strict=True))


def explained(model: Model) -> dict[str, Any]:
    """Variances explained by the PCA, as scanpy writes them to `uns`, if its scores are written."""
    found = _pca(model)
    if found is None or not model.chain.after_pca:
        return {}
    chosen = any(isinstance(item, ChoiceMap) for item in model.chain.maps)
    params = {"zero_center": True, "use_highly_variable": chosen}
    return {"pca": {"params": params, "variance": found.variance, "variance_ratio": found.share}}


def _pca(model: Model) -> ProjectionMap | None:
    """The PCA of the model's transform, if there is exactly one."""
    found = [item for item in model.chain.maps if isinstance(item, ProjectionMap)]
    return found[0] if len(found) == 1 else None


def written(model: Model) -> Chain:
    """Map from flow coordinates to those stored in an AnnData: scores of a PCA."""
    return model.chain.after_pca or Chain((), ())


@contextmanager
def writing_columns(path: str, head: Table, names: Sequence[str]) -> Iterator[AppendColumns]:
    """Write new columns beside the ids and annotations of points, without their features.

    Yields a function that takes points and their columns, piece after piece.

    Args:
        path: output file.
        head: all points, without their values.
        names: names of the columns; existing ones are replaced, with a warning.
    """
    gone = [repr(name) for name in names if name in head.obs.columns]
    if gone:
        runtime.warn(f"{', '.join(gone)} of the points is replaced in {path}.")
    with io.writing(path, _noted(head, names, np.empty((len(head), 0)))) as append:
        yield lambda table, columns: append(
            _noted(table, names, np.stack([columns[name] for name in names], axis=1))
        )


def write_columns(path: str, table: Table, columns: Mapping[str, Array]) -> None:
    """Write new columns of all points at once, like `writing_columns`.

    Args:
        path: output file.
        table: the points.
        columns: name -> numbers, shape (n,).
    """
    with writing_columns(path, table, tuple(columns)) as append:
        append(table, columns)


def _noted(table: Table, names: Sequence[str], values: Array) -> Table:
    """Combine ids and annotations of points with columns of values.

    The id column is called id, or by the next usual name that is not taken.
    """
    kept = table.obs.drop(columns=[n for n in names if n in table.obs.columns])
    known = ("id", str(kept.index.name or "cell"), "cell", "barcode", "obs_names")
    taken = {*map(str, kept.columns), *names}
    key = next(name for name in chain(known, map("id{}".format, count(1))) if name not in taken)
    kept = kept.rename_axis(index=key)
    order = (key, *(str(c) for c in kept.columns if c != key), *names)
    return Table(values, tuple(names), kept, columns=order)


def facts(verb: str, run: str, where: Runtime, **more: str | float | int) -> dict[str, Any]:
    """Metadata of a result; nothing that differs between two equal runs."""
    said = {"verb": verb, "run": run, "version": cfmcli.__version__, "seed": where.seed}
    return {**said, **more, "generated": verb in ("sample", "interpolate")}


def chosen(condition: Condition, how: Integration | None = None) -> dict[str, Any]:
    """Metadata of a result about the chosen condition and motion."""
    said: dict[str, Any] = {"label": condition.label} if condition.label else {}
    said |= {f"covariate_{name}": value for name, value in condition.covariates.items()}
    if how:
        said |= {"solver": how.chosen} | ({"sde": how.sde} if how.sde else {})
        said |= {"precision": how.precision} if how.bf16 else {}
    return said | ({"guidance": condition.guidance} if condition.guidance != 1 else {})


def unique_names(names: "pd.Index[Any]", times: Array) -> list[str]:
    """Row names of trajectories: id and time, joined by a separator that avoids collisions."""
    return [f"{name}__t={word(time)}" for name, time in zip(names, times, strict=True)]
