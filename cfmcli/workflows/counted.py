"""Counted: checks whether points are raw counts, as their transform expects, or already logged."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cfmcli.data.blocks import stacked
from cfmcli.data.chain import Chain
from cfmcli.data.counts import FEW_FEATURES, logged, raw_counts, whole
from cfmcli.data.table import Backed, Table
from cfmcli.specs import parse_chain
from cfmcli.workflows import runtime

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

OF_COUNTS = ("normalize", "log1p")
"""Transforms that expect counts."""
SHOWN, RUNS = 1000, 4
"""Number of points used to judge the scale, and the number of runs of rows they are read in."""


def told_of_counts(transform: str, points: "Matrix", origin: str) -> tuple[str, ...]:
    """Describe counts to the user; warn if the transform does not suit the points.

    Args:
        transform: the chain of transforms for the points.
        points: points of the fit, in data units.
        origin: their file, for messages.
    """
    steps = [step.name for step in parse_chain(transform)]
    if raw_counts(points):
        found = f"{origin} looks like raw counts (whole numbers from 0 to {points.max():g})"
        if "log1p" in steps:
            return (f"{found}, prepared by {transform}",)
        runtime.warn(
            f"{found}, and --transform {transform} takes them as they are: prepare them with "
            "--preprocess scanpy, or with --transform log1p,pca:n=50."
        )
    elif steps[0] in OF_COUNTS and points.shape[1] >= FEW_FEATURES:
        return _told_of_scale(transform, points, origin)
    return ()


def not_logged(chain: Chain, table: Table) -> Table:
    """Return points for a model, with a warning if it takes counts and they are already logged.

    Args:
        chain: the model's transform.
        table: the points.
    """
    _warn_of_logged(chain, Backed.of(table))
    return table


def not_logged_where_read(chain: Chain, table: Backed) -> Backed:
    """The same for points that stay in their file; the check runs at the first read."""
    told = False

    def read(rows: slice) -> "Matrix":
        nonlocal told
        if not told:
            told = True
            _warn_of_logged(chain, table)
        return table.read(rows)

    return replace(table, read=read)


def _warn_of_logged(chain: Chain, table: Backed) -> None:
    """Warn if points are already logged and the model's transform logs them again."""
    if not (chain.kinds and chain.kinds[0] in OF_COUNTS):
        return
    points = _spread(table)
    if logged(points):
        runtime.warn(
            f"{_seen(points, table.head.origin)}: they look logged or scaled already, and the run "
            f"prepares its points by {','.join(chain.kinds)} itself. Give them as they were given "
            "to cfm fit; where that was a layer of an h5ad, fit with --layer counts to have it "
            "read."
        )


def _spread(table: Backed) -> "Matrix":
    """Read runs of rows from all over a table, since one day or type may have a scale of its own.

    Small tables are read completely, some rows twice.
    """
    run = SHOWN // RUNS
    starts = np.linspace(0, max(0, len(table) - run), RUNS).astype(int).tolist()
    return stacked([table.read(slice(k, min(k + run, len(table)))) for k in starts])


def _told_of_scale(transform: str, points: "Matrix", origin: str) -> tuple[str, ...]:
    """Describe or warn if a transform expects counts but the points are not whole numbers."""
    if logged(points) or points.min() < 0:
        runtime.warn(
            f"{_seen(points, origin)}: they look logged or scaled already, and {transform} takes "
            "them for counts. Give raw counts (--layer counts, where an h5ad keeps them there), or "
            "leave out what was done before: --transform pca:n=50."
        )
    elif "normalize" in transform and not whole(points):
        return (f"{_seen(points, origin)}: {transform} takes them for estimated counts",)
    return ()


def _seen(points: "Matrix", origin: str) -> str:
    """Describe the observed scale of points."""
    kind = "whole numbers" if whole(points) else "numbers that are not whole"
    return f"{origin} holds {kind}, from {points.min():.4g} to {points.max():.4g}"
