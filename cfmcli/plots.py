"""Pictures of a run: its loss, its clouds with trajectories, and its velocity field."""

import csv
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.data.table import Array
from cfmcli.flows.streams import Streams
from cfmcli.model import Model, as_solver

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 1500
LINES = 60
FRAMES = 40
ARROWS = 22


def of_run(model: Model, losses: str) -> dict[str, bytes]:
    """The pictures of a finished fit, file name -> PNG.

    Args:
        model: the trained model.
        losses: the content of losses.csv, empty where there is no history.
    """
    pictures = {"clouds.png": png(cloud_figure(model))}
    return pictures | ({"loss.png": png(loss_figure(losses))} if losses else {})


def png(figure: "Figure") -> bytes:
    """A figure as PNG, the same figure as the same bytes."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return out.getvalue()


def loss_figure(losses: str) -> "Figure":
    """Training loss, and validation loss where there is one, against the step."""
    rows = list(csv.DictReader(io.StringIO(losses)))
    steps = [int(row["step"]) for row in rows]
    figure, axes = _canvas(5.0, 3.4)
    axes.plot(steps, [float(row["loss"]) for row in rows], color="#0072B2", lw=1, label="training")
    checked = [(int(r["step"]), float(r["validation"])) for r in rows if r["validation"]]
    if checked:
        axes.plot(*zip(*checked, strict=True), color="#D55E00", lw=1, label="validation")
        axes.legend(frameon=False)
    scale = "log" if all(float(row["loss"]) > 0 for row in rows) else "linear"
    axes.set(xlabel="step", ylabel="loss", yscale=scale, title="Regression loss")
    return figure


def cloud_figure(model: Model) -> "Figure":
    """Snapshots coloured by time, trajectories between them, and the field where D = 2."""
    project, names = _plane(model)
    figure, axes = _canvas(6.4, 5.0)
    colours = _colours(model)
    for cloud in model.clouds:
        chosen = _some(len(cloud), SHOWN)
        x, y = project(np.asarray(cloud.points)[chosen]).T
        shade = colours.to_rgba(cloud.time)
        mark = "x" if cloud.held_out else "o"
        note = f"{cloud.label} (held out)" if cloud.held_out else cloud.label
        axes.scatter(x, y, s=7, marker=mark, color=shade, alpha=0.55, lw=0.5, label=note)
    _trajectories(axes, model, project)
    if model.dim == 2 and not model.conditions.width:
        _field(axes, model, project)
    axes.set(xlabel=names[0], ylabel=names[1], title="Snapshots and trajectories")
    legend = axes.legend(title="time", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for handle in filter(None, legend.legend_handles):
        handle.set_alpha(1.0)
    return figure


def _canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    """An empty figure with one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colours(model: Model) -> Any:
    """Time -> a colour that the colour-blind can read."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    first, last = model.timeline.times[0], model.timeline.times[-1]
    margin = 0.1 * (last - first)
    return ScalarMappable(Normalize(first, last + margin), "viridis")


def _plane(model: Model) -> tuple[Any, tuple[str, str]]:
    """Flow coordinates -> the plane of the picture, and what its axes are called."""
    if len(model.features) == 2 and model.dim == 2:
        return model.chain.inverse, (model.features[0], model.features[1])
    if model.dim == 1:
        return lambda x: np.hstack((x, np.zeros_like(x))), (model.chain.outputs[0], "")
    stacked = np.concatenate([np.asarray(cloud.points) for cloud in model.kept])
    centre = stacked.mean(axis=0)
    covariance = np.atleast_2d(np.cov(stacked.T))
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return lambda x: (x - centre) @ axes, ("principal axis 1", "principal axis 2")


def _trajectories(axes: "Axes", model: Model, project: Any) -> None:
    """A few points carried from the first time to the last, under their own conditions."""
    start = model.source.draw(LINES, Streams(0))
    times = np.linspace(model.timeline.times[0], model.timeline.times[-1], FRAMES).tolist()
    solver, guide = as_solver("dopri5"), model.guide(start.obs)
    paths = model.flow.paths(start.points, times, solver, guide).points
    plane = np.stack([project(frame) for frame in paths])
    axes.plot(plane[:, :, 0], plane[:, :, 1], color="#444444", lw=0.6, alpha=0.6)


def _field(axes: "Axes", model: Model, project: Any) -> None:
    """The velocity field halfway, as arrows; the flow has two dimensions."""
    from matplotlib.ticker import MaxNLocator

    stacked = np.concatenate([np.asarray(cloud.points) for cloud in model.kept])
    low, high = stacked.min(axis=0), stacked.max(axis=0)
    grid = np.stack(
        np.meshgrid(*(np.linspace(a, b, ARROWS) for a, b in zip(low, high, strict=True))), axis=-1
    ).reshape(-1, 2)
    middle = 0.5 * (model.timeline.times[0] + model.timeline.times[-1])
    v = model.flow.velocity(grid, middle)
    if len(model.features) == 2:
        v = model.chain.inverse_tangent(grid, v)
    else:  # the plane is a rotation of flow coordinates about their mean
        v = project(v) - project(np.zeros_like(v))
    place = project(grid)
    axes.quiver(*place.T, *v.T, angles="xy", color="#888888", alpha=0.5, width=0.002, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _some(n: int, most: int) -> Array:
    """Indices of at most so many of n points, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))
