"""Describe: content of data files, without pandas or anndata."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli.io.formats import FORMATS, module_for, present, suffix
from cfmcli.io.selection import EVERYTHING, Selection, identifier, numeric_features, others
from cfmcli.io.store import Node, encoding, names_of, opened, shape_of, text_of

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 20
FIRST = 10
_KINDS = {bool: "boolean", int: "integer", float: "number", type(None): "nothing"}


def describe(path: str, selection: Selection = EVERYTHING) -> dict[str, Any]:
    """Describe sizes, features, annotations and parts of a data file, as JSON values.

    Args:
        path: a file with one of the suffixes of `FORMATS`.
        selection: columns that are not features, if the user named them.

    Returns:
        `path`, `format`, `bytes`, `points`, `features` (`count`, `first`), `ids` (the name of
        the id column or None), `storage`, `annotations` (name -> `kind`, `missing`, and `values`
        with counts or `min` and `max`); for AnnData also `shape`, `layers` and `obsm`.

    Raises:
        ConfigError: the suffix is unknown.
        DataError: the file is missing or damaged.
    """
    if path == "-":
        return {"path": path, "format": ".csv"} | _delimited(path, selection)
    present(path)
    module_for(path)
    about = {"path": path, "format": suffix(path), "bytes": _size(Path(path))}
    return about | _DESCRIBERS[FORMATS[suffix(path)]](path, selection)


def _delimited(path: str, selection: Selection) -> dict[str, Any]:
    """Describe a delimited file."""
    from cfmcli.io.delimited import typed
    from cfmcli.io.text import parse

    text = parse(path)
    return _columns(typed(text, selection), selection, text.origin)


def _parquet(path: str, selection: Selection) -> dict[str, Any]:
    """Describe a Parquet file."""
    from cfmcli.io.parquet import columns

    return _columns(columns(path), selection, path)


def _columns(
    columns: "Mapping[str, pa.ChunkedArray]", selection: Selection, origin: str
) -> dict[str, Any]:
    """Describe typed columns."""
    from cfmcli.io.columns import is_number

    names = tuple(columns)
    numeric = {name for name in names if is_number(columns[name])}
    features = numeric_features(numeric, names, selection, origin)
    key = identifier(names, selection, origin)
    notes = {name: _column(columns[name]) for name in others(names, key, features)}
    return _shaped(len(columns[features[0]]), features) | {"ids": key, "annotations": notes}


def _column(column: "pa.ChunkedArray") -> dict[str, Any]:
    """Describe a column of annotations."""
    from pyarrow import types

    kind = {"kind": "category"} if types.is_dictionary(column.type) else {}
    return _summary(column.to_pylist()) | kind


def _arrays(path: str, selection: Selection) -> dict[str, Any]:
    """Describe a .npy or .npz file."""
    from cfmcli.io.arrays import decoded, default_features, loaded, matrix, points_key

    arrays = {"": loaded(path)} if suffix(path) == ".npy" else loaded(path)
    key = "" if suffix(path) == ".npy" else points_key(arrays, selection, path)
    values = matrix(arrays[key], path)
    features = arrays["features"].tolist() if "features" in arrays else default_features(values)
    notes = {
        name: _summary(decoded(array).tolist())
        for name, array in arrays.items()
        if name not in {key, "ids", "features"} and array.shape == (len(values),)
    }
    ids = "id" if "ids" in arrays else None
    return _shaped(len(values), features) | {"ids": ids, "annotations": notes}


def _anndata(path: str, selection: Selection) -> dict[str, Any]:
    """Describe an AnnData file, from its metadata and annotations."""
    with opened(path) as root:
        names = names_of(root["var"])
        obs, cells = root["obs"], shape_of(root["obs"])[0]
        label = str(obs.attrs["_index"])
        parts = {
            part: {key: _matrix(root[part][key]) for key in root[part]} if part in root else {}
            for part in ("layers", "obsm")
        }
        x = _matrix(root["X"]) if "X" in root else {"storage": "none"}
        notes = {str(key): _element(obs[key]) for key in obs.attrs["column-order"]}
    head = _shaped(cells, names) | {"shape": [cells, len(names)], "storage": x["storage"]}
    return head | {"ids": "" if label == "_index" else label, "annotations": notes} | parts


def _matrix(element: Node) -> dict[str, Any]:
    """Describe shape and storage of a matrix on disk."""
    kind = encoding(element)
    storage = {"array": "dense", "null": "none", "dataframe": "table"}.get(kind)
    return {"shape": list(shape_of(element)), "storage": storage or f"sparse {kind[:3]}"}


def _element(element: Node) -> dict[str, Any]:
    """Describe a column of annotations on disk."""
    kind = encoding(element)
    if kind == "categorical":
        return _categories(element["codes"][...], _cells(element["categories"]))
    if kind.startswith("nullable"):
        pairs = zip(_cells(element["values"]), _cells(element["mask"]), strict=True)
        return _summary([None if gone else cell for cell, gone in pairs])
    return _summary(_cells(element))


def _cells(element: Node) -> list[Any]:
    """Read values on disk as a list, text as str."""
    return text_of(element) if encoding(element) == "string-array" else list(element[...].tolist())


def _categories(codes: npt.NDArray[Any], labels: list[Any]) -> dict[str, Any]:
    """Describe a categorical: its values in their own order, with counts."""
    counts = np.bincount(codes[codes >= 0], minlength=len(labels)).tolist()
    about = {"kind": "category", "missing": int((codes < 0).sum()), "distinct": len(labels)}
    shown = dict(zip(map(str, labels), counts, strict=True))
    return about | ({"values": shown} if len(labels) <= FEW else {})


def _summary(cells: list[Any]) -> dict[str, Any]:
    """Describe values: kind, number missing, and either values with counts or the range."""
    counts = Counter(cell for cell in cells if cell is not None and cell == cell)  # noqa: PLR0124
    first = next(iter(counts), None)
    about = {
        "kind": _KINDS.get(type(first), "text"),
        "missing": len(cells) - counts.total(),
        "distinct": len(counts),
    }
    if len(counts) <= FEW:
        return about | {"values": {str(cell): counts[cell] for cell in sorted(counts)}}
    numeric = isinstance(first, int | float)
    return about | ({"min": min(counts), "max": max(counts)} if numeric else {})


def _shaped(points: int, features: Sequence[object]) -> dict[str, Any]:
    """Describe numbers of points and features, with the first names."""
    named = [str(name) for name in features[:FIRST]]
    about = {"count": len(features), "first": named}
    return {"points": points, "features": about, "storage": "dense"}


def _size(place: Path) -> int:
    """Size in bytes of a file, or of all files in a folder."""
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())


_DESCRIBERS: dict[str, Callable[[str, Selection], dict[str, Any]]] = {
    "delimited": _delimited,
    "parquet": _parquet,
    "arrays": _arrays,
    "anndata": _anndata,
}
