"""Checkpoints: tensors and JSON metadata in a safetensors file; nothing in it can execute."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli.data.snapshots import Cloud
from cfmcli.headers import FORMAT, MODEL, TRAINING, damaged, offset, read_facts
from cfmcli.io.colours import COLOURS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MODEL",
    "TRAINING",
    "pack",
    "pack_clouds",
    "pack_frame",
    "read_facts",
    "unpack",
    "unpack_clouds",
    "unpack_frame",
]

NULLABLE = ("boolean", *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))
"""Nullable integer and boolean types of pandas."""
Arrays = Mapping[str, npt.NDArray[Any]]


def pack(arrays: Arrays, facts: Mapping[str, Any]) -> bytes:
    """Serialise a checkpoint; the same content gives the same bytes.

    Args:
        arrays: arrays by name.
        facts: everything else, as JSON-compatible values.
    """
    from safetensors.numpy import save

    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps({"format": FORMAT, **facts}, sort_keys=True)
    return save(plain, metadata={"cfm": text})


def unpack(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read arrays and metadata of a checkpoint; points of clouds are memory-mapped.

    Raises:
        CheckpointError: if it is missing, damaged, or of another format.
    """
    from safetensors import SafetensorError, safe_open

    facts = read_facts(path)
    try:
        with safe_open(path, "numpy") as file:
            names = list(file.keys())
            found = {name: file.get_tensor(name) for name in names if not _stays(name)}
            shapes = {name: file.get_slice(name).get_shape() for name in names if _stays(name)}
        return found | {name: _mapped(path, name, shape) for name, shape in shapes.items()}, facts
    except (SafetensorError, ValueError, KeyError) as error:
        raise damaged(path, str(error)) from None


def _stays(name: str) -> bool:
    """Whether a tensor holds points of a cloud, which may be large and stays on disk."""
    return name.startswith("cloud.") and name.endswith(".points")


def _mapped(path: Path, name: str, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Memory-map points of a checkpoint, in float32."""
    place, kind = offset(path, name), np.dtype("<f4")
    return np.asarray(np.memmap(path, kind, "c", place, tuple(shape)))


def pack_clouds(clouds: Sequence[Cloud]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Convert clouds to arrays and metadata, with points in float32.

    Returns:
        Arrays by name, and the metadata that `unpack_clouds` needs.
    """
    arrays: dict[str, Any] = {}
    stored = []
    for k, cloud in enumerate(clouds):
        frame, facts = pack_frame(cloud.obs, f"cloud.{k}")
        arrays |= frame
        arrays[f"cloud.{k}.points"] = np.asarray(cloud.points, dtype=np.float32)
        arrays[f"cloud.{k}.weights"] = cloud.weights
        facts |= {"label": cloud.label, "time": cloud.time, "held_out": cloud.held_out}
        facts["mass"] = cloud.mass
        stored.append(facts)
    return arrays, stored


def unpack_clouds(arrays: Arrays, stored: Sequence[Mapping[str, Any]]) -> tuple[Cloud, ...]:
    """Restore the clouds packed by `pack_clouds`, with points in float32."""
    return tuple(
        Cloud(
            arrays[f"cloud.{k}.points"],
            arrays[f"cloud.{k}.weights"],
            unpack_frame(arrays, facts, f"cloud.{k}"),
            facts["label"],
            facts["time"],
            facts["held_out"],
            facts["mass"],
        )
        for k, facts in enumerate(stored)
    )


def pack_frame(frame: "pd.DataFrame", prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Convert annotations to arrays and metadata.

    Numbers and booleans of NumPy, and nullable floats, are kept as numbers; all other columns, such
    as words and nullable integers, become codes of categories.

    Args:
        frame: annotations, indexed by id.
        prefix: prefix of the array names.

    Returns:
        Arrays by name, and the metadata that `unpack_frame` needs.
    """
    import pandas as pd

    ids = "\n".join(str(name).replace("\n", " ") for name in frame.index).encode()
    arrays: dict[str, Any] = {f"{prefix}.ids": np.frombuffer(ids, dtype=np.uint8)}
    columns: list[dict[str, Any]] = []
    for k, name in enumerate(frame.columns):
        series = frame[name]
        if str(series.dtype) in ("Float32", "Float64"):
            series = series.astype(np.dtype(str(series.dtype).lower()))
        if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biuf":
            arrays[f"{prefix}.obs.{k}"] = series.to_numpy()
            columns.append({"name": str(name)})
            continue
        words = pd.Categorical(series)
        ordered = isinstance(series.dtype, pd.CategoricalDtype) and bool(series.dtype.ordered)
        arrays[f"{prefix}.obs.{k}"] = np.asarray(words.codes, dtype=np.int32)
        columns.append(
            {
                "name": str(name),
                "words": [_plain(word) for word in words.categories.tolist()],
                "ordered": ordered,
                "categorical": isinstance(series.dtype, pd.CategoricalDtype),
                "nullable": str(series.dtype) if str(series.dtype) in NULLABLE else "",
            }
        )
    facts = {"id_name": frame.index.name, "columns": columns}
    return arrays, facts | ({COLOURS: frame.attrs[COLOURS]} if COLOURS in frame.attrs else {})


def unpack_frame(arrays: Arrays, facts: Mapping[str, Any], prefix: str) -> "pd.DataFrame":
    """Restore the annotations packed by `pack_frame`."""
    import pandas as pd

    ids = arrays[f"{prefix}.ids"].tobytes().decode().split("\n")
    columns: dict[str, Any] = {}
    for k, column in enumerate(facts["columns"]):
        values = arrays[f"{prefix}.obs.{k}"]
        if "words" in column:
            words = pd.Categorical.from_codes(
                values, categories=column["words"], ordered=column["ordered"]
            )
            kind: Any = column.get("nullable") or object
            plain = words if column["categorical"] else pd.array(words.astype(object), dtype=kind)
            columns[column["name"]] = plain
        else:
            columns[column["name"]] = values
    frame = pd.DataFrame(columns, index=pd.Index(ids, name=facts["id_name"], dtype=object))
    frame.attrs = {COLOURS: facts[COLOURS]} if COLOURS in facts else {}
    return frame


def _plain(word: object) -> object:
    """Convert a category to JSON: numbers and booleans unchanged, everything else as text."""
    return word if isinstance(word, str | bool | int | float) else str(word)
