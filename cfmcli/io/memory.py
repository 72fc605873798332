"""Conversion of points in memory: arrays, DataFrames and AnnData objects."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.data.decoder import Decoder
from cfmcli.data.table import Table
from cfmcli.io import anndata, arrays, loadings
from cfmcli.io.annotation import SLOTS, WROTE, Annotation, Outline, check, outlined
from cfmcli.io.checks import (
    counted,
    dense,
    distinct_ids,
    distinct_names,
    finite,
    some_points,
)
from cfmcli.io.colours import coloured, followed
from cfmcli.io.precision import decimal
from cfmcli.io.selection import (
    EVERYTHING,
    Selection,
    identifier,
    numeric_features,
    others,
    plain_only,
    unknown,
)

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

Points = Any
Verb = Callable[..., Any]

ORIGIN = "memory"


def from_object(data: Points, selection: Selection = EVERYTHING) -> Table:
    """Convert an array (features x0, x1, ...), a DataFrame or an AnnData to a table.

    Args:
        data: points, one per row; an array has shape (n,) or (n, d).
        selection: which columns are features and ids.

    Raises:
        DataError: non-finite values, repeated ids, or data inconsistent with the selection.
    """
    table: Table = _by_kind(data, _READERS, _from_array)(data, selection)
    return replace(table, obs=decimal(table.obs))


def like(original: Points, table: Table, annotation: Annotation | None = None) -> Points:
    """Convert points to the kind of object that the user gave.

    Args:
        original: the user's object.
        table: the new points.
        annotation: additions to an AnnData; None puts the values into obsm["X_cfm"].

    Returns:
        An array for an array; a DataFrame with the original's index and columns, features
        replaced; a copy of an AnnData with the annotation added.
    """
    return _by_kind(original, _WRITERS, _like_array)(original, table, annotation)


def is_named(data: Points) -> bool:
    """Whether an object has feature names: a DataFrame or an AnnData."""
    return _by_kind(data, _READERS, _from_array) is not _from_array


def is_anndata(data: Points) -> bool:
    """Whether an object is an AnnData."""
    return _by_kind(data, _READERS, _from_array) is _from_anndata


def _by_kind(data: Points, known: dict[str, Verb], other: Verb) -> Verb:
    """Select the function for an object's type by name, without importing its package."""
    kinds = (f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(data).__mro__)
    return next((known[kind] for kind in kinds if kind in known), other)


def outline_of(data: Points) -> Outline:
    """Outline the existing content of an AnnData."""
    keys = {slot: list(getattr(data, slot)) for slot in ("obs", "var", *SLOTS)}
    earlier = data.uns.get("cfm", {})
    return outlined(data.var_names, keys, earlier.get(WROTE, ()), data.n_obs)


def _from_array(data: Points, selection: Selection) -> Table:
    """Convert anything array-like to a table."""
    plain_only(selection, ORIGIN)
    return arrays.from_array(_plain(data), selection, ORIGIN)


def _plain(data: Points) -> "Matrix":
    """Convert to an array, with masked values as NaN; a sparse matrix stays sparse."""
    from scipy import sparse

    if sparse.issparse(data):
        return anndata.columns_of(data, None, ORIGIN)
    if isinstance(data, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(data), np.nan, np.asarray(data))
    return np.asarray(data)


def _from_frame(data: Points, selection: Selection) -> Table:
    """Convert a DataFrame to a table; its index holds the ids unless it is a mere range."""
    import pandas as pd

    plain_only(selection, ORIGIN)
    frame = data.set_axis(data.columns.map(str), axis=1)
    names = tuple(frame.columns)
    distinct_names(names, "column names", ORIGIN, "Rename them so that each is its own.")
    numeric = set(frame.select_dtypes("number", ["timedelta", "complexfloating"]).columns)
    features = numeric_features(numeric, names, selection, ORIGIN)
    chosen = frame[list(features)]
    single = (chosen.dtypes == np.float32).all()
    values = chosen.astype(np.float32 if single else np.float64).to_numpy()
    key = identifier(names, selection, ORIGIN)
    label = frame.index.name or "" if not isinstance(frame.index, pd.RangeIndex) else None
    ids, label = (frame.index, label) if key is None else (frame[key], key)
    index = pd.Index([str(i) for i in ids], dtype=object, name=label)
    some_points(len(frame), ORIGIN)
    finite(values, features, ORIGIN, counted)
    index = distinct_ids(index, ORIGIN, counted, asked=bool(selection.id_key))
    obs = frame[others(names, key, features)].set_axis(index, axis=0)
    return Table(values, features, obs, ORIGIN, columns=names)


def _from_anndata(data: Points, selection: Selection) -> Table:
    """Convert an AnnData, in memory or backed, to a table."""
    part, key = anndata.locate(selection, ORIGIN)
    held = getattr(data, part) if part != "X" else {"": data.X}
    if key not in held:
        raise unknown(f"{part} key", key, held, ORIGIN)
    loaded = held[key]
    if loaded is None:
        raise anndata.no_x(data.layers, data.obsm, ORIGIN)
    names = list(map(str, data.var_names))
    if part == "obsm":
        width = loaded.shape[1] if loaded.ndim > 1 else 1
        names = [str(n) for n in getattr(loaded, "columns", anndata.numbered(key, width))]
    keep = anndata.chosen(names, selection, ORIGIN)
    whole = loaded[:] if getattr(data, "isbacked", False) and part == "X" else loaded
    values = anndata.columns_of(whole, keep if len(keep) < len(names) else None, ORIGIN)
    basis = anndata.basis_of(part, key)
    obs = coloured(data.obs, data.uns.get)
    found = anndata.table(values, [names[k] for k in keep], obs, selection, basis, ORIGIN)
    back = anndata.decodable(selection, {"varm": data.varm})
    return replace(found, decoder=_decoder(data, values, keep) if back else None)


def _decoder(data: Points, scores: "Matrix", keep: list[int]) -> Decoder | None:
    """Build the decoder from X_pca to genes, from the loadings of an AnnData."""
    held = {"X": data.X} if data.X is not None else {}
    held |= {f"layer:{key}": matrix for key, matrix in data.layers.items()}
    rows = {name: partial(loadings.blocks, matrix, len(data)) for name, matrix in held.items()}
    genes, found = tuple(map(str, data.var_names)), data.varm[loadings.LOADINGS]
    return loadings.decoder(dense(scores), keep, found, genes, rows, ORIGIN)


def _like_array(original: Points, table: Table, annotation: Annotation | None) -> Points:
    """Return an array, with one axis if the original had one and there is one feature."""
    values = dense(table.values)
    flat = np.ndim(original) == 1 and values.shape[1] == 1
    return values[:, 0] if flat else values


def _like_frame(original: Points, table: Table, annotation: Annotation | None) -> Points:
    """Return a DataFrame with features replaced; other columns and the index are kept."""
    import pandas as pd

    same = set(table.features) <= set(map(str, original.columns)) and len(original) == len(table)
    values = dense(table.values)
    if not same:
        moved = pd.DataFrame(values, index=table.obs.index, columns=list(table.features))
        return pd.concat([table.obs, moved], axis=1)
    result = original.copy()
    spelled = {str(name): name for name in original.columns}
    for place, name in enumerate(table.features):
        result[spelled[name]] = values[:, place]
    return result


def _like_anndata(original: Points, table: Table, annotation: Annotation | None) -> Points:
    """Return a copy of an AnnData with the annotation added."""
    added = annotation or Annotation(obsm={"X_cfm": table.values})
    check(added, original.shape, ORIGIN)
    result = original.to_memory() if original.isbacked else original.copy()
    colours = followed(added.obs, lambda slot, key: getattr(original, slot).get(key))
    added = replace(added, uns={**colours, **added.uns})
    for slot in ("obs", "var", *SLOTS):
        for key, value in getattr(added, slot).items():
            getattr(result, slot)[key] = value
    return result


_READERS = {"pandas.DataFrame": _from_frame, "anndata.AnnData": _from_anndata}
_WRITERS = {"pandas.DataFrame": _like_frame, "anndata.AnnData": _like_anndata}
