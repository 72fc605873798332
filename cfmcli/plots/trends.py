"""Trends: features along trajectories, with observed means."""

from typing import TYPE_CHECKING

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.chain import Chain
from cfmcli.data.maps import ProjectionMap
from cfmcli.model import Model
from cfmcli.plots.canvas import LETTERS, PAGE, Picture, canvas, legend, looks, wrapped
from cfmcli.plots.classes import palette
from cfmcli.plots.scene import Journey, Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS, PANELS = 3, 6
BAND = (0.1, 0.9)


def draw(scene: Scene) -> Picture:
    """Draw a panel per feature: mean and middle 80 % of trajectories."""
    model, journey = scene.model, scene.journey
    names = scene.features or most_changed(model, journey)
    columns = [model.features.index(name) for name in names]
    values = np.stack([model.chain.inverse(frame)[:, columns] for frame in journey.points])
    across = min(ACROSS, len(names))
    rows = -(-len(names) // across)
    figure, panels = canvas(PAGE * max(across, 1.5) / ACROSS, 0.5 + 1.7 * rows, rows, across)
    for k, (axes, name) in enumerate(zip(panels, names, strict=False)):
        _panel(axes, scene, values[:, :, k])
        _observed(axes, model, columns[k])
        axes.set_title(wrapped(name, (PAGE / ACROSS - 0.3) * LETTERS))
        axes.set_xlabel("time")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    legend(figure)
    said = (
        f"Features along {journey.points.shape[1]} trajectories, in {model.chain.units}: mean and "
        "middle 80 %. Dots are means of what was observed, crosses of what was held out. "
    )
    chosen = "" if scene.features else "Shown are the features whose mean changes most. "
    by = "Trajectories are told apart by the class of the cell nearest to their end."
    told = said + chosen + (by if scene.classes is not None else "")
    return Picture("trends", "Features along trajectories", told.strip(), figure)


def most_changed(model: Model, journey: Journey) -> tuple[str, ...]:
    """Features whose mean along trajectories has the widest range.

    They are compared in units that the transform treats as comparable: those before it first
    selects or mixes features, or the flow's own.
    """
    maps = model.chain.maps
    turned = [k for k, m in enumerate(maps) if m.dropped or isinstance(m, ProjectionMap)]
    cut = turned[0] if turned else len(maps)
    comparable = Chain(maps[cut:], model.features).inverse
    means = np.stack([comparable(frame).mean(axis=0) for frame in journey.points])
    order = np.argsort(-np.ptp(means, axis=0), kind="stable")
    return tuple(model.features[k] for k in order[:PANELS])


def _panel(axes: "Axes", scene: Scene, values: Array) -> None:
    """Draw mean and band of each group of trajectories, values of shape (T, n)."""
    groups = scene.journey.groups()
    shown = looks(list(groups), palette(scene.classes))
    for name, rows in groups.items():
        own = values[:, rows]
        low, high = np.quantile(own, BAND, axis=1)
        label = f"to {name}" if name else "trajectories"
        colour, times = shown[name].colour, scene.journey.times
        axes.plot(times, own.mean(axis=1), shown[name].dash, color=colour, lw=1, label=label)
        axes.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)


def _observed(axes: "Axes", model: Model, column: int) -> None:
    """Draw the mean of each snapshot."""
    for held, mark, label in ((False, "o", "observed"), (True, "x", "held out")):
        clouds = [cloud for cloud in model.clouds if cloud.held_out == held]
        means = [
            float(c.weights @ model.chain.inverse(np.asarray(c.points))[:, column]) for c in clouds
        ]
        if clouds:
            times = [cloud.time for cloud in clouds]
            axes.plot(times, means, mark, color="#000000", ms=3, label=label)
