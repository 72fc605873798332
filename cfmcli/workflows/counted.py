"""Counted: whether points are raw counts, as their transform takes them, or were logged before."""

from dataclasses import replace
from typing import TYPE_CHECKING

from cfmcli.data.chain import Chain
from cfmcli.data.counts import FEW_FEATURES, logged, raw_counts, whole
from cfmcli.data.table import Backed, Table
from cfmcli.specs import parse_chain
from cfmcli.workflows import runtime

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

OF_COUNTS = ("normalize", "log1p")
"""Transforms of what was counted."""
SHOWN = 1000
"""Points by which the scale of all is known."""


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
    _warn_of_logged(chain, table.values[:SHOWN], table.origin)
    return table


def not_logged_where_read(chain: Chain, table: Backed) -> Backed:
    """The same for points that stay in their file, known by the first of them that are read."""
    told = False

    def read(rows: slice) -> "Matrix":
        nonlocal told
        values = table.read(rows)
        if not told:
            told = True
            _warn_of_logged(chain, values[:SHOWN], table.head.origin)
        return values

    return replace(table, read=read)


def _warn_of_logged(chain: Chain, points: "Matrix", origin: str) -> None:
    """Warn where points were logged, and a model logs them again."""
    if chain.kinds and chain.kinds[0] in OF_COUNTS and logged(points):
        runtime.warn(
            f"{_seen(points, origin)}: they look logged or scaled already, and the run prepares "
            f"its points by {','.join(chain.kinds)} itself. Give them as they were given to cfm "
            "fit; where that was a layer of an h5ad, fit with --layer counts to have it read."
        )


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
