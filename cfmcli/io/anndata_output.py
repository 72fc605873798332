"""New AnnData files, at once or block after block."""

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
    """Write a new AnnData, all or nothing; the arguments are those of `anndata_writer`.

    Raises:
        DataError: a shape or a name that AnnData cannot store.
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
    """A new AnnData as a function that writes it to a path.

    Args:
        target: its name, .h5ad or .zarr.
        X: values, shape (n, d), dense or CSR.
        obs: annotations, indexed by id.
        var_names: the d feature names.
        annotation: what else it holds; its obs columns go beside those of `obs`.

    Raises:
        DataError: a shape or a name that AnnData cannot store.
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
            # AnnData announces its next default for Zarr, which a user cannot act upon.
            warnings.filterwarnings("ignore", "Writing zarr v2", UserWarning)
            writer(part, convert_strings_to_categoricals=False)

    return write


@contextmanager
def creating(target: str, obs: "pd.DataFrame", var_names: Sequence[str]) -> Iterator[Extension]:
    """A new AnnData that gets its rows block after block, all or nothing.

    Args:
        target: its name, .h5ad or .zarr.
        obs: annotations of all rows, indexed by id.
        var_names: the d feature names.

    Raises:
        DataError: a name or a shape that AnnData cannot store.
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
    """Annotations as AnnData can store them: text with gaps becomes categorical.

    Raises:
        DataError: a column name that HDF5 takes for a path.
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
    """Whether AnnData stores a type of column as it is: numbers, booleans, categories."""
    return kind.kind in "biuf" or kind.name == "category"
