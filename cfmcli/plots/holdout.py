"""Holdout: observed and predicted points at held-out times."""

from typing import TYPE_CHECKING

import numpy as np

from cfmcli.data.snapshots import Cloud
from cfmcli.plots.canvas import CLASSES, PAGE, PALE, Picture, canvas, dots, explain, legend, some
from cfmcli.plots.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 3


def draw(scene: Scene) -> Picture:
    """Draw a panel for each held-out time."""
    clouds = [cloud for cloud in scene.model.clouds if cloud.label in scene.predictions]
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
        "Orange: cells observed at a time that was kept out of the fit; blue: what the run says "
        "of that time, as it is scored; grey: all others."
    )
    explain(figure, scene.plane.caption)
    return Picture("holdout", "Held out and predicted", f"{said} {scene.plane.caption}", figure)


def _panel(axes: "Axes", scene: Scene, cloud: Cloud) -> None:
    """Draw one held-out time."""
    for other in scene.model.kept:
        x = np.asarray(other.points)[some(len(other), 600)]
        dots(axes, scene.plane.place(x, other.time), 2, color=PALE)
    guess = scene.predictions[cloud.label]
    said = {"observed": (CLASSES[1], cloud), "predicted": (CLASSES[0], guess)}
    for name, (colour, shown) in said.items():
        place = scene.plane.place(np.asarray(shown.points)[some(len(shown))], cloud.time)
        dots(axes, place, 4, alpha=0.5, color=colour, label=name)
    score = scene.scores.get(cloud.label)
    told = ""
    if score:
        ours, theirs = _digits(score["model_w1"]), _digits(score["static_ot_w1"])
        told = f"\nW1 {ours}, static OT {theirs}"
    axes.set(xlabel=scene.plane.names[0], ylabel=scene.plane.names[1])
    axes.set_title(f"time {cloud.label}{told}")


def _digits(number: float) -> str:
    """Format a number with three significant digits, including zeros: 11.0."""
    return f"{number:#.3g}".removesuffix(".")
