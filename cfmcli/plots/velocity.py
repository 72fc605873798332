"""Velocity: streamlines of the velocities of all cells."""

from typing import TypeAlias

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.plots.canvas import COLUMN, DARK, Picture, canvas, dots, explain, legend, some
from cfmcli.plots.clouds import MARKS
from cfmcli.plots.scene import Scene

Masked: TypeAlias = "np.ma.MaskedArray[tuple[int, ...], np.dtype[np.float64]]"
GRID = 40
REACH = 1.0
"""Width of the average, in grid cells."""
LEAST = 0.7
"""Number of cells around a node below which no streamline is drawn."""
MOST = 800


def draw(scene: Scene) -> Picture:
    """Draw streamlines of the mean velocity of cells, each at its own time."""
    figure, (axes,) = canvas(COLUMN, 3.4)
    cells, moving = [], []
    named = set(some(len(scene.model.clouds), MARKS).tolist())
    for k, cloud in enumerate(scene.model.clouds):
        shown = cloud.rows(some(len(cloud), MOST))
        x = np.asarray(shown.points, dtype=np.float64)
        cells.append(scene.plane.place(x, cloud.time))
        colour = scene.clock.colour(cloud.time)
        label = f"time {cloud.label}" if k in named else None
        dots(axes, cells[-1], 3, color=colour, alpha=0.4, label=label)
        if not scene.plane.timed:
            moving.append((cells[-1], scene.plane.push(x, scene.velocities(shown), cloud.time)))
    if scene.plane.timed:
        moving = _on_the_way(scene)
    places, moves = map(np.concatenate, zip(*moving, strict=True))
    x, y, u, v = averaged(places, moves)
    axes.streamplot(x, y, u, v, color=DARK, linewidth=0.6, arrowsize=0.6, density=1.1)
    axes.set(xlabel=scene.plane.names[0], ylabel=scene.plane.names[1])
    across, along = np.concatenate([*cells, places]).T
    axes.set(xlim=_wider(across), ylim=_wider(along))
    legend(figure)
    around = "trajectories" if scene.plane.timed else "cells"
    said = f"Streamlines follow the mean velocity of the {around} around, each at its own time."
    if not scene.plane.exact:
        said += " Velocities are differences of places over the way to a near cell."
    explain(figure, scene.note)
    return Picture("velocity", "Velocity field", f"{said} {scene.note}", figure)


def _on_the_way(scene: Scene) -> list[tuple[Array, Array]]:
    """Places and velocities of trajectories, since snapshots leave most of a time axis empty."""
    times, points = scene.journey.times, scene.journey.points
    frames = zip(points, np.gradient(points, times, axis=0), times.tolist(), strict=True)
    return [(scene.plane.place(x, t), scene.plane.push(x, v, t)) for x, v, t in frames]


def _wider(side: Array) -> tuple[float, float]:
    """Axis limits with a small margin."""
    low, high = float(side.min()), float(side.max())
    margin = 0.03 * ((high - low) or 1.0)
    return low - margin, high + margin


def averaged(place: Array, move: Array) -> tuple[Array, Array, Masked, Masked]:
    """Mean velocity around each node of a grid, masked where there are few cells.

    u(g) = sum_i K(g - p_i) u_i / sum_i K(g - p_i),  K a normal density

    Args:
        place: positions of the cells, shape (n, 2).
        move: their velocities, shape (n, 2).

    Returns:
        The two sides of the grid, (GRID,) each, and both components, masked, (GRID, GRID).
    """
    low, high = place.min(axis=0), place.max(axis=0)
    size = np.where(high > low, high - low, 1.0)
    node = np.arange(GRID) / (GRID - 1)
    unit = (place - low) / size
    across, along = (
        np.exp(-0.5 * ((node[:, None] - unit[:, k]) * (GRID - 1) / REACH) ** 2) for k in (0, 1)
    )
    mass = along @ across.T
    thin = mass < LEAST
    u, v = (
        np.ma.masked_array((along * move[:, k]) @ across.T / np.maximum(mass, 1e-300), thin)
        for k in (0, 1)
    )
    return low[0] + node * size[0], low[1] + node * size[1], u, v
