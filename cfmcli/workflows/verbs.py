"""Verbs: common parts of the commands that use a run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli import catalog, stored
from cfmcli.data.arrays import Array
from cfmcli.data.table import Table
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.choice import with_tolerances
from cfmcli.flows.dynamics.flow import CHUNK
from cfmcli.flows.dynamics.motion import Deterministic, Motion, motion
from cfmcli.flows.dynamics.solvers import Adaptive
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import (
    Integration,
    Runtime,
)
from cfmcli.workflows import intake, runtime

if TYPE_CHECKING:
    import pandas as pd


def load(run: str, where: Runtime, rows: int = CHUNK, *, bf16: bool = False) -> Model:
    """Load the model of a run, on the requested device.

    Args:
        run: run folder.
        where: device and threads.
        rows: number of points, or of tangents, that pass through the network at once.
        bf16: whether points are carried by a network in bfloat16.

    Raises:
        ConfigError: if there is no network to run in bfloat16.
    """
    model = stored.load(run)
    if bf16 and not model.reading.objective.heads:
        raise ConfigError(
            f"--precision bf16: the run {run} moves observed points (--method static-ot) and has "
            "no network to be rounded: leave it out."
        )
    width = catalog.build("fields", model.recipe.field).width
    return replace(model.on(runtime.prepare(where, width, rows)), bf16=bf16)


def motion_of(how: Integration, where: Runtime) -> Motion:
    """Build the requested motion.

    Args:
        how: solver, tolerances and noise.
        where: runtime settings, including the seed of the noise.

    Raises:
        ConfigError: if the settings are inconsistent.
    """
    if not how.sde:
        return _deterministic(how)
    if how.bf16:
        raise ConfigError("--precision bf16 is of the flow itself: leave --sde or it out.")
    if how.atol is not None or how.rtol is not None:
        raise ConfigError(
            "--sde has fixed steps and knows no --atol or --rtol: leave them out, or say how many "
            "steps with --solver stochastic-heun:steps=400."
        )
    return motion(how.solver, how.sde, Streams(where.seed))


def _deterministic(how: Integration) -> Motion:
    """Build the motion along the flow itself."""
    if how.atol is None and how.rtol is None:
        found = motion(how.chosen)
    else:
        found = Deterministic(with_tolerances(how.chosen, how.atol, how.rtol))
    if how.bf16 and isinstance(found, Deterministic) and isinstance(found.solver, Adaptive):
        raise ConfigError(
            f"--precision bf16 with {how.chosen}: its steps would follow the rounding; use "
            "--solver auto, or fixed steps such as rk4:steps=10."
        )
    return found


def clock_time(model: Model, text: str, *, last: bool = False) -> float:
    """Resolve a clock time as typed, within the range of the model; empty for the first or last."""
    if not text:
        return model.timeline.times[-1 if last else 0]
    time = clock_of(model, text)
    model.timeline.inner(time)
    return time


def clock_of(model: Model, text: str | float) -> float:
    """Resolve a clock time from a number, or the label of a snapshot, held out or not.

    Raises:
        ConfigError: if it is neither.
    """
    held_out = {cloud.label: cloud.time for cloud in model.clouds if cloud.held_out}
    return model.timeline.parse(held_out.get(str(text), text))


def point_weights(model: Model, table: Table) -> Array:
    """Weights of a table's points, equal if it has no weight column."""
    key = model.recipe.weight_key
    return intake.weights(table, key if key in table.obs.columns else "")


def given(*paths: str) -> list[str]:
    """Paths that are not empty."""
    return [path for path in paths if path]


def energy(energies: Array, weights: Array) -> dict[str, float]:
    """Mean energy of paths, if defined."""
    energy = float(np.average(energies, weights=weights))
    return {} if np.isnan(energy) else {"path_energy": energy}


def steps(moves: Mapping[str, Any]) -> dict[str, str]:
    """Metadata of a result about the chosen steps; empty if none were chosen.

    Args:
        moves: report of a motion about its trips.
    """
    found = moves.get("steps")
    if isinstance(found, Mapping):
        return {"steps": ", ".join(f"{way} {own}" for way, own in found.items())}
    return {"steps": found} if found else {}


def apart(obs: "pd.DataFrame") -> "pd.DataFrame":
    """Rename annotations of starting points that collide with time columns."""
    clash = {name: f"{name}_start" for name in ("time", "cfm_time") if name in obs.columns}
    return obs.rename(columns=clash)
