"""Precision: conversion of float32 annotations to the intended decimals."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def decimal(obs: "pd.DataFrame") -> "pd.DataFrame":
    """Convert float32 annotations to float64: 0.1, not 0.10000000149.

    Of all numbers that are the same in float32, the one with the fewest digits is taken, so that
    times appear as users write them.
    """
    single = [k for k in range(obs.shape[1]) if _is_single(obs.iloc[:, k])]
    found = obs.copy(deep=False) if single else obs
    for k in single:
        found.isetitem(k, _decimal(obs.iloc[:, k]).array)
    return found


def _is_single(column: "pd.Series[Any]") -> bool:
    """Whether a column, or its categories, are float32."""
    categories = getattr(column.dtype, "categories", None)
    return bool((column.dtype if categories is None else categories.dtype) == np.float32)


def _decimal(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Convert a column's numbers, or its categories, to float64."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        renamed: pd.Series[Any] = column.cat.rename_categories(
            _shortest(column.cat.categories).tolist()
        )
        return renamed
    return pd.Series(_shortest(column), index=column.index)


def _shortest(numbers: "pd.Series[Any] | pd.Index[Any]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Shortest decimals that identify float32 values."""
    import pyarrow as pa

    text = pa.array(numbers.to_numpy(), from_pandas=False).cast(pa.string())
    return np.asarray(text.cast(pa.float64()).to_numpy(zero_copy_only=False))
