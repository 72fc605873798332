"""Loss: history of the training loss."""

import csv
import io
import math

from cfmcli.plots.canvas import CLASSES, COLUMN, Picture, canvas
from cfmcli.plots.scene import Scene

FEW, SHORT = 2.5, 0.5
"""Decades of loss below which ticks at 2 and 5 are labelled beside 1, and below which all are."""


def draw(scene: Scene) -> Picture:
    """Draw training loss, and validation loss if any, against the step."""
    from matplotlib.ticker import LogLocator

    rows = list(csv.DictReader(io.StringIO(scene.losses)))
    figure, (axes,) = canvas(COLUMN, 2.4)
    losses = [float(row["loss"]) for row in rows]
    steps = [int(row["step"]) for row in rows]
    axes.plot(steps, losses, color=CLASSES[0], lw=0.8, label="training")
    checked = [(int(r["step"]), float(r["validation"])) for r in rows if r["validation"]]
    if checked:
        axes.plot(*zip(*checked, strict=True), color=CLASSES[1], lw=0.8, label="validation")
        axes.legend()
    axes.set(xlabel="step", ylabel="regression loss")
    if min(losses) > 0:
        axes.set_yscale("log")
        decades = math.log10(max(losses) / min(losses))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < FEW else (1,)))
        axes.yaxis.set_major_formatter("{x:.3g}")
        axes.yaxis.set_minor_formatter("{x:.3g}" if decades < SHORT else "")
    said = "Mean of the regression loss over each block of steps. It need not reach zero."
    if checked and checked[-1][0] < steps[-1]:
        said += " Where validation ends, the fit went back to its best weights."
    return Picture("loss", "Training loss", said, figure)
