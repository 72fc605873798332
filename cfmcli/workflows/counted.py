"""Counted: whether points are raw counts, as their transform takes them, or were logged before."""

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
"""Transforms of what was counted."""
SHOWN, RUNS = 1000, 4
"""Points by which the scale of all is known, and the runs of rows that they are read in."""


def told_of_counts(transform: str, points: "Matrix", origin: str) -> tuple[str, ...]:
    """What a person should be told of counts; warn where the transform does not suit the points.

    Args:
        transform: the chain that they are to pass through.
        points: to learn from, in data units.
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
    """Points for a model, with a warning where it takes counts and they were logged before.

    Args:
        chain: the model's transform.
        table: the points.
    """
    _warn_of_logged(chain, Backed.of(table))
    return table


def not_logged_where_read(chain: Chain, table: Backed) -> Backed:
    """The same for points that stay in their file, said when the first of them are read."""
    told = False

    def read(rows: slice) -> "Matrix":
        nonlocal told
        if not told:
            told = True
            _warn_of_logged(chain, table)
        return table.read(rows)

    return replace(table, read=read)


def _warn_of_logged(chain: Chain, table: Backed) -> None:
    """Warn where points were logged, and a model logs them again."""
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
    """Runs of rows from all over a table: those of one day or type may be of a scale of their own.

    All rows are there where they are few, some of them twice.
    """
    run = SHOWN // RUNS
    starts = np.linspace(0, max(0, len(table) - run), RUNS).astype(int).tolist()
    return stacked([table.read(slice(k, min(k + run, len(table)))) for k in starts])


def _told_of_scale(transform: str, points: "Matrix", origin: str) -> tuple[str, ...]:
    """What is said where a transform takes points for counts that are not whole numbers."""
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
    """What was seen of the scale of points."""
    kind = "whole numbers" if whole(points) else "numbers that are not whole"
    return f"{origin} holds {kind}, from {points.min():.4g} to {points.max():.4g}"
