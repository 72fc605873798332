"""Precision: annotations in float32 as the numbers that were meant."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def decimal(obs: "pd.DataFrame") -> "pd.DataFrame":
    """Annotations in float64 where they were in float32: 0.1, not 0.10000000149.

    Of all numbers that float32 cannot tell apart the one with the fewest digits is taken, so that
    times are called as a user calls them, and tables show them so.
    """
    single = [k for k in range(obs.shape[1]) if _is_single(obs.iloc[:, k])]
    found = obs.copy(deep=False) if single else obs
    for k in single:
        found.isetitem(k, _decimal(obs.iloc[:, k]).array)
    return found


def _is_single(column: "pd.Series[Any]") -> bool:
    """Whether a column, or its categories, are in float32."""
    categories = getattr(column.dtype, "categories", None)
    return bool((column.dtype if categories is None else categories.dtype) == np.float32)


def _decimal(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column with its numbers, or its categories, in float64."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        renamed: pd.Series[Any] = column.cat.rename_categories(
            _shortest(column.cat.categories).tolist()
        )
        return renamed
    return pd.Series(_shortest(column), index=column.index)


def _shortest(numbers: "pd.Series[Any] | pd.Index[Any]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """The shortest decimals that give some float32."""
    import pyarrow as pa

    text = pa.array(numbers.to_numpy(), from_pandas=False).cast(pa.string())
    return np.asarray(text.cast(pa.float64()).to_numpy(zero_copy_only=False))
