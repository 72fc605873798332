"""Clouds: snapshots coloured by time, with trajectories, and the field if D = 2."""

from typing import TYPE_CHECKING

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.plots.canvas import (
    COLUMN,
    DARK,
    Look,
    Picture,
    canvas,
    dots,
    explain,
    legend,
    looks,
    some,
)
from cfmcli.plots.classes import palette
from cfmcli.plots.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ARROWS = 22
WINDOW = 7
"""Number of frames in the running mean of lines on an embedding."""
MARKS = 12
"""Maximum number of snapshots in the legend."""


def draw(scene: Scene) -> Picture:
    """Draw snapshots and trajectories."""
    figure, (axes,) = canvas(COLUMN, 3.4)
    clouds = scene.model.clouds
    named = set(some(len(clouds), MARKS).tolist())
    for k, cloud in enumerate(clouds):
        place = scene.plane.place(np.asarray(cloud.points)[some(len(cloud))], cloud.time)
        note = f"time {cloud.label}{' (held out)' * cloud.held_out}"
        dots(
            *(axes, place, 5 if cloud.held_out else 3),
            marker="x" if cloud.held_out else "o",
            color=scene.clock.colour(cloud.time),
            alpha=0.5,
            lw=0.5 if cloud.held_out else 0,
            label=note if k in named else None,
        )
    said = _trajectories(axes, scene)
    if scene.model.dim == 2 and scene.plane.exact and not scene.model.conditions.width:
        said += _field(axes, scene)
    axes.set(xlabel=scene.plane.names[0], ylabel=scene.plane.names[1])
    legend(figure)
    explain(figure, scene.note)
    return Picture("clouds", "Snapshots and trajectories", f"{said} {scene.note}", figure)


def _trajectories(axes: "Axes", scene: Scene) -> str:
    """Draw a few points carried from the first time to the last."""
    journey = scene.journey
    moments = zip(journey.points, journey.times, strict=True)
    paths = np.stack([scene.plane.place(x, float(time)) for x, time in moments])
    said = f"Points are observed; {paths.shape[1]} lines carry source points to the last time."
    if not scene.plane.exact:
        paths = smoothed(paths)
        said += f" Lines are running means of {WINDOW} of {len(paths)} frames."
    groups = journey.groups()
    own = looks(list(groups), palette(scene.classes))
    shown = own if scene.classes is not None else {"": Look(DARK, "", "-")}
    for name, rows in groups.items():
        lines = paths[:, rows]
        colour, dash = shown[name].colour, shown[name].dash
        axes.plot(lines[:, :, 0], lines[:, :, 1], dash, color=colour, lw=0.5, alpha=0.6)
        if name:
            axes.plot([], [], dash, color=colour, label=f"to {name}")
    return said


def smoothed(paths: Array) -> Array:
    """Running means over time of lines, shape (T, n, 2); windows shrink towards the fixed ends."""
    sums = np.cumsum(np.concatenate((np.zeros_like(paths[:1]), paths)), axis=0)
    last = len(paths) - 1
    frames = np.arange(len(paths))
    reach = np.minimum(WINDOW // 2, np.minimum(frames, last - frames))
    counts = (2 * reach + 1)[:, None, None]
    return np.asarray((sums[frames + reach + 1] - sums[frames - reach]) / counts)


def _field(axes: "Axes", scene: Scene) -> str:
    """Draw the velocity field at the middle time as arrows."""
    stacked = np.concatenate([np.asarray(cloud.points) for cloud in scene.model.kept])
    sides = np.linspace(stacked.min(axis=0), stacked.max(axis=0), ARROWS).T
    grid = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    times = scene.model.timeline.times
    middle = 0.5 * (times[0] + times[-1])
    place = scene.plane.place(grid, middle)
    arrows = scene.plane.push(grid, scene.model.flow.velocity(grid, middle), middle)
    axes.quiver(*place.T, *arrows.T, angles="xy", color="#888888", alpha=0.5, width=0.002, zorder=0)
    return f" Grey arrows are the velocity field at time {middle:g}."
