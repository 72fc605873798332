"""Perturb: sets features of given points to other values before the points are carried."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cfmcli import io
from cfmcli.data.arrays import Array
from cfmcli.data.table import Table
from cfmcli.data.transforms import some
from cfmcli.errors import ConfigError
from cfmcli.io.selection import unknown
from cfmcli.model import Model
from cfmcli.workflows import runtime
from cfmcli.workflows.moved import Moved
from cfmcli.workflows.results import written

SHOWN = 10


def changed(model: Model, table: Table, changes: Sequence[str]) -> Table:
    """Set some features of the points, in the space of the input.

    Args:
        model: the model, which knows the features.
        table: points.
        changes: GENE=VALUE, or GENE=*FACTOR and GENE=+TERM relative to the current value.

    Raises:
        ConfigError: if a change cannot be parsed, or the run lives in a representation.
        DataError: if there is no such feature.
    """
    if not changes:
        return table
    if model.recipe.use_rep:
        raise ConfigError(
            f"--set {changes[0]}: the run was fitted on obsm '{model.recipe.use_rep}', which knows "
            'no genes. Fit on X with --transform "log1p,pca:n=50", and set genes there.'
        )
    scale, shift = np.ones(len(table.features)), np.zeros(len(table.features))
    for name, by, plus in map(_read, changes):
        place = _place(name, table)
        scale[place], shift[place] = scale[place] * by, shift[place] * by + plus
    if isinstance(table.values, np.ndarray):
        return replace(table, values=table.values * scale + shift)
    from scipy import sparse

    ones = sparse.csr_matrix(np.ones((len(table), 1)))
    values = table.values @ sparse.diags(scale) + ones @ sparse.csr_matrix(shift[None])
    return replace(table, values=sparse.csr_matrix(values))


def differences(model: Model, moved: Moved, without: Array) -> io.Annotation:
    """Effect of a change on the end points, in the units of X_cfm and in data units.

    Args:
        model: the model whose coordinates the points are in.
        moved: the points with the change.
        without: end points without it, flow coordinates, shape (n, D).
    """
    layer = moved.values - model.chain.inverse(without)
    gap = written(model).inverse_tangent(without, moved.end - without)
    return io.Annotation(obsm={"X_cfm_delta": gap}, layers={"cfm_delta": layer})


class Shifts:
    """Accumulates how far a change moved points, and which features most, in the weighted mean.

    Args:
        model: the model, which names the features.
        weights: weights of all points, in order, shape (n,); 0 for points to ignore.
    """

    def __init__(self, model: Model, weights: Array) -> None:
        self._features = model.features
        self._written = written(model)
        self._weights = weights
        self._sums = np.zeros(len(model.features))
        self._starts: list[Array] = []
        self._ends: list[Array] = []

    def add(self, moved: Moved) -> None:
        """Add the next points, if they were changed."""
        if moved.before is not None:
            first = sum(map(len, self._ends))
            own = self._weights[first : first + len(moved.end)]
            self._sums += own @ moved.changes.layers["cfm_delta"]
            gap = self._written.inverse_tangent(moved.before, moved.start - moved.before)
            self._starts.append(np.linalg.norm(gap, axis=1))
            self._ends.append(np.linalg.norm(moved.changes.obsm["X_cfm_delta"], axis=1))

    def figures(self) -> dict[str, Any]:
        """Summary of the shifts; empty if no relevant point was changed."""
        if not (self._starts and self._weights.any()):
            return {}
        mass = self._weights / self._weights.sum()
        starts, ends = np.concatenate(self._starts), np.concatenate(self._ends)
        mean = self._sums / self._weights.sum()
        most = np.argsort(-np.abs(mean), kind="stable")[:SHOWN]
        return {
            "mean_start_shift": float(mass @ starts),
            "mean_shift": float(mass @ ends),
            "most_changed": [
                {"feature": self._features[k], "mean_delta": float(mean[k])} for k in most
            ],
        }


def told(changes: Sequence[str]) -> dict[str, str]:
    """Metadata of a result about the changes made to its points."""
    return {"set": ", ".join(changes)} if changes else {}


def warn_of_losses(model: Model, table: Table, changes: Sequence[str]) -> None:
    """Warn of changed features that the transform drops, so that they cannot affect the flow."""
    names = [_read(change)[0] for change in changes]
    if not names:
        return
    y = model.encode(table.rows(np.arange(1)).values)
    along = np.cos(1.0 + np.arange(y.shape[1]))[None]
    back = model.chain.inverse_tangent(y, along)[0]
    lost = [name for name in names if not back[_place(name, table)]]
    if lost:
        runtime.warn(
            f"--set: the run's transform drops {some(lost)}, so the flow does not see what is set "
            "there. Fit with a transform that keeps it, such as --preprocess scanpy with more "
            "genes."
        )


def _read(change: str) -> tuple[str, float, float]:
    """Parse `GENE=0`, `GENE=*2` or `GENE=+1` into feature, factor and term."""
    name, _, text = change.rpartition("=")
    text = text.strip()
    try:
        value = float(text.removeprefix("*"))
    except ValueError:
        value = np.nan
    if not (name.strip() and np.isfinite(value)):
        raise ConfigError(
            f"--set '{change}': expected a feature and a number, such as Gata1=0, Gata1=*2 for "
            "twice as much, or Gata1=+1 for one more."
        )
    if text.startswith("*"):
        return name.strip(), value, 0.0
    return name.strip(), float(text.startswith("+")), value


def _place(name: str, table: Table) -> int:
    """Index of a feature, by name."""
    if name not in table.features:
        raise unknown("feature", name, table.features, table.origin)
    return table.features.index(name)
