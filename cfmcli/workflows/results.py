"""Results: how moved points become files that other tools read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as member
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import cfmcli
from cfmcli import io
from cfmcli.data.counts import ChoiceMap
from cfmcli.data.maps import ProjectionMap
from cfmcli.data.table import Array, Table
from cfmcli.model import Model
from cfmcli.requests import Condition, Integration, Runtime
from cfmcli.workflows import prepare

if TYPE_CHECKING:
    import pandas as pd

ANNDATA = (".h5ad", ".zarr")


@dataclass(frozen=True)
class Frame:
    """Points at one time, ready to be written.

    Args:
        points: flow coordinates, shape (n, D).
        time: clock time.
        obs: the other columns, indexed by row name.
        velocity: velocity per unit of the clock in flow coordinates, shape (n, D), or None.
        kept: the rows that are written.
    """

    points: Array
    time: float
    obs: "pd.DataFrame"
    velocity: Array | None = None
    kept: slice = member(default_factory=lambda: slice(None))


def is_anndata(path: str) -> bool:
    """Whether a path names an AnnData file."""
    return Path(path).suffix.lower() in ANNDATA


def write_frames(
    path: str, model: Model, frames: Sequence[Frame], key: str, facts: Mapping[str, Any]
) -> None:
    """Write points at times: tidy rows, or an AnnData whose X is in the input's feature space.

    Args:
        path: output file.
        model: whose coordinates the points are in.
        frames: the rows, those of one time after those of another.
        key: name of the column that the index becomes in a delimited file.
        facts: what `uns["cfm"]` says.
    """
    import pandas as pd

    obs = pd.concat([frame.obs.iloc[frame.kept] for frame in frames])
    times = np.concatenate([np.full(len(f.obs.iloc[f.kept]), f.time) for f in frames])
    if is_anndata(path):
        _write_simulated(path, model, frames, obs.assign(**_stamps(model, times)), facts)
        return
    values = np.concatenate([model.chain.inverse(f.points)[f.kept] for f in frames])
    obs.insert(0, "time", times)
    obs.index.name = key
    first = [] if key in obs.columns else [key]
    lead = [*first, *(c for c in ("trajectory", "time") if c in obs.columns)]
    rest = [c for c in obs.columns if c not in lead]
    columns = (*lead, *model.features, *rest)
    table = Table(values, model.features, obs, columns=tuple(map(str, columns)))
    io.write_table(path, _without_index(table) if not first else table)


def _write_simulated(
    path: str,
    model: Model,
    frames: Sequence[Frame],
    obs: "pd.DataFrame",
    facts: Mapping[str, Any],
) -> None:
    """Write points at times as an AnnData of genes."""
    chain = model.chain
    genes = np.concatenate([chain.to_genes(f.points)[f.kept] for f in frames])
    obsm = _stacked([{k: v[f.kept] for k, v in _places(model, f).items()} for f in frames])
    layers = _velocities(model, frames)
    bases = [name.removeprefix("velocity_") for name in obsm if name.startswith("velocity_")]
    uns = {"cfm": dict(facts), **explained(model)}
    uns |= {"velocity_params": {"mode": "cfm", "embeddings": bases}} if layers else {}
    var = {"velocity_genes": chain.moving} if layers else {}
    added = io.Annotation(var=var, obsm=obsm, layers=layers, varm=loadings(model), uns=uns)
    io.write_anndata(path, genes, obs, chain.genes, io.signed(added))


def _stamps(model: Model, times: Array) -> dict[str, Any]:
    """The columns of times, with what the data call them, where they call them anything."""
    known = {cloud.time: cloud.label for cloud in model.clouds}
    return clocked("time", times, [known.get(time, prepare.label(time)) for time in times])


def _places(model: Model, frame: Frame) -> dict[str, Array]:
    """Points and velocities where the flow lives, as obsm entries."""
    found = _representations(model, frame.points)
    if frame.velocity is None:
        return found
    moving = _representations(model, frame.points, frame.velocity)
    return found | {f"velocity_{name.removeprefix('X_')}": v for name, v in moving.items()}


def _stacked(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Arrays by name, those of one part below those of another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _velocities(model: Model, frames: Sequence[Frame]) -> dict[str, Array]:
    """The velocity of each row in genes as a layer, where it is known."""
    parts = [
        model.chain.to_genes_tangent(frame.points, frame.velocity)[frame.kept]
        for frame in frames
        if frame.velocity is not None
    ]
    return {"velocity": np.concatenate(parts)} if parts else {}


def _without_index(table: Table) -> Table:
    """The table with rows that have no id column of their own."""
    obs = table.obs.copy()
    obs.index.name = None
    return Table(table.values, table.features, obs, columns=table.columns)


def _representations(
    model: Model, points: Array, velocity: Array | None = None
) -> dict[str, Array]:
    """Where the flow lives, if that is not the features, as obsm entries by name.

    Args:
        model: whose coordinates the points are in.
        points: flow coordinates.
        velocity: what to tell at the points, in flow coordinates, instead of themselves.
    """
    rep, chain = model.recipe.use_rep, model.chain
    if rep:
        own = chain.inverse(points) if velocity is None else chain.inverse_tangent(points, velocity)
        return {"X_rep": own, rep: own}
    own = points if velocity is None else velocity
    names = ("X_rep", "X_pca") if ends_in_pca(model) else ("X_rep",)
    return {} if chain.invertible else dict.fromkeys(names, own)


def clocked(key: str, times: Array, labels: "Sequence[object] | pd.Series[Any]") -> dict[str, Any]:
    """The columns that tell the time of cells, by name.

    Args:
        key: the column of times, made an ordered categorical of floats; none if empty.
        times: clock times, shape (n,).
        labels: what the data call them.
    """
    numbers = {"cfm_time": times}
    return {key: clock(times), f"{key}_label": labels, **numbers} if key else numbers


def clock(times: Array) -> "pd.Categorical":
    """Times as an ordered categorical of floats, which CellRank, moscot and WOT read alike."""
    import pandas as pd

    known = np.unique(times[~np.isnan(times)])
    return pd.Categorical(times, categories=known.tolist(), ordered=True)


def loadings(model: Model, *, own: bool = True) -> dict[str, Array]:
    """The PCA of the model, if it has one, as varm entries.

    Args:
        model: whose transform is meant.
        own: the names that scanpy uses are free; they are taken where the PCA is what comes last
            before the flow, so that they belong to the coordinates written beside them.
    """
    if model.chain.decoder:
        back = model.chain.decoder.map
        return {"PCs": back.components.T, "X_mean": back.mean.T}
    found = _pca(model)
    if found is None:
        return {}
    names = ("PCs", "X_mean") if own and ends_in_pca(model) else ("cfm_PCs", "cfm_X_mean")
    mean, components = found.mean, found.components
    for item in reversed(model.chain.maps):
        if isinstance(item, ChoiceMap):
            mean, components = item.inverse(mean), item.inverse_tangent(mean, components)
    return dict(zip(names, (components.T, mean.T), strict=True))


def explained(model: Model) -> dict[str, Any]:
    """What that PCA explains, as scanpy writes it to `uns`, where it comes last."""
    found = _pca(model)
    if found is None or not ends_in_pca(model):
        return {}
    chosen = any(isinstance(item, ChoiceMap) for item in model.chain.maps)
    params = {"zero_center": True, "use_highly_variable": chosen}
    return {"pca": {"params": params, "variance": found.variance, "variance_ratio": found.share}}


def _pca(model: Model) -> ProjectionMap | None:
    """The PCA of the model's transform, if there is one and it starts from features."""
    found = [item for item in model.chain.maps if isinstance(item, ProjectionMap)]
    return found[0] if len(found) == 1 else None


def ends_in_pca(model: Model) -> bool:
    """Whether the flow lives in the coordinates of that PCA."""
    return model.chain.maps[-1] is _pca(model)


def write_columns(path: str, table: Table, columns: Mapping[str, Array]) -> None:
    """Write new columns beside the ids and annotations of points, without their features.

    Args:
        path: output file.
        table: the points.
        columns: name -> numbers, shape (n,); a name that is there is replaced.
    """
    names = tuple(columns)
    kept = table.obs.drop(columns=[n for n in names if n in table.obs.columns])
    kept.index.name = "id"
    order = ("id", *(str(c) for c in kept.columns if c != "id"), *names)
    values = np.stack(list(columns.values()), axis=1)
    io.write_table(path, Table(values, names, kept, columns=order))


def facts(verb: str, run: str, where: Runtime, **more: str | float | int) -> dict[str, Any]:
    """What a result says of how it came to be; nothing that differs between two equal runs."""
    said = {"verb": verb, "run": run, "version": cfmcli.__version__, "seed": where.seed}
    return {**said, **more, "generated": verb in ("sample", "interpolate")}


def chosen(condition: Condition, how: Integration | None = None) -> dict[str, Any]:
    """What a result says of the condition that was chosen for its points, and of their motion."""
    said: dict[str, Any] = {"label": condition.label} if condition.label else {}
    said |= {f"covariate_{name}": value for name, value in condition.covariates.items()}
    if how:
        said |= {"solver": how.chosen} | ({"sde": how.sde} if how.sde else {})
    return said | ({"guidance": condition.guidance} if condition.guidance != 1 else {})


def unique_names(names: "pd.Index[Any]", times: Array) -> list[str]:
    """Row names of trajectories: id and time, with a separator no id collides with."""
    return [f"{name}__t={time:.12g}" for name, time in zip(names, times, strict=True)]
