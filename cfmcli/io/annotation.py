"""Annotation: additions to an AnnData, and adding them to a copy on disk."""

import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cfmcli.errors import DataError
from cfmcli.io.colours import followed
from cfmcli.io.formats import suffix
from cfmcli.io.output import atomic
from cfmcli.io.store import Node, names_of, opened, shape_of, text_of

Column = Any

SLOTS = ("obsm", "layers", "varm", "uns")
WROTE = "wrote"


@dataclass(frozen=True)
class Annotation:
    """Additions to an AnnData; existing keys are replaced.

    Args:
        obs: columns, each of length n_obs.
        var: columns, each of length n_vars.
        obsm: arrays with n_obs rows.
        layers: arrays of shape (n_obs, n_vars).
        varm: arrays with n_vars rows.
        uns: any values that AnnData can store, with string keys throughout.
    """

    obs: Mapping[str, Any] = field(default_factory=dict)
    var: Mapping[str, Any] = field(default_factory=dict)
    obsm: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Any] = field(default_factory=dict)
    varm: Mapping[str, Any] = field(default_factory=dict)
    uns: Mapping[str, Any] = field(default_factory=dict)


NOTHING = Annotation()


@dataclass(frozen=True)
class Outline:
    """Existing content of an AnnData.

    Args:
        genes: its var_names.
        keys: its keys, as "slot/key".
        ours: keys that an earlier result of cfm wrote, which may be replaced.
        points: number of rows.
    """

    genes: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()
    ours: frozenset[str] = frozenset()
    points: int = 0

    def free(self, slot: str, key: str) -> str:
        """Return the key, or cfm_key if other software has written that key."""
        taken = f"{slot}/{key}"
        return f"cfm_{key}" if taken in self.keys - self.ours else key


def outline(source: str) -> Outline:
    """Read the outline of an AnnData file, without loading it."""
    with opened(source) as root:
        keys = {slot: list(root[slot]) for slot in ("obs", "var", *SLOTS) if slot in root}
        wrote = root["uns"].get("cfm", {}).get(WROTE) if "uns" in root else None
        ours = text_of(wrote) if wrote is not None else ()
        return outlined(names_of(root["var"]), keys, ours, shape_of(root["obs"])[0])


def outlined(
    genes: Iterable[str], keys: Mapping[str, Iterable[str]], ours: Any, points: int
) -> Outline:
    """Build an outline from listed names."""
    held = (f"{slot}/{key}" for slot, names in keys.items() for key in names)
    return Outline(tuple(map(str, genes)), frozenset(held), frozenset(map(str, ours)), points)


def signed(annotation: Annotation) -> Annotation:
    """Add a list of the annotation's own keys to its uns["cfm"]."""
    keys = [f"{slot}/{key}" for slot in ("obs", "var", *SLOTS) for key in getattr(annotation, slot)]
    said = {**annotation.uns["cfm"], WROTE: np.array(keys, dtype=object)}
    return replace(annotation, uns={**annotation.uns, "cfm": said})


def annotate(source: str, target: str, annotation: Annotation) -> None:
    """Write a copy of an AnnData file with additions, atomically; the rest is unchanged.

    Args:
        source: the input, .h5ad or .zarr.
        target: the output, .h5ad or .zarr.
        annotation: the additions.

    Raises:
        DataError: a shape that does not match the input, or a key that cannot be stored.
        ResourceError: the disk is full or the folder is not writable.
    """
    with opened(source) as root:
        check(annotation, (shape_of(root["obs"])[0], shape_of(root["var"])[0]), target)
    with atomic(target) as part:
        copy(source, part)
        with editable(part) as root:
            add(root, annotation)


def check(annotation: Annotation, shape: tuple[int, int], target: str) -> None:
    """Check names and shapes of additions to an AnnData of shape (n_obs, n_vars).

    Raises:
        DataError: something that AnnData could not store, or not read again.
    """
    cells, genes = shape
    expected = {
        "obs": (cells,),
        "var": (genes,),
        "obsm": (cells,),
        "layers": shape,
        "varm": (genes,),
    }
    for slot, lead in expected.items():
        for key, value in getattr(annotation, slot).items():
            _key(key, slot, target)
            got = tuple(np.shape(value)) if not hasattr(value, "shape") else tuple(value.shape)
            if got[: len(lead)] != lead:
                raise DataError(
                    f"{target}: {slot}[{key!r}] has shape {got}, expected {lead} first."
                )
    _keys(annotation.uns, "uns", target)


def _key(key: object, place: str, target: str) -> None:
    """Raise DataError unless a key is text that HDF5 can store."""
    if not isinstance(key, str) or not key or "/" in key:
        raise DataError(
            f"{target}: {place} has the key {key!r}. AnnData stores only non-empty text without"
            " '/' as a key: convert it with str() or rename it."
        )


def _keys(mapping: Mapping[Any, Any], place: str, target: str) -> None:
    """Check the keys of nested mappings."""
    for key, value in mapping.items():
        _key(key, place, target)
        if isinstance(value, Mapping):
            _keys(value, f"{place}[{key!r}]", target)


def copy(source: str, part: Path) -> None:
    """Copy an AnnData file; between formats, element by element."""
    if suffix(source) != suffix(part.name):
        _convert(source, part)
    elif Path(source).is_dir():
        shutil.copytree(source, part)
    else:
        shutil.copyfile(source, part)


def _convert(source: str, part: Path) -> None:
    """Copy every element of an AnnData file to a file of the other format."""
    from anndata.io import read_elem, write_elem

    with opened(source) as root, editable(part) as copy:
        copy.attrs.update(dict(root.attrs))
        for name in root:
            write_elem(copy, name, read_elem(root[name]))


@contextmanager
def editable(part: Path) -> Iterator[Node]:
    """Open an AnnData file for editing and yield its root group."""
    if suffix(part.name) == ".zarr":
        import zarr

        existing = zarr.open_group(
            str(part), mode="a", zarr_format=_zarr_format(part), use_consolidated=False
        )
        yield existing
        with warnings.catch_warnings():
            # AnnData consolidates Zarr 3, too, so its metadata must be kept up to date.
            warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
            zarr.consolidate_metadata(existing.store)
        return
    import h5py

    with h5py.File(part, "a") as root:
        yield root


def _zarr_format(part: Path) -> Literal[2, 3]:
    """Version of a Zarr folder; for a new one, the version that every AnnData can read."""
    return 3 if (part / "zarr.json").exists() else 2


def add(root: Node, annotation: Annotation) -> None:
    """Write additions into an open AnnData file."""
    from anndata.io import read_elem, write_elem

    def held(slot: str, key: str) -> Any:
        return read_elem(root[slot][key]) if slot in root and key in root[slot] else None

    colours = followed(annotation.obs, held)
    annotation = replace(annotation, uns={**colours, **annotation.uns})
    for frame, columns in ((root["obs"], annotation.obs), (root["var"], annotation.var)):
        for key, value in columns.items():
            write_elem(frame, key, _column(value))
        order = [str(name) for name in frame.attrs["column-order"]]
        frame.attrs["column-order"] = list(dict.fromkeys((*order, *columns)))
    for slot in SLOTS:
        if slot not in root:
            write_elem(root, slot, {})
        for key, value in getattr(annotation, slot).items():
            write_elem(root[slot], key, value)


def _column(value: Column) -> Column:
    """Convert a column of annotations to a type that AnnData can write."""
    import pandas as pd

    array = value.array if isinstance(value, pd.Series) else value
    if isinstance(array, pd.Categorical):
        return array
    plain = np.asarray(array)
    return plain.astype(object) if plain.dtype.kind == "U" else plain
