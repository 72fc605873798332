"""Moved: transported points, and the annotations they add to their file."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from dataclasses import field as member
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli import io
from cfmcli.data.arrays import Array
from cfmcli.data.table import Table
from cfmcli.model import Model
from cfmcli.workflows import intake, runtime
from cfmcli.workflows.results import clocked, explained, is_anndata, loadings, written

if TYPE_CHECKING:
    import pandas as pd

Append = Callable[[Table, "Moved", Mapping[str, Any]], io.Annotation | None]

MOST_GENES = 5e8
"""Maximum number of values in a layer of results: 4 GB."""


@dataclass(frozen=True)
class Moved:
    """Points before and after transport, ready to be written.

    Args:
        start: flow coordinates, shape (n, D).
        end: flow coordinates, shape (n, D).
        velocity: at the start, per unit of the clock in flow coordinates, shape (n, D).
        values: the end in data units, shape (n, d).
        tangent: the velocity in data units, shape (n, d).
        genes: end, start and velocity in genes, shape (n, genes) each; None if too large for
            memory.
        changes: effect of changed features on the end points.
        growth: growth columns by name, shape (n,) each; empty if mass is constant.
        before: points before the change of features, flow coordinates, shape (n, D), if any.
    """

    start: Array
    end: Array
    velocity: Array
    values: Array
    tangent: Array
    genes: tuple[Array, Array, Array] | None
    changes: io.Annotation = member(default_factory=io.Annotation)
    growth: Mapping[str, Array] = member(default_factory=dict)
    before: Array | None = None

    def columns(self, obs: "pd.DataFrame") -> "pd.DataFrame":
        """Add growth columns to annotations, renamed if their names are taken."""
        taken = {k: f"cfm_{k}" if k in obs.columns else k for k in self.growth}
        return obs.assign(**{taken[k]: value for k, value in self.growth.items()})

    @property
    def marked(self) -> dict[str, Array]:
        """Growth columns under their names in an AnnData."""
        return {f"cfm_{name}": value for name, value in self.growth.items()}

    @classmethod
    def of(
        cls,
        model: Model,
        places: tuple[Array, Array, Array],
        kept: slice,
        growth: Mapping[str, Array] | None = None,
        total: int = 0,
    ) -> "Moved":
        """Convert start, end and velocity in flow coordinates, and keep some of the rows.

        Args:
            model: the model whose coordinates they are in.
            places: start, end and velocity, shape (n, D) each.
            kept: the rows to write.
            growth: growth columns by name, if any.
            total: number of rows of the whole that these are part of; 0 if they are the whole.
        """
        start, end, velocity = places
        chain = model.chain
        values, tangent = chain.inverse(end), chain.inverse_tangent(start, velocity)
        genes = None
        if _small(total or len(end), model):
            moved = chain.to_genes(end), chain.to_genes(start)
            genes = moved[0][kept], moved[1][kept], chain.to_genes_tangent(start, velocity)[kept]
        moves = start[kept], end[kept], velocity[kept], values[kept], tangent[kept]
        grown = {name: column[kept] for name, column in (growth or {}).items()}
        return cls(*moves, genes, growth=grown)


def _small(rows: int, model: Model) -> bool:
    """Whether a layer of all genes for a number of rows is small enough to write."""
    return rows * len(model.chain.genes) <= MOST_GENES


@contextmanager
def writing_moved(path: str, source: str, model: Model, head: Table) -> Iterator[Append]:
    """Write transported points piecewise, atomically.

    Output has the same columns, or is the same AnnData with the result added; for a subset of its
    points it holds only those. Yields a function that takes points as read, the same before and
    after transport, and metadata for `uns["cfm"]`; it returns what was added to an AnnData input.

    Args:
        path: output file.
        source: input file.
        model: the model whose coordinates the points are in.
        head: the points to write, without their values.
    """
    if not is_anndata(path):
        with io.writing(path, head) as rows:
            yield lambda table, moved, facts: rows(_row(table, moved))
        return
    if not is_anndata(source):
        with io.creating(path, head.obs, model.features) as file:

            def alone(table: Table, moved: Moved, facts: Mapping[str, Any]) -> None:
                added = additions(model, table, io.Outline(model.features), moved, facts)
                layers = {key: layer for key, layer in added.layers.items() if key != "cfm"}
                file.append(len(table), replace(added, layers=layers), moved.values)

            yield alone
        return
    held = io.outline(source)
    if len(head) == held.points:
        with io.extending(source, path) as file:

            def beside(table: Table, moved: Moved, facts: Mapping[str, Any]) -> io.Annotation:
                added = additions(model, table, held, moved, facts)
                file.append(len(table), added)
                return added

            yield beside
        return
    known = set(model.chain.genes) <= set(held.genes) and _small(held.points, model)
    with io.creating(path, head.obs, held.genes if known else model.features) as file:

        def some(table: Table, moved: Moved, facts: Mapping[str, Any]) -> io.Annotation:
            added = additions(model, table, held, moved, facts)
            file.append(len(table), added, added.layers.get("cfm", moved.values))
            return added

        yield some


def _row(table: Table, moved: Moved) -> Table:
    """Build rows of a file from transported points: their own columns and new ones."""
    obs = moved.columns(table.obs)
    more = [name for name in obs.columns if name not in table.obs.columns and table.columns]
    told = replace(table, values=moved.values, obs=obs, columns=(*table.columns, *more))
    return _beside(told, moved.changes.layers)


def _beside(table: Table, layers: Mapping[str, Array]) -> Table:
    """Append a column for each feature of each layer: GENE_delta of cfm_delta."""
    import pandas as pd

    added = {
        f"{feature}_{name.removeprefix('cfm_')}": values[:, k]
        for name, values in layers.items()
        for k, feature in enumerate(table.features)
    }
    kept = table.obs.drop(columns=[name for name in added if name in table.obs.columns])
    obs = pd.concat([kept, pd.DataFrame(added, index=kept.index)], axis=1)
    return replace(table, obs=obs)


def additions(
    model: Model, table: Table, held: io.Outline, moved: Moved, facts: Mapping[str, Any]
) -> io.Annotation:
    """Collect the annotations that transport adds to an AnnData, keeping those of other software.

    Args:
        model: the model whose coordinates the points are in.
        table: the points as read.
        held: existing content of the AnnData.
        moved: the points before and after.
        facts: metadata for `uns["cfm"]`.
    """
    chain, own = model.chain, False
    if table.basis.startswith("obsm:"):
        name, tail = table.basis.removeprefix("obsm:").removeprefix("X_"), {}
        end, velocity = moved.values, moved.tangent
    else:
        own = chain.after_pca is not None and held.free("obsm", "X_pca") == "X_pca"
        name, back = "pca" if own else "cfm_start", written(model)
        end, velocity = back.inverse(moved.end), back.inverse_tangent(moved.start, moved.velocity)
        tail = {f"X_{name}": back.inverse(moved.start)}
    obsm = {"X_cfm": end, **tail, held.free("obsm", f"velocity_{name}"): velocity}
    obsm |= moved.changes.obsm
    params = {"mode": "cfm", "embeddings": [name]}
    vkey = held.free("layers", "velocity")
    uns: dict[str, Any] = {"cfm": dict(facts), f"{vkey}_params": params}
    times, key = _observed(model, table, facts), model.recipe.time_key
    key = key if key in table.obs.columns else ""
    first = f"{key}_label" if f"obs/{key}_label" in held.ours else key
    obs = clocked(key, times, table.obs[first] if key else ())
    added = io.Annotation(obs={**obs, **moved.marked}, obsm=obsm, uns=uns)
    if set(chain.genes) <= set(held.genes):
        added = _with_genes(added, model, held, moved, own)
    return io.signed(added)


def _observed(model: Model, table: Table, facts: Mapping[str, Any]) -> Array:
    """Clock time of each point: from the table, else the start; NaN if unknown."""
    told = intake.times_of(model.recipe, model.clouds, table)
    return np.full(len(table), float(facts["start"])) if told is None else told


def _with_genes(
    added: io.Annotation, model: Model, held: io.Outline, moved: Moved, own: bool
) -> io.Annotation:
    """Extend the additions by gene layers; genes unknown to the model are NaN."""
    chain, count = model.chain, len(held.genes)
    place = {name: k for k, name in enumerate(held.genes)}
    columns = np.array([place[name] for name in chain.genes])
    if moved.genes is None:
        runtime.warn(
            f"Layers of {len(moved.end)} x {count} would not fit in memory: the result is in obsm "
            "only. Transport fewer points, or choose genes before the fit."
        )
        return added

    def spread(values: Array, fill: float) -> Array:
        whole = np.full((*values.shape[:-1], count), fill)
        whole[..., columns] = values
        return whole

    end, start, velocity = moved.genes
    vkey = held.free("layers", "velocity")
    layers = {
        "cfm": spread(end, np.nan),
        held.free("layers", "Ms"): spread(start, np.nan),
        vkey: spread(velocity, 0.0),
        **{name: spread(layer, np.nan) for name, layer in moved.changes.layers.items()},
    }
    var = {f"{vkey}_genes": spread(chain.moving.astype(float), 0.0) > 0}
    if chain.decoder:
        varm = {"X_mean": spread(chain.decoder.map.mean, np.nan).T}
    else:
        varm = {k: spread(v.T, 0.0).T for k, v in loadings(model, own=own).items()}
    more = explained(model) if own else {}
    return replace(added, var=var, layers=layers, varm=varm, uns={**added.uns, **more})
