"""Checks that all readers apply before they return a table."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli.errors import CfmWarning, DataError
from cfmcli.io.selection import listed

if TYPE_CHECKING:
    import pandas as pd

    from cfmcli.data.arrays import Matrix

Where = Callable[[int], str]


def counted(row: int) -> str:
    """Name a row by number, counted from 1."""
    return f"row {row + 1}"


def beyond(where: Where, start: int) -> Where:
    """Shift row descriptions for a block that begins at a given row."""
    return lambda row: where(start + row)


def distinct_names(names: Sequence[str], what: str, origin: str, remedy: str) -> None:
    """Raise DataError if a column or feature name occurs twice."""
    if len(set(names)) == len(names):
        return
    twice = [name for name, count in Counter(names).items() if count > 1]
    raise DataError(f"{origin}: {what} occur more than once: {listed(twice)}. {remedy}")


def distinct_ids(ids: "pd.Index", origin: str, where: Where, *, asked: bool = False) -> "pd.Index":
    """Check that ids are non-empty, and make them unique.

    Args:
        ids: ids as read from the file.
        origin: the file, for messages.
        where: describes a row for the user.
        asked: whether the user named the id column, so that repeats are errors; otherwise repeats
            get a numeric suffix, as by `adata.obs_names_make_unique()`.

    Raises:
        DataError: an empty id, or a repeated one in a column that the user named.
    """
    empty = np.flatnonzero(ids.isna() | (ids == ""))
    if empty.size:
        raise DataError(
            f"{origin}: {where(int(empty[0]))} has no id in column {ids.name or ''!r}"
            f" ({empty.size} in all). Give every point an id, or choose another --id-key."
        )
    again = np.flatnonzero(ids.duplicated())
    if not again.size:
        return ids
    row = int(again[0])
    fact = (
        f"{origin}: id {ids[row]!r} at {where(row)} has occurred before ({again.size} repeated"
        " ids in all)."
    )
    if asked:
        raise DataError(f"{fact} Make the ids unique, or choose another --id-key.")
    distinct = numbered(ids)
    warnings.warn(
        f"{fact} Repeats got a number behind them: {distinct[row]!r} there.",
        CfmWarning,
        stacklevel=2,
    )
    return distinct


def finite(values: "Matrix", features: Sequence[str], origin: str, where: Where) -> None:
    """Raise DataError at the first value that is missing, NaN or infinite."""
    rows, columns, bad = _offenders(values)
    if not bad.size:
        return
    name, what = features[int(columns[0])], "infinite" if np.isinf(bad[0]) else "missing or NaN"
    bare = [features[k] for k in sorted(set(columns.tolist()))]
    spared = ",".join(bare) if len(bare) <= 5 else name
    raise DataError(
        f"{origin}: {where(int(rows[0]))}, column {name!r}: the value is {what}"
        f" ({bad.size} such values in {len(bare)} columns)."
        f" Every feature needs a finite number: fill or remove these, or --drop {spared}."
    )


def _offenders(values: "Matrix") -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Row, column and value of all non-finite entries, in reading order."""
    if isinstance(values, np.ndarray):
        rows, columns = np.nonzero(~np.isfinite(values))
        return rows, columns, values[rows, columns]
    at = np.flatnonzero(~np.isfinite(values.data))
    return np.searchsorted(values.indptr, at, side="right") - 1, values.indices[at], values.data[at]


def some_points(count: int, origin: str) -> None:
    """Raise DataError for a file without points."""
    if count == 0:
        raise DataError(f"{origin}: there are no points, only names. Expected at least one row.")


def as_float(values: npt.NDArray[Any], origin: str) -> npt.NDArray[Any]:
    """Convert real numbers to floats: float32 and float64 are kept, others become float64.

    Raises:
        DataError: the array does not hold real numbers.
    """
    if values.dtype.kind not in "biuf":
        raise DataError(f"{origin}: expected real numbers, got an array of {values.dtype}.")
    kept = values.dtype in (np.float32, np.float64)
    return values.astype(values.dtype if kept else np.float64, copy=False)


def dense(values: "Matrix") -> npt.NDArray[Any]:
    """Convert values to an ordinary array, (n, d)."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.toarray())


def numbered(ids: "pd.Index") -> "pd.Index":
    """Append a number to repeated ids, as AnnData does to make names unique."""
    from anndata.utils import make_index_unique

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distinct: pd.Index = make_index_unique(ids.astype(str)).astype(object).rename(ids.name)
    return distinct
