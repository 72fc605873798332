"""Aside: points that take no part in training, for a validation loss."""

from dataclasses import replace

import numpy as np

from cfmcli.catalog import preset
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import DataError
from cfmcli.flows.streams import Streams
from cfmcli.recipe import AUTO, KEPT, Recipe, default
from cfmcli.workflows import assemble

AMPLE, PART = 20, 3
"""Points that `--steps auto` keeps aside of each cloud, at least, if no more than one in three."""
FEWEST = 10
"""Points whose loss tells anything: where one in three are fewer, nothing is kept aside."""


def timed(recipe: Recipe, snapshots: Snapshots) -> Recipe:
    """The recipe with the usual number of steps, where points are too few to tell when to end.

    Args:
        recipe: how it is fitted.
        snapshots: all points.
    """
    few = min(map(len, snapshots.kept)) // PART < FEWEST
    if recipe.steps != AUTO or recipe.validation or not few:
        return recipe
    usual = preset(recipe.method).settings.get("steps", default("steps"))
    return replace(recipe, steps=usual, patience=0)


def told(recipe: Recipe, snapshots: Snapshots) -> tuple[str, ...]:
    """A line where the usual number of steps stands in for `--steps auto`."""
    own = timed(recipe, snapshots)
    if own == recipe or not assemble.triple(recipe).objective.heads:
        return ()
    least = min(snapshots.kept, key=len)
    return (
        f"steps: {own.steps}, the usual number, as the {len(least)} points at {least.label} are "
        f"too few to keep {FEWEST} aside, which would tell when to end",
    )


def counts(recipe: Recipe, snapshots: Snapshots) -> list[int]:
    """How many points of each cloud are kept aside; none where nothing is trained.

    Args:
        recipe: how it is fitted.
        snapshots: all points.

    Raises:
        DataError: if a share that is asked for leaves too few.
    """
    own = timed(recipe, snapshots)
    if not own.kept or not assemble.triple(recipe).objective.heads:
        return [0] * len(snapshots.kept)
    return [_count(own.validation, cloud) for cloud in snapshots.kept]


def _count(share: float, cloud: Cloud) -> int:
    """How many points of a cloud are kept aside: a share, or what `--steps auto` needs."""
    if not share:
        return max(round(KEPT * len(cloud)), min(AMPLE, len(cloud) // PART))
    count = round(share * len(cloud))
    if count < 2 or len(cloud) - count < 2:
        raise DataError(
            f"Time {cloud.label} has {len(cloud)} points, too few to keep {share:g} of them for "
            "validation, which takes 2 and leaves 2: choose another --validation."
        )
    return count


def kept_aside(
    snapshots: Snapshots, recipe: Recipe, streams: Streams
) -> tuple[Snapshots, Snapshots | None]:
    """Points to train on, and points kept aside for validation.

    Args:
        snapshots: all points.
        recipe: how they are fitted.
        streams: the run's randomness.

    Raises:
        DataError: if a cloud is too small.
    """
    sizes = counts(recipe, snapshots)
    if not any(sizes):
        return snapshots, None
    train: list[Cloud] = []
    aside: list[Cloud] = []
    for k, (cloud, count) in enumerate(zip(snapshots.kept, sizes, strict=True)):
        order = streams.numpy("validation", k).permutation(len(cloud))
        aside.append(cloud.sampled(np.sort(order[:count])))
        train.append(cloud.sampled(np.sort(order[count:])))
    gaussian = snapshots.gaussian_source
    return Snapshots(tuple(train), gaussian), Snapshots(tuple(aside), gaussian)
