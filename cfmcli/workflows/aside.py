"""Aside: points that take no part in training, for a validation loss."""

from dataclasses import replace

import numpy as np

from cfmcli.data.arrays import IntArray
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import DataError
from cfmcli.flows.coupling.couplings import Paired
from cfmcli.flows.streams import Streams
from cfmcli.recipe import AUTO, KEPT, MOST_STEPS, Recipe
from cfmcli.workflows import assemble

AMPLE, PART, MOST = 20, 3, 500
"""Points that `--steps auto` keeps aside of each cloud: at least, if no more than one in three;
and at most."""
SLIGHT = 0.05
"""A share of points that training does without."""
FEWEST = 10
"""Points whose loss tells anything: where one in three are fewer, nothing is kept aside."""


def timed(recipe: Recipe, snapshots: Snapshots) -> Recipe:
    """The recipe with the usual number of steps, where nothing can be kept aside to tell the end.

    Args:
        recipe: how it is fitted.
        snapshots: all points.
    """
    if recipe.steps != AUTO or recipe.validation or not _hindrance(recipe, snapshots):
        return recipe
    return replace(recipe, steps=MOST_STEPS, patience=0)


def _hindrance(recipe: Recipe, snapshots: Snapshots) -> str:
    """Why `--steps auto` cannot keep points aside; nothing if it can."""
    if isinstance(assemble.triple(recipe).coupling, Paired) and not recipe.from_run:
        return "each row is a pair, of which both ends would have to be kept aside"
    if recipe.from_run and snapshots.gaussian_source:
        return "the run draws pairs without end, so none can be learnt by heart"
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
    return (f"steps: {own.steps}, the usual number, as {_hindrance(recipe, snapshots)}{idle}",)


def counts(recipe: Recipe, snapshots: Snapshots) -> list[int]:
    """How many points of each cloud are kept aside; none where nothing is trained.

    Args:
        recipe: how it is fitted.
        snapshots: all points.

    Raises:
        DataError: if a share that is asked for leaves too few.
    """
    return [sum(count for _, count in own) for own in _parts(recipe, snapshots)]


def kept_aside(
    snapshots: Snapshots, recipe: Recipe, streams: Streams
) -> tuple[Snapshots, Snapshots | None]:
    """Points to train on, and points kept aside for validation; of each class a part of its own.

    Args:
        snapshots: all points.
        recipe: how they are fitted.
        streams: the run's randomness.

    Raises:
        DataError: if a cloud is too small.
    """
    parts = _parts(recipe, snapshots)
    if not any(count for own in parts for _, count in own):
        return snapshots, None
    train: list[Cloud] = []
    aside: list[Cloud] = []
    for k, (cloud, own) in enumerate(zip(snapshots.kept, parts, strict=True)):
        rng = streams.numpy("validation", k)
        split = [(rng.permutation(rows), count) for rows, count in own]
        aside.append(_standing(cloud, [(order[:count], order) for order, count in split]))
        train.append(_standing(cloud, [(order[count:], order) for order, count in split]))
    gaussian = snapshots.gaussian_source
    return Snapshots(tuple(train), gaussian), Snapshots(tuple(aside), gaussian)


def ends_with_all(recipe: Recipe, seen: Snapshots, snapshots: Snapshots) -> bool:
    """Whether the last steps take the points kept aside too, once these have told when to end.

    Args:
        recipe: how it is fitted.
        seen: points to train on until then.
        snapshots: all points.
    """
    pairs = zip(seen.kept, snapshots.kept, strict=True)
    return recipe.steps == AUTO and any(len(b) - len(a) > SLIGHT * len(b) for a, b in pairs)


def _parts(recipe: Recipe, snapshots: Snapshots) -> list[list[tuple[IntArray, int]]]:
    """Rows of each class of each cloud, and how many of them are kept aside.

    A class of which a cloud has one point only is not kept aside at all, so that classes meet the
    same classes there as in training; where that leaves too few, classes play no role.
    """
    own, kept = timed(recipe, snapshots), snapshots.kept
    whole = [np.arange(len(cloud)) for cloud in kept]
    if not own.kept or not assemble.triple(recipe).objective.heads:
        return [[(rows, 0)] for rows in whole]
    sizes = [_count(own.validation, cloud) for cloud in kept]
    classes = [_classes(cloud, recipe.label_key) for cloud in kept]
    scarce = {name for found in classes for name, rows in found.items() if len(rows) < 2}
    parts = [_shared(size, found, scarce) for size, found in zip(sizes, classes, strict=True)]
    for size, own_parts, rows in zip(sizes, parts, whole, strict=True):
        count = sum(part for _, part in own_parts)
        if len(own_parts) > max(size, 1) or not 2 <= count <= len(rows) - 2:
            return [[(every, part)] for every, part in zip(whole, sizes, strict=True)]
    return parts


def _classes(cloud: Cloud, key: str) -> dict[str, IntArray]:
    """The rows of each class of a cloud; all of them as one that has no name without classes."""
    if key not in cloud.obs.columns:
        return {"": np.arange(len(cloud))}
    names = cloud.obs[key].astype(str).to_numpy()
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


def _shared(
    count: int, classes: dict[str, IntArray], scarce: set[str]
) -> list[tuple[IntArray, int]]:
    """Rows of classes, and how many of each make up a count: one of each at least, never all."""
    some = sum(len(rows) for name, rows in classes.items() if name not in scarce)
    found = []
    for name, rows in classes.items():
        part = min(max(round(count * len(rows) / max(some, 1)), 1), len(rows) - 1)
        found.append((rows, 0 if name in scarce else part))
    return found


def _standing(cloud: Cloud, parts: list[tuple[IntArray, IntArray]]) -> Cloud:
    """Points of each class of a cloud that stand for all of it; of no class but those they are of.

    Args:
        cloud: all points.
        parts: of each class the rows of some points, and of all.
    """
    weights, left = np.zeros(len(cloud)), 0.0
    for some, every in parts:
        mass = cloud.weights[every].sum()
        if len(some):
            weights[some] = cloud.weights[some] * (mass / cloud.weights[some].sum())
        else:
            left += mass
    rows = np.sort(np.concatenate([some for some, _ in parts]))
    weights = weights[rows] / weights[rows].sum()
    return replace(cloud.sampled(rows), weights=weights, mass=cloud.mass * (1 - left))


def _count(share: float, cloud: Cloud) -> int:
    """How many points of a cloud are kept aside: a share, or what `--steps auto` needs."""
    if not share:
        return max(min(round(KEPT * len(cloud)), MOST), min(AMPLE, len(cloud) // PART))
    count = round(share * len(cloud))
    if count < 2 or len(cloud) - count < 2:
        raise DataError(
            f"Time {cloud.label} has {len(cloud)} points, too few to keep {share:g} of them for "
            "validation, which takes 2 and leaves 2: choose another --validation."
        )
    return count
