"""Aside: points that take no part in training, for a validation loss."""

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
"""Points of the smaller cloud of a gap that `--steps auto` keeps aside: at least, if no more than
one in three; and at most."""
FEWEST = 10
"""Points whose loss tells anything: where one in three are fewer, nothing is kept aside."""


def timed(recipe: Recipe, snapshots: Snapshots) -> Recipe:
    """The recipe with the usual number of steps, where nothing can be kept aside to tell the end.

    Args:
        recipe: how it is fitted.
        snapshots: all points.
    """
    if recipe.steps != AUTO or recipe.validation or not _hindrance(snapshots):
        return recipe
    return replace(recipe, steps=MOST_STEPS, patience=0)


def _hindrance(snapshots: Snapshots) -> str:
    """Why `--steps auto` cannot keep points aside; nothing if it can."""
    least = min(snapshots.kept, key=len)
    if len(least) // PART >= FEWEST:
        return ""
    return (
        f"the {len(least)} points at {least.label} are too few to keep {FEWEST} aside, which would "
        "tell when to end"
    )


def told(recipe: Recipe, snapshots: Snapshots) -> tuple[str, ...]:
    """A line where the usual number of steps stands in for `--steps auto`."""
    own = timed(recipe, snapshots)
    if own == recipe or not assemble.triple(recipe).objective.heads:
        return ()
    idle = "; --patience has no loss to wait for" if recipe.patience else ""
    return (f"steps: {own.steps}, the usual number, as {_hindrance(snapshots)}{idle}",)


def counts(recipe: Recipe, snapshots: Snapshots) -> dict[str, int]:
    """How many points of the smaller end of each gap are kept aside.

    Args:
        recipe: how it is fitted.
        snapshots: all points.

    Raises:
        DataError: if a share that is asked for leaves too few.
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
    """What to train on at first, and what is kept aside to tell how good a fit is.

    With `--steps auto` the last steps take all points, once those kept aside have told when to end.

    Args:
        task: over all points.
        recipe: how it is fitted.
        snapshots: all points.
        streams: the run's randomness.

    Raises:
        DataError: if a share that is asked for leaves too few.
    """
    wanted = _shares(recipe, snapshots)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfmWarning)  # those of the plans of all points are heard
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
    """The share of the points of each gap that is kept aside; none where nothing is trained."""
    own = timed(recipe, snapshots)
    if not own.kept or not assemble.triple(recipe).objective.heads:
        return []
    return [_share(own.validation, least) for least in _gaps(snapshots)]


def _share(wanted: float, cloud: Cloud) -> float:
    """The share of a cloud that is kept aside: that asked for, or what `--steps auto` needs."""
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
