"""Rectify: pairs made by a trained run, and the settings that a fit inherits from it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from cfmcli.data.arrays import Array
from cfmcli.data.conditions import word
from cfmcli.data.snapshots import Snapshots
from cfmcli.data.times import TimeMap
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.choice import deterministic
from cfmcli.flows.objective.reading import Guide
from cfmcli.headers import MODEL
from cfmcli.model import Model
from cfmcli.recipe import Recipe, option
from cfmcli.stored import load
from cfmcli.workflows.prepare import Prepared

Carry = Callable[[Array, Array | None, int], Array]


def files(recipe: Recipe) -> tuple[str, ...]:
    """Files that a fit reads."""
    return (str(Path(recipe.from_run) / MODEL),) if recipe.from_run else recipe.inputs


def inherited(recipe: Recipe) -> Recipe:
    """Take all settings of the data from the trained run.

    Raises:
        ConfigError: if files or data settings conflict with the run, or mass grows.
        CheckpointError: if the run cannot be read.
    """
    model = _parent(recipe.from_run)
    parent = model.recipe
    if recipe.inputs and recipe.inputs != parent.inputs:
        raise ConfigError(
            "--from-run takes the points of that run: leave DATA out, or fit DATA without it."
        )
    if model.flow.varies:
        key = parent.growth_key
        raise ConfigError(
            f"The run {recipe.from_run} was fitted with "
            f"{f'--growth-key {key}' if key else '--method wfrfm'}, and pairs that a flow makes "
            "join one point with one, whatever grows: straighten a run that was fitted without "
            "it, or fit DATA anew without --from-run."
        )
    taken = {}
    for item in dataclasses.fields(Recipe):
        if item.metadata["section"] != "data":
            continue
        own, theirs = getattr(recipe, item.name), getattr(parent, item.name)
        if own not in (item.default, theirs):
            name = option(item.name)
            how = f"with {name} {_typed(theirs)}" if theirs else f"without {name}"
            raise ConfigError(
                f"{name} {_typed(own)}: the run {recipe.from_run} was fitted {how} and decides "
                "it; leave it out."
            )
        taken[item.name] = theirs
    return dataclasses.replace(recipe, **taken)


def _typed(value: object) -> str:
    """A setting as users type it."""
    return ",".join(map(word, value)) if isinstance(value, tuple) else str(value)


def prepared(recipe: Recipe) -> Prepared:
    """Load the snapshots of the trained run, in its flow coordinates."""
    parent = _parent(recipe.from_run)
    clouds = parent.clouds
    times = TimeMap(
        tuple(c.label for c in clouds), tuple(c.time for c in clouds), f"as in {recipe.from_run}"
    )
    snapshots = Snapshots(clouds, parent.gaussian_source)
    return Prepared(recipe.resolved(), snapshots, parent.chain, times, parent.conditions)


def carrier(run: str) -> Carry | None:
    """Build the map that the flow of a run applies to points of a segment; None without a run.

    Args:
        run: run folder, or empty.

    Returns:
        (points, their conditions or None, segment) -> end points, shape (n, D).
    """
    if not run:
        return None
    model = _parent(run)

    def carry(points: Array, condition: Array | None, segment: int) -> Array:
        guide = None
        if condition is not None:
            guide = Guide(torch.as_tensor(condition, dtype=torch.float32))
        times = model.timeline.times[segment : segment + 2]
        moved: Array = model.flow.paths(points, times, deterministic("dopri5"), guide).points[-1]
        return moved

    return carry


def _parent(run: str) -> Model:
    """Load the model of a run."""
    return load(run)
