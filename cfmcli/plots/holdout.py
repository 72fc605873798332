"""Held out: what was observed at a time that the fit has not seen, and what the model predicts."""

from typing import TYPE_CHECKING

import numpy as np

from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Array
from cfmcli.flows.dynamics.choice import deterministic
from cfmcli.plots.canvas import CLASSES, PAGE, PALE, Picture, canvas, dots, explain, legend, some
from cfmcli.plots.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 3


def draw(scene: Scene) -> Picture:
    """A panel for each held-out time."""
    clouds = [cloud for cloud in scene.model.clouds if cloud.held_out]
    columns = min(ACROSS, len(clouds))
    rows = -(-len(clouds) // columns)
    width = PAGE * max(columns, 1.5) / ACROSS
    figure, panels = canvas(width, 0.5 + 2.5 * rows, rows, columns)
    for axes, cloud in zip(panels, clouds, strict=False):
        _panel(axes, scene, cloud)
    for axes in panels[len(clouds) :]:
        axes.set_axis_off()
    legend(figure)
    said = (
        "Orange: cells observed at a time that was kept out of the fit; blue: cells of the time "
        "before, carried there; grey: all others."
    )
    explain(figure, scene.plane.caption)
    return Picture("holdout", "Held out and predicted", f"{said} {scene.plane.caption}", figure)


def _panel(axes: "Axes", scene: Scene, cloud: Cloud) -> None:
    """One held-out time."""
    for other in scene.model.kept:
        shown = np.asarray(other.points)[some(len(other), 600)]
        dots(axes, scene.plane.place(shown, other.time), 2, color=PALE)
    seen = np.asarray(cloud.points)[some(len(cloud))]
    said = {"observed": (CLASSES[1], seen), "predicted": (CLASSES[0], predicted(scene, cloud))}
    for name, (colour, x) in said.items():
        place = scene.plane.place(x, cloud.time)
        dots(axes, place, 4, alpha=0.5, color=colour, label=name)
    score = scene.scores.get(cloud.label)
    told = f"\nW1 {score['model_w1']:.3g}, static OT {score['static_ot_w1']:.3g}" if score else ""
    axes.set(xlabel=scene.plane.names[0], ylabel=scene.plane.names[1])
    axes.set_title(f"time {cloud.label}{told}")


def predicted(scene: Scene, cloud: Cloud) -> Array:
    """Cells of the snapshot before, carried to the time of a cloud, shape (n, D)."""
    model = scene.model
    before = [other for other in model.kept if other.time < cloud.time][-1]
    start = model.source.conditioned(before.rows(some(len(before))), scene.streams)
    x, guide = np.asarray(start.points, dtype=np.float64), model.guide(start.obs)
    times = (before.time, cloud.time)
    found: Array = model.flow.paths(x, times, deterministic("dopri5"), guide).points[-1]
    return found
