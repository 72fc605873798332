"""Results: how moved points become files that other tools read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
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

    values = np.concatenate([model.chain.inverse(f.points)[f.kept] for f in frames])
    obs = pd.concat([frame.obs.iloc[frame.kept] for frame in frames])
    times = np.concatenate([np.full(len(f.obs.iloc[f.kept]), f.time) for f in frames])
    if not is_anndata(path):
        obs.insert(0, "time", times)
        obs.index.name = key
        first = [] if key in obs.columns else [key]
        lead = [*first, *(c for c in ("trajectory", "time") if c in obs.columns)]
        rest = [c for c in obs.columns if c not in lead]
        columns = (*lead, *model.features, *rest)
        table = Table(values, model.features, obs, columns=tuple(map(str, columns)))
        io.write_table(path, _without_index(table) if not first else table)
        return
    obs["time"] = clock(times)
    obs["cfm_time"] = times
    annotation = io.Annotation(
        obsm=_representations(model, np.concatenate([f.points[f.kept] for f in frames]), values),
        layers=_velocities(model, frames),
        varm=loadings(model),
        uns={"cfm": dict(facts), **explained(model)},
    )
    io.write_anndata(path, values, obs, model.features, annotation)


def _velocities(model: Model, frames: Sequence[Frame]) -> dict[str, Array]:
    """The velocity of each row in data units as a layer, where it is known."""
    parts = [
        model.chain.inverse_tangent(frame.points, frame.velocity)[frame.kept]
        for frame in frames
        if frame.velocity is not None
    ]
    return {"velocity": np.concatenate(parts)} if parts else {}


def _without_index(table: Table) -> Table:
    """The table with rows that have no id column of their own."""
    obs = table.obs.copy()
    obs.index.name = None
    return Table(table.values, table.features, obs, columns=table.columns)


def _representations(model: Model, points: Array, values: Array) -> dict[str, Array]:
    """The obsm entries of generated points: where the flow lives, if that is not the features."""
    rep = model.recipe.use_rep
    if rep:
        return {"X_rep": values, rep: values}
    return {"X_rep": points} if not model.chain.invertible else {}


def clock(times: Array) -> "pd.Categorical":
    """Times as an ordered categorical of floats, which CellRank, moscot and WOT read alike."""
    import pandas as pd

    return pd.Categorical(times, categories=sorted(set(times.tolist())), ordered=True)


def loadings(model: Model, *, own: bool = True) -> dict[str, Array]:
    """The PCA of the model, if it has one, as varm entries.

    Args:
        model: whose transform is meant.
        own: the names that scanpy uses are free; they are taken where the PCA is what comes last
            before the flow, so that they belong to the coordinates written beside them.
    """
    found = _pca(model)
    if found is None:
        return {}
    names = ("PCs", "X_mean") if own and _ends_in_pca(model) else ("cfm_PCs", "cfm_X_mean")
    mean, components = found.mean, found.components
    for item in reversed(model.chain.maps):
        if isinstance(item, ChoiceMap):
            mean, components = item.inverse(mean), item.inverse_tangent(mean, components)
    return dict(zip(names, (components.T, mean.T), strict=True))


def explained(model: Model) -> dict[str, Any]:
    """What that PCA explains, as scanpy writes it to `uns`, where it comes last."""
    found = _pca(model)
    if found is None or not _ends_in_pca(model):
        return {}
    chosen = any(isinstance(item, ChoiceMap) for item in model.chain.maps)
    params = {"zero_center": True, "use_highly_variable": chosen}
    return {"pca": {"params": params, "variance": found.variance, "variance_ratio": found.share}}


def _pca(model: Model) -> ProjectionMap | None:
    """The PCA of the model's transform, if there is one and it starts from features."""
    found = [item for item in model.chain.maps if isinstance(item, ProjectionMap)]
    return found[0] if len(found) == 1 else None


def _ends_in_pca(model: Model) -> bool:
    """Whether the flow lives in the coordinates of that PCA."""
    return model.chain.maps[-1] is _pca(model)


@dataclass(frozen=True)
class Moved:
    """Points before and after transport, as they are written.

    Args:
        start: flow coordinates, shape (n, D).
        end: flow coordinates, shape (n, D).
        velocity: at the start, per unit of the clock in flow coordinates, shape (n, D).
        values: the end in data units, shape (n, d).
        tangent: the velocity in data units, shape (n, d).
        changes: what a change of their features did to where they end.
        growth: columns of growth by name, shape (n,) each; none where mass is constant.
    """

    start: Array
    end: Array
    velocity: Array
    values: Array
    tangent: Array
    changes: io.Annotation = member(default_factory=io.Annotation)
    growth: Mapping[str, Array] = member(default_factory=dict)

    def columns(self, obs: "pd.DataFrame") -> "pd.DataFrame":
        """Annotations with the growth of the points, under other names where these are taken."""
        taken = {k: f"cfm_{k}" if k in obs.columns else k for k in self.growth}
        return obs.assign(**{taken[k]: value for k, value in self.growth.items()})

    @classmethod
    def of(
        cls,
        model: Model,
        places: tuple[Array, Array, Array],
        kept: slice,
        growth: Mapping[str, Array] | None = None,
    ) -> "Moved":
        """From start, end and velocity in flow coordinates; some of the rows.

        Args:
            model: whose coordinates they are in.
            places: start, end and velocity, shape (n, D) each.
            kept: the rows that are written.
            growth: columns of growth by name, if there are any.
        """
        start, end, velocity = (place[kept] for place in places)
        values = model.chain.inverse(places[1])[kept]
        tangent = model.chain.inverse_tangent(places[0], places[2])[kept]
        grown = {name: column[kept] for name, column in (growth or {}).items()}
        return cls(start, end, velocity, values, tangent, growth=grown)


def write_moved(
    path: str, source: str, model: Model, table: Table, moved: Moved, facts: Mapping[str, Any]
) -> io.Annotation | None:
    """Write transported points: the same columns, or the same AnnData with the result added.

    Args:
        path: output file.
        source: input file.
        model: whose coordinates the points are in.
        table: the points as read, or some of them.
        moved: the points before and after.
        facts: what `uns["cfm"]` says.

    Returns:
        What was added to an AnnData; of some of its points it holds those alone.
    """
    if not is_anndata(path):
        obs = moved.columns(table.obs)
        more = [name for name in obs.columns if name not in table.obs.columns and table.columns]
        columns = (*table.columns, *more)
        told = replace(table, values=moved.values, obs=obs, columns=columns)
        io.write_table(path, _beside(told, moved.changes.layers))
        return None
    if not is_anndata(source):
        added = io.Annotation(
            obs=_marked(moved),
            obsm={"X_cfm": moved.end, **moved.changes.obsm},
            layers={"velocity": moved.tangent, **moved.changes.layers},
            varm=loadings(model),
            uns={"cfm": dict(facts), **explained(model)},
        )
        io.write_anndata(path, moved.values, table.obs, model.features, added)
        return None
    held = io.describe(source)
    holder = Holder(held["obsm"], io.feature_names(source))
    added = additions(model, table.basis, holder, moved, facts)
    if len(table) == held["shape"][0]:
        io.annotate(source, path, added)
    else:
        order = holder.order(model.features)
        names = tuple(model.features[k] for k in order)
        io.write_anndata(path, moved.values[:, order], table.obs, names, added)
    return added


def _beside(table: Table, layers: Mapping[str, Array]) -> Table:
    """The table with a column more for each feature of each layer: GENE_delta of cfm_delta."""
    import pandas as pd

    added = {
        f"{feature}_{name.removeprefix('cfm_')}": values[:, k]
        for name, values in layers.items()
        for k, feature in enumerate(table.features)
    }
    kept = table.obs.drop(columns=[name for name in added if name in table.obs.columns])
    obs = pd.concat([kept, pd.DataFrame(added, index=kept.index)], axis=1)
    return replace(table, obs=obs)


@dataclass(frozen=True)
class Holder:
    """What an AnnData holds already.

    Args:
        obsm: keys of its representations.
        features: names of its features.
    """

    obsm: Collection[str]
    features: Sequence[str]

    def holds(self, names: Sequence[str]) -> bool:
        """Whether its features are these, in whatever order."""
        return set(self.features) == set(names)

    def order(self, names: Sequence[str]) -> list[int]:
        """Where each of its features stands among these names; as they are if they are others."""
        place = {name: k for k, name in enumerate(names)}
        return [place[name] for name in (self.features if self.holds(names) else names)]


def additions(
    model: Model, basis: str, holder: Holder, moved: Moved, facts: Mapping[str, Any]
) -> io.Annotation:
    """What transport adds to an AnnData.

    Args:
        model: whose coordinates the points are in.
        basis: where the points were read from: "X", "layer:KEY" or "obsm:KEY".
        holder: what is there already; none of it is replaced but earlier results.
        moved: the points before and after.
        facts: what `uns["cfm"]` says.
    """
    uns: dict[str, Any] = {"cfm": dict(facts)}
    obs = _marked(moved)
    if basis.startswith("obsm:"):
        name = basis.removeprefix("obsm:").removeprefix("X_")
        obsm = {"X_cfm": moved.values, f"velocity_{name}": moved.tangent}
        return io.Annotation(obs=obs, obsm=obsm, uns=uns)
    own = _ends_in_pca(model) and "X_pca" not in holder.obsm
    name = "pca" if own else "cfm_start"
    obsm = {
        "X_cfm": moved.end,
        f"X_{name}": moved.start,
        f"velocity_{name}": moved.velocity,
        **moved.changes.obsm,
    }
    if not holder.holds(model.features):
        return io.Annotation(obs=obs, obsm=obsm, uns=uns)
    layers = {"cfm": moved.values, "velocity": moved.tangent, **moved.changes.layers}
    more, order = explained(model) if own else {}, holder.order(model.features)
    return io.Annotation(
        obs=obs,
        obsm=obsm,
        layers={name: values[:, order] for name, values in layers.items()},
        varm={name: values[order] for name, values in loadings(model, own=own).items()},
        uns=uns | more,
    )


def _marked(moved: Moved) -> dict[str, Array]:
    """The columns of growth under the names that cfm has in an AnnData."""
    return {f"cfm_{name}": value for name, value in moved.growth.items()}


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
