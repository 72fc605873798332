"""Sight: loads a run for pictures, with the requested embedding, classes and colours."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli import catalog, io
from cfmcli.data.blocks import by_blocks
from cfmcli.data.table import Table
from cfmcli.errors import ConfigError, DataError
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.plots import Embedding, Scene, own_plane
from cfmcli.requests import Runtime, View
from cfmcli.workflows import points, results, runtime, score, verbs
from cfmcli.workflows.run import LOSSES, Run

if TYPE_CHECKING:
    import pandas as pd

FLAT = 1e-6
"""Relative range below which the values of a feature are all the same."""


def scene(path: str, view: View, where: Runtime) -> Scene:
    """Collect everything that the pictures of a run show.

    Raises:
        CfmError: if the run, the data or requested parts of them are missing.
    """
    if view.basis and not view.data:
        raise ConfigError(
            f"--basis {view.basis}: say where that embedding is, with --data FILE.h5ad."
        )
    if view.data and not (view.basis or view.colour):
        raise ConfigError("--data is for --basis KEY or --colour COLUMN: give one of them.")
    model = verbs.load(path, where)
    losses = Path(path) / LOSSES
    unknown = [name for name in view.features if name not in model.features]
    if unknown:
        guess = catalog.did_you_mean(unknown[0], model.features[:5000])
        raise ConfigError(f"--features: the run has no feature '{unknown[0]}'.{guess}")
    streams = Streams(where.seed)
    absent = [cloud for cloud in model.clouds if cloud.held_out]
    return Scene(
        model,
        _embedding(model, view) if view.basis else own_plane(model),
        losses.read_text() if losses.exists() else "",
        {found["label"]: found for found in Run(Path(path)).metrics().get("holdout", [])},
        streams,
        _classes(model, view.label_key) if view.label_key else None,
        view.features,
        _colour(model, view) if view.colour else None,
        {cloud.label: score.foretold(model, cloud, streams) for cloud in absent},
    )


def _embedding(model: Model, view: View) -> Embedding:
    """Read the embedding of a file's cells."""
    if not results.is_anndata(view.data):
        raise ConfigError(f"--basis {view.basis}: {view.data} has no obsm; give an h5ad or zarr.")
    held = io.describe(view.data)["obsm"]
    key = view.basis if view.basis in held else f"X_{view.basis}"
    table = io.read_table(view.data, io.Selection(use_rep=key))
    if len(table.features) < 2:
        raise DataError(f"{view.data}: {key} has one column, expected two to draw on.")
    cells = model.encode(points.read_points(model, view.data).values)
    return Embedding(key, cells, np.asarray(table.values, dtype=np.float64)[:, :2])


def _classes(model: Model, key: str) -> "pd.Series[Any]":
    """Class of each cell of the last snapshot."""
    obs = model.kept[-1].obs
    if key not in obs.columns:
        kept = ", ".join(map(str, obs.columns)) or "none"
        raise DataError(
            f"--label-key {key}: the cells of the last snapshot have no such annotation, they "
            f"have: {kept}."
        )
    return obs[key]


def _colour(model: Model, view: View) -> "pd.Series[Any]":
    """Values to colour cells by, indexed by id, from the file or from what the run keeps.

    Raises:
        DataError: if the column is missing, or matches no cell of the run.
    """
    import pandas as pd

    if view.data:
        found = _column(io.read_table(view.data), view.colour)
    else:
        tables = [cloud.obs for cloud in model.clouds if view.colour in cloud.obs.columns]
        parts = [obs[view.colour] for obs in tables] or _feature(model, view.colour)
        found = pd.concat(parts)
    ids = np.concatenate([np.asarray(cloud.obs.index) for cloud in model.clouds])
    if not found.index.equals(pd.Index(ids)):  # else it is row by row, and ids may repeat
        found = found[~found.index.duplicated()].dropna()
    if not found.dropna().index.isin(ids).any():
        raise DataError(
            f"--colour {view.colour}: none of its ids, such as '{next(iter(found.index), '')}', is "
            f"a cell of the run, such as '{ids[0]}'."
        )
    return found.rename(view.colour)


def _feature(model: Model, name: str) -> "list[pd.Series[Any]]":
    """A feature, or a gene behind the features, of each snapshot, as its coordinates give it back.

    Raises:
        DataError: if the run has no such feature, or gives the same back for all cells.
    """
    import pandas as pd

    chain = model.chain
    if name not in (*chain.features, *chain.genes):
        guess = catalog.nearest(name, chain.genes[:5000])
        raise DataError(
            f"--colour {name}: the run's cells have no such annotation or feature; name the file "
            f"that holds it with --data FILE.{guess}"
        )
    own = name in chain.features
    names, back = (chain.features, chain.inverse) if own else (chain.genes, chain.to_genes)
    column = [names.index(name)]
    found = [
        pd.Series(by_blocks(lambda x: back(x)[:, column], np.asarray(c.points))[:, 0], c.obs.index)
        for c in model.clouds
    ]
    values = pd.concat(found)
    if np.ptp(values) <= FLAT * values.abs().max():
        raise DataError(
            f"--colour {name}: the coordinates of the run tell nothing of it, as of a gene that is "
            "not variable; name the file that holds it with --data FILE."
        )
    if not chain.invertible or not own:
        runtime.warn(
            f"--colour {name}: cells have what the {model.dim} coordinates of the run give back of "
            "it; for what was measured, name the file with --data FILE."
        )
    return found


def _column(table: Table, name: str) -> "pd.Series[Any]":
    """A column of a table by id, whether it is a feature or an annotation."""
    import pandas as pd

    if name not in table.features:
        io.require(table, name)
        return table.obs[name]
    column = table.values[:, [table.features.index(name)]]
    values = column if isinstance(column, np.ndarray) else column.toarray()
    return pd.Series(np.ravel(values), index=table.obs.index)
