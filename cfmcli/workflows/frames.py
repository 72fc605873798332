"""Frames: points at times, written piece after piece in the order of their times."""

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
    """All points at one time, without their numbers.

    Args:
        time: clock time.
        obs: the other columns, indexed by row name.
    """

    time: float
    obs: "pd.DataFrame"


@dataclass(frozen=True)
class Piece:
    """Some points of a frame, ready to be written.

    Args:
        points: flow coordinates, shape (n, D).
        velocity: per unit of the clock in flow coordinates, shape (n, D), or None.
        kept: the rows that are written.
        columns: numbers of those rows that take the place of columns of the frame.
    """

    points: Array
    velocity: Array | None = None
    kept: slice = member(default_factory=lambda: slice(None))
    columns: Mapping[str, Array] = member(default_factory=dict)


Append = Callable[[Piece, Mapping[str, Any]], None]


@contextmanager
def writing_frames(path: str, model: Model, frames: Sequence[Frame], key: str) -> Iterator[Append]:
    """Write points at times: tidy rows, or an AnnData whose X is in the input's feature space.

    What is yielded takes the pieces of one frame after those of another, and what `uns["cfm"]`
    says.

    Args:
        path: output file.
        model: whose coordinates the points are in.
        frames: their times and other columns, in order.
        key: name of the column that the index becomes in a delimited file.
    """
    import pandas as pd

    obs = pd.concat([frame.obs for frame in frames])
    times = np.concatenate([np.full(len(frame.obs), frame.time) for frame in frames])
    writer = _simulated if is_anndata(path) else _tidy
    with writer(path, model, obs, times, key) as append:
        yield append


@contextmanager
def _tidy(path: str, model: Model, obs: "pd.DataFrame", times: Array, key: str) -> Iterator[Append]:
    """Points at times as rows of a file."""
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
    """Points at times as an AnnData of genes."""
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
    """What an AnnData of points at times holds beside their genes."""
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
    """The columns of times, with what the data call them, where they call them anything."""
    known = {cloud.time: cloud.label for cloud in model.clouds}
    return clocked("time", times, [known.get(time, word(time)) for time in times])


def _places(model: Model, piece: Piece) -> dict[str, Array]:
    """Points and velocities where the flow lives, as obsm entries."""
    found = _representations(model, piece.points)
    if piece.velocity is None:
        return found
    moving = _representations(model, piece.points, piece.velocity)
    return found | {f"velocity_{name.removeprefix('X_')}": v for name, v in moving.items()}


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

    def told(part: Chain) -> Array:
        return part.inverse(points) if velocity is None else part.inverse_tangent(points, velocity)

    if rep:
        own = told(chain)
        return {"X_rep": own, rep: own}
    if chain.invertible:
        return {}
    found = {"X_rep": points if velocity is None else velocity}
    return found | ({"X_pca": told(chain.after_pca)} if chain.after_pca else {})
