"""Frames: points at several times, written piecewise in the order of the times."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from dataclasses import field as member
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli import io
from cfmcli.data.arrays import Array
from cfmcli.data.chain import Chain
from cfmcli.data.conditions import word
from cfmcli.data.table import Table
from cfmcli.model import Model
from cfmcli.workflows.results import clocked, explained, is_anndata, loadings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Frame:
    """Annotations of all points at one time.

    Args:
        time: clock time.
        obs: the other columns, indexed by row name.
    """

    time: float
    obs: "pd.DataFrame"


@dataclass(frozen=True)
class Piece:
    """A part of a frame's points, ready to be written.

    Args:
        points: flow coordinates, shape (n, D).
        velocity: per unit of the clock in flow coordinates, shape (n, D), or None.
        kept: the rows to write.
        columns: values of those rows that replace columns of the frame.
    """

    points: Array
    velocity: Array | None = None
    kept: slice = member(default_factory=lambda: slice(None))
    columns: Mapping[str, Array] = member(default_factory=dict)


Append = Callable[[Piece, Mapping[str, Any]], None]


@contextmanager
def writing_frames(path: str, model: Model, frames: Sequence[Frame], key: str) -> Iterator[Append]:
    """Write points at several times: tidy rows, or an AnnData with X in the input's features.

    Yields a function that takes the pieces, frame after frame, and the metadata for
    `uns["cfm"]`.

    Args:
        path: output file.
        model: the model whose coordinates the points are in.
        frames: times and other columns of the frames, in order.
        key: name of the index column in a delimited file.
    """
    import pandas as pd

    obs = pd.concat([frame.obs for frame in frames])
    times = np.concatenate([np.full(len(frame.obs), frame.time) for frame in frames])
    writer = _simulated if is_anndata(path) else _tidy
    with writer(path, model, obs, times, key) as append:
        yield append


@contextmanager
def _tidy(path: str, model: Model, obs: "pd.DataFrame", times: Array, key: str) -> Iterator[Append]:
    """Write points at times as rows of a file."""
    obs.insert(0, "time", times)
    named = key not in obs.columns
    obs = obs.rename_axis(index=key if named else None)
    lead = [*([key] if named else []), *(c for c in ("trajectory", "time") if c in obs.columns)]
    rest = [c for c in obs.columns if c not in lead]
    columns = tuple(map(str, (*lead, *model.features, *rest)))
    head, done = Table(np.empty((len(obs), 0)), model.features, obs, columns=columns), 0

    with io.writing(path, head) as rows:

        def append(piece: Piece, facts: Mapping[str, Any]) -> None:
            nonlocal done
            values = model.chain.inverse(piece.points)[piece.kept]
            part = obs.iloc[done : done + len(values)].assign(**piece.columns)
            rows(Table(values, model.features, part, columns=columns))
            done += len(values)

        yield append


@contextmanager
def _simulated(
    path: str, model: Model, obs: "pd.DataFrame", times: Array, key: str
) -> Iterator[Append]:
    """Write points at times as an AnnData of genes."""
    chain, done = model.chain, 0
    obs = obs.assign(**_stamps(model, times))
    changing: set[str] = set()

    with io.creating(path, obs, chain.genes) as file:

        def append(piece: Piece, facts: Mapping[str, Any]) -> None:
            nonlocal done
            genes = chain.to_genes(piece.points)[piece.kept]
            rows = obs.iloc[done : done + len(genes)]
            changing.update(piece.columns)
            own = {name: piece.columns.get(name, rows[name].array) for name in changing}
            file.append(len(genes), _additions(model, piece, own, facts), genes)
            done += len(genes)

        yield append


def _additions(
    model: Model, piece: Piece, obs: Mapping[str, Any], facts: Mapping[str, Any]
) -> io.Annotation:
    """Collect annotations of an AnnData of points at times, beyond the genes."""
    chain, moving = model.chain, piece.velocity is not None
    obsm = {name: values[piece.kept] for name, values in _places(model, piece).items()}
    bases = [name.removeprefix("velocity_") for name in obsm if name.startswith("velocity_")]
    uns = {"cfm": dict(facts), **explained(model)}
    uns |= {"velocity_params": {"mode": "cfm", "embeddings": bases}} if moving else {}
    layers = {}
    if piece.velocity is not None:
        layers["velocity"] = chain.to_genes_tangent(piece.points, piece.velocity)[piece.kept]
    var = {"velocity_genes": chain.moving} if moving else {}
    added = io.Annotation(var=var, obsm=obsm, layers=layers, varm=loadings(model), uns=uns)
    return replace(io.signed(added), obs=obs)


def _stamps(model: Model, times: Array) -> dict[str, Any]:
    """Time columns, with the labels of the data if there are any."""
    known = {cloud.time: cloud.label for cloud in model.clouds}
    return clocked("time", times, [known.get(time, word(time)) for time in times])


def _places(model: Model, piece: Piece) -> dict[str, Array]:
    """Points and velocities in the flow's representations, as obsm entries."""
    found = _representations(model, piece.points)
    if piece.velocity is None:
        return found
    moving = _representations(model, piece.points, piece.velocity)
    return found | {f"velocity_{name.removeprefix('X_')}": v for name, v in moving.items()}


def _representations(
    model: Model, points: Array, velocity: Array | None = None
) -> dict[str, Array]:
    """Values in the flow's own representation, if that is not the features, by obsm name.

    Args:
        model: the model whose coordinates the points are in.
        points: flow coordinates.
        velocity: vectors to convert at the points, instead of the points themselves.
    """
    rep, chain = model.recipe.use_rep, model.chain

    def told(part: Chain) -> Array:
        return part.inverse(points) if velocity is None else part.inverse_tangent(points, velocity)

    if rep:
        own = told(chain)
        return {"X_rep": own, rep: own}
    if chain.invertible:
        return {}
    found = {"X_rep": points if velocity is None else velocity}
    return found | ({"X_pca": told(chain.after_pca)} if chain.after_pca else {})
