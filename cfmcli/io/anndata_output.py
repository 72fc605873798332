"""Creation of AnnData files, at once or block after block."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.errors import DataError
from cfmcli.io.annotation import NOTHING, SLOTS, Annotation, check, editable
from cfmcli.io.colours import palettes
from cfmcli.io.extension import Extension
from cfmcli.io.formats import suffix
from cfmcli.io.output import atomic

if TYPE_CHECKING:
    import pandas as pd
    from pandas.api.extensions import ExtensionDtype

    from cfmcli.data.arrays import Matrix


def write_anndata(
    target: str,
    X: "Matrix",
    obs: "pd.DataFrame",
    var_names: Sequence[str],
    annotation: Annotation = NOTHING,
) -> None:
    """Write a new AnnData atomically; the arguments are those of `anndata_writer`.

    Raises:
        DataError: a shape or name that AnnData cannot store.
    """
    write = anndata_writer(target, X, obs, var_names, annotation)
    with atomic(target) as part:
        write(part)


def anndata_writer(
    target: str,
    X: "Matrix",
    obs: "pd.DataFrame",
    var_names: Sequence[str],
    annotation: Annotation = NOTHING,
) -> Callable[[Path], None]:
    """Build a function that writes a new AnnData to a path.

    Args:
        target: name of the file, .h5ad or .zarr.
        X: values, shape (n, d), dense or CSR.
        obs: annotations, indexed by id.
        var_names: the d feature names.
        annotation: further content; its obs columns are added to those of `obs`.

    Raises:
        DataError: a shape or name that AnnData cannot store.
    """
    import anndata as ad
    import pandas as pd

    check(annotation, (len(obs), len(var_names)), target)
    frame = storable(obs.assign(**annotation.obs), target)
    index = pd.Index(list(var_names), dtype=object)
    var = pd.DataFrame(dict(annotation.var), index=index)
    parts = {k: dict(getattr(annotation, k)) for k in SLOTS}
    parts["uns"] = palettes(frame) | parts["uns"]
    data = ad.AnnData(X=X, obs=frame, var=var, **parts)
    writer = data.write_zarr if suffix(target) == ".zarr" else data.write_h5ad

    def write(part: Path) -> None:
        with warnings.catch_warnings():
            # AnnData announces a future Zarr default, which users cannot act upon.
            warnings.filterwarnings("ignore", "Writing zarr v2", UserWarning)
            writer(part, convert_strings_to_categoricals=False)

    return write


@contextmanager
def creating(target: str, obs: "pd.DataFrame", var_names: Sequence[str]) -> Iterator[Extension]:
    """Create an AnnData whose rows are written block after block, atomically.

    Args:
        target: name of the file, .h5ad or .zarr.
        obs: annotations of all rows, indexed by id.
        var_names: the d feature names.

    Raises:
        DataError: a name or shape that AnnData cannot store.
    """
    import pandas as pd
    from anndata.io import write_elem

    storable(obs, target)  # refuse before any work
    empty = anndata_writer(target, np.empty((0, len(var_names))), pd.DataFrame(), var_names)
    with atomic(target) as part:
        empty(part)
        with editable(part) as root:
            rows = Extension(root, (len(obs), len(var_names)), target)
            yield rows
            frame = storable(obs.assign(**rows.finish()), target)
            write_elem(root, "obs", frame)
            for key, colours in palettes(frame).items():
                write_elem(root["uns"], key, colours)


def storable(obs: "pd.DataFrame", target: str) -> "pd.DataFrame":
    """Convert annotations to types that AnnData can store; text with gaps becomes categorical.

    Raises:
        DataError: a column name that HDF5 would interpret as a path.
    """
    frame = obs.copy()
    frame.columns = frame.columns.map(str)
    path_like = [name for name in frame.columns if "/" in name or name in {"", ".", "_index"}]
    if path_like:
        raise DataError(
            f"{target}: AnnData cannot store a column called {path_like[0]!r}. Rename it."
        )
    for name in [str(n) for n, kind in frame.dtypes.items() if not _is_plain(kind)]:
        text = frame[name].map(str, na_action="ignore")
        frame[name] = text.astype("category") if text.isna().any() else text
    label = str(frame.index.name or "")
    usable = label and label not in frame.columns and "/" not in label
    frame.index = frame.index.astype(str).rename(label if usable else None)
    return frame


def _is_plain(kind: "np.dtype[Any] | ExtensionDtype") -> bool:
    """Whether AnnData stores a column type unchanged: numbers, booleans, categories."""
    return kind.kind in "biuf" or kind.name == "category"
