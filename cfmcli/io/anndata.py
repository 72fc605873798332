"""AnnData files, .h5ad and .zarr: reading of only the requested parts."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli.data.decoder import Decoder
from cfmcli.data.maps import dense
from cfmcli.data.table import Backed, Table
from cfmcli.errors import ConfigError, DataError
from cfmcli.io.anndata_output import creating, write_anndata
from cfmcli.io.annotation import NOTHING
from cfmcli.io.checks import (
    Where,
    as_float,
    beyond,
    counted,
    distinct_ids,
    distinct_names,
    finite,
    some_points,
)
from cfmcli.io.colours import coloured
from cfmcli.io.formats import Append
from cfmcli.io.loadings import LOADINGS, REP, Blocks, blocks, decoder
from cfmcli.io.selection import Selection, listed, pick, unknown
from cfmcli.io.store import Node, encoding, names_of, opened, shape_of

if TYPE_CHECKING:
    import pandas as pd

    from cfmcli.data.arrays import Matrix

Loaded = Any

ROWS = 4096
BY_ROWS = ("array", "string-array", "csr_matrix")
"""Encodings whose rows can be read individually."""


def read(path: str, selection: Selection) -> Table:
    """Read X, a layer or an obsm with the annotations, and nothing else.

    Sparse matrices are returned as CSR.

    Raises:
        DataError: the file is damaged, or lacks what the selection names.
    """
    with opened(path) as root:
        basis, element = _element(root, selection, path)
        names = _names(root, basis, element)
        obs = _obs(root)
        keep = chosen(names, selection, path)
        values = _values(element, keep, path)
        back = _decoder(root, values, keep, path) if decodable(selection, root) else None
    found = table(values, [names[k] for k in keep], obs, selection, basis, path)
    return replace(found, decoder=back)


def backed(path: str, selection: Selection) -> Backed:
    """Open a file like `read`, but read rows on access if the matrix is dense or CSR.

    Raises:
        DataError: as in `read`; invalid values are reported when their row is read.
    """
    with opened(path) as root:
        basis, element = _element(root, selection, path)
        if encoding(element) not in BY_ROWS or len(shape_of(element)) < 2:
            return Backed.of(read(path, selection))
        names, shape = _names(root, basis, element), shape_of(element)
        obs = _obs(root)
        keep = chosen(names, selection, path)
    kept, some = [names[k] for k in keep], keep if len(keep) < shape[1] else None
    head = table(np.empty((shape[0], 0)), kept, obs, selection, basis, path)
    where = _where(head.obs.index)

    def rows(index: slice) -> "Matrix":
        with opened(path) as root:
            values = columns_of(_rows(_element(root, selection, path)[1], index), some, path)
        finite(values, kept, path, beyond(where, index.start))
        return values

    return Backed(head, rows)


def _rows(element: Node, index: slice) -> Loaded:
    """Read some rows of a matrix on disk."""
    from anndata.io import sparse_dataset

    return (sparse_dataset(element) if encoding(element) == "csr_matrix" else element)[index]


def _where(ids: "pd.Index") -> Where:
    """Build a function that describes a row by its number and id."""
    return lambda row: f"{counted(row)}, id {ids[row]!r}"


def _obs(root: Node) -> "pd.DataFrame":
    """Read the annotations, with the colours of their categories."""
    from anndata.io import read_elem

    uns = root.get("uns", {})
    return coloured(read_elem(root["obs"]), lambda key: read_elem(uns[key]) if key in uns else None)


def decodable(selection: Selection, holder: Loaded) -> bool:
    """Whether a decoder to genes is requested, and an AnnData, open or loaded, may hold one."""
    wanted = selection.decode and selection.use_rep == REP
    return bool(wanted and LOADINGS in holder.get("varm", {}))


def chosen(names: Sequence[str], selection: Selection, origin: str) -> list[int]:
    """Indices of the features that the selection takes."""
    distinct_names(names, "feature names", origin, "See adata.var_names_make_unique().")
    left = set(pick(names, selection, origin))
    if not left:
        raise DataError(f"{origin}: the selection leaves no feature of {listed(names)}.")
    return [place for place, name in enumerate(names) if name in left]


def table(
    values: "Matrix",
    names: Sequence[str],
    obs: "pd.DataFrame",
    selection: Selection,
    basis: str,
    origin: str,
) -> Table:
    """Check values and ids, and combine them with the annotations into a table."""
    if selection.id_key:
        if selection.id_key not in obs:
            raise unknown("id column", selection.id_key, obs.columns, origin)
        obs = obs.set_index(selection.id_key)
    ids = obs.index.astype(str).astype(object).rename(obs.index.name or "")
    some_points(len(obs), origin)
    if values.shape[0] != len(obs):
        raise DataError(f"{origin}: {basis} has {values.shape[0]} rows for {len(obs)} ids.")
    ids = distinct_ids(ids, origin, counted, asked=bool(selection.id_key))
    finite(values, names, origin, _where(ids))
    return Table(values, tuple(names), obs.set_axis(ids, axis=0), origin, basis)


def locate(selection: Selection, origin: str) -> tuple[str, str]:
    """Locate the requested part of an AnnData: "X", "layers" or "obsm", and its key.

    Raises:
        ConfigError: both a layer and a representation are requested.
    """
    if selection.layer and selection.use_rep:
        raise ConfigError(f"{origin}: --layer and --use-rep exclude each other. Give one.")
    if selection.layer:
        return "layers", selection.layer
    if selection.use_rep and selection.use_rep != "X":
        return "obsm", selection.use_rep
    return "X", ""


def no_x(layers: Iterable[str], obsm: Iterable[str], origin: str) -> DataError:
    """Build the error for an AnnData without X, with the alternatives."""
    return DataError(
        f"{origin}: X is empty. Choose --layer ({listed(layers)}) or --use-rep ({listed(obsm)})."
    )


def basis_of(part: str, key: str) -> str:
    """Name of a part of an AnnData, as tables record it."""
    return {"layers": f"layer:{key}", "obsm": f"obsm:{key}"}.get(part, "X")


def numbered(key: str, width: int) -> list[str]:
    """Names for the columns of a representation: pca1, pca2, ... for X_pca."""
    return [f"{key.removeprefix('X_')}{place + 1}" for place in range(width)]


def names_in_uns(path: str, key: str) -> list[str]:
    """Read a list of names from `uns` of an AnnData.

    Raises:
        DataError: there is no such key.
    """
    from anndata.io import read_elem

    with opened(path) as root:
        held = root.get("uns", {})
        if key not in held:
            raise unknown("uns key", key, held, path)
        return [str(name) for name in read_elem(held[key])]


def write(path: str, table: Table) -> None:
    """Write a table as AnnData: X = values, obs = annotations, obs_names = ids."""
    write_anndata(path, table.values, table.obs, table.features)


@contextmanager
def writing(path: str, head: Table) -> Iterator[Append]:
    """Create an AnnData that is written table after table."""
    with creating(path, head.obs, head.features) as file:
        yield lambda table: file.append(len(table), NOTHING, table.values)


def _element(root: Node, selection: Selection, origin: str) -> tuple[str, Node]:
    """Find the selected element on disk, with its name as a basis."""
    part, key = locate(selection, origin)
    if part != "X":
        held = root.get(part, {})
        if key not in held:
            raise unknown(f"{part} key", key, held, origin)
        return basis_of(part, key), held[key]
    if "X" not in root or encoding(root["X"]) == "null":
        raise no_x(root.get("layers", {}), root.get("obsm", {}), origin)
    return "X", root["X"]


def _decoder(root: Node, scores: "Matrix", keep: list[int], origin: str) -> Decoder | None:
    """Build the decoder from X_pca to genes, from the loadings of an AnnData on disk."""
    from anndata.io import read_elem, sparse_dataset

    genes, count = tuple(names_of(root["var"])), len(scores)
    held = {"X": root["X"]} if "X" in root else {}
    held |= {f"layer:{key}": node for key, node in root.get("layers", {}).items()}

    def rows(node: Node) -> Blocks:
        kind = encoding(node)
        part = sparse_dataset(node) if kind == "csr_matrix" else node
        return lambda: blocks(read_elem(node) if kind == "csc_matrix" else part, count)

    right = {
        name: rows(node) for name, node in held.items() if shape_of(node) == (count, len(genes))
    }
    loadings = read_elem(root["varm"][LOADINGS])
    return decoder(dense(scores), keep, loadings, genes, right, origin)


def _names(root: Node, basis: str, element: Node) -> list[str]:
    """Feature names of an element."""
    if not basis.startswith("obsm:"):
        return names_of(root["var"])
    if encoding(element) == "dataframe":
        return [str(name) for name in element.attrs["column-order"]]
    shape = shape_of(element)
    return numbered(basis.removeprefix("obsm:"), shape[1] if len(shape) > 1 else 1)


def _values(element: Node, keep: list[int], origin: str) -> "Matrix":
    """Read the kept columns of an element: CSR if sparse, else an array, (n, d)."""
    from anndata.io import read_elem

    kind, width = encoding(element), shape_of(element)[-1]
    if kind in {"array", "string-array"} and len(element.shape) > 1:
        return _dense(element, keep, origin)
    loaded = read_elem(element)
    return columns_of(loaded, keep if len(keep) < width else None, origin)


def columns_of(loaded: Loaded, keep: list[int] | None, origin: str) -> "Matrix":
    """Select columns (None: all) of an array, a frame or a sparse matrix in memory."""
    from scipy import sparse

    if sparse.issparse(loaded):
        rows = sparse.csr_matrix(loaded)
        rows = rows if keep is None else rows[:, keep]
        rows.data = as_float(rows.data, origin)
        return rows
    array = np.asarray(loaded)
    array = array[:, None] if array.ndim == 1 else array
    return as_float(array if keep is None else array[:, keep], origin)


def _dense(element: Node, keep: list[int], origin: str) -> npt.NDArray[Any]:
    """Read columns of an array on disk in blocks of rows, to bound memory."""
    count, width = element.shape
    if len(keep) == width:
        return as_float(np.asarray(element[...]), origin)
    blocks = (element[at : at + ROWS][:, keep] for at in range(0, max(count, 1), ROWS))
    return as_float(np.concatenate(list(blocks)), origin)
