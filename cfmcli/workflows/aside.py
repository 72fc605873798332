"""Aside: points of each gap that are held out of training, for a validation loss."""

import warnings
from dataclasses import replace
from itertools import pairwise

from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import CfmWarning, DataError
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.tasks import Task
from cfmcli.flows.training.trainer import Aside
from cfmcli.recipe import AUTO, KEPT, MOST_STEPS, Recipe
from cfmcli.workflows import assemble, runtime

AMPLE, PART, MOST = 20, 3, 500
"""Points of the smaller cloud of a gap that `--steps auto` holds out: the minimum, unless that is
more than one in three of the points, and the maximum."""
FEWEST = 10
"""Fewest held-out points with a meaningful loss; if one in three are fewer, none are held out."""


def timed(recipe: Recipe, snapshots: Snapshots) -> Recipe:
    """Fix the usual number of steps if no points can be held out for `--steps auto`.

    Args:
        recipe: settings of the fit.
        snapshots: all points.
    """
    if recipe.steps != AUTO or recipe.validation or not _hindrance(snapshots):
        return recipe
    return replace(recipe, steps=MOST_STEPS, patience=0)


def _hindrance(snapshots: Snapshots) -> str:
    """Reason why `--steps auto` cannot hold out points; empty if it can."""
    least = min(snapshots.kept, key=len)
    if len(least) // PART >= FEWEST:
        return ""
    return (
        f"the {len(least)} points at {least.label} are too few to keep {FEWEST} aside, which would "
        "tell when to end"
    )


def told(recipe: Recipe, snapshots: Snapshots) -> tuple[str, ...]:
    """A note if the usual number of steps replaces `--steps auto`."""
    own = timed(recipe, snapshots)
    if own == recipe or not assemble.triple(recipe).objective.heads:
        return ()
    idle = "; --patience has no loss to wait for" if recipe.patience else ""
    return (f"steps: {own.steps}, the usual number, as {_hindrance(snapshots)}{idle}",)


def counts(recipe: Recipe, snapshots: Snapshots) -> dict[str, int]:
    """Number of held-out points of the smaller end of each gap.

    Args:
        recipe: settings of the fit.
        snapshots: all points.

    Raises:
        DataError: if a requested fraction leaves too few points.
    """
    labels, gaps = snapshots.timeline.labels, _gaps(snapshots)
    shares = _shares(recipe, snapshots) or [0.0] * len(gaps)
    return {
        f"{before} -> {after}": round(share * len(least))
        for before, after, share, least in zip(labels, labels[1:], shares, gaps, strict=False)
    }


def parted(
    task: Task, recipe: Recipe, snapshots: Snapshots, streams: Streams
) -> tuple[Task, Aside | None]:
    """Split a task into the initial training task and held-out points.

    With `--steps auto` the last steps use all points, once those held out have decided when to end.

    Args:
        task: task over all points.
        recipe: settings of the fit.
        snapshots: all points.
        streams: the run's randomness.

    Raises:
        DataError: if a requested fraction leaves too few points.
    """
    wanted = _shares(recipe, snapshots)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfmWarning)  # the plans of all points have warned
        train, aside = task.parted(wanted, streams) if wanted else (task, None)
    if aside:
        return train, Aside(aside, task if timed(recipe, snapshots).steps == AUTO else None)
    lone = "No class has two points at both ends of a gap, so"
    if wanted and recipe.validation:
        raise DataError(
            f"{lone} {recipe.validation:g} of them cannot be kept for validation: leave "
            "--validation or --label-key out."
        )
    if wanted:
        runtime.warn(
            f"{lone} none are kept aside, which would tell when to end: there are "
            f"{recipe.most_steps} steps, the usual number."
        )
    return task, None


def _gaps(snapshots: Snapshots) -> list[Cloud]:
    """The smaller end of each gap."""
    kept = snapshots.kept
    if snapshots.gaussian_source:
        return list(kept)
    return [min(ends, key=len) for ends in pairwise(kept)]


def _shares(recipe: Recipe, snapshots: Snapshots) -> list[float]:
    """Fraction of the points of each gap to hold out; empty if none are or nothing is trained."""
    own = timed(recipe, snapshots)
    if not own.kept or not assemble.triple(recipe).objective.heads:
        return []
    return [_share(own.validation, least) for least in _gaps(snapshots)]


def _share(wanted: float, cloud: Cloud) -> float:
    """Fraction of a cloud to hold out: as requested, or as `--steps auto` needs."""
    n = len(cloud)
    if not wanted:
        return max(min(round(KEPT * n), MOST), min(AMPLE, n // PART)) / n
    count = round(wanted * n)
    if count < 2 or n - count < 2:
        raise DataError(
            f"Time {cloud.label} has {n} points, too few to keep {wanted:g} of them for "
            "validation, which takes 2 and leaves 2: choose another --validation."
        )
    return wanted
