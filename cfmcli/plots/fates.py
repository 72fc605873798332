"""Fates: cells coloured by a column, such as the probability of a fate."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud
from cfmcli.plots.canvas import (
    COLUMN,
    PALE,
    Picture,
    canvas,
    dots,
    explain,
    legend,
    looks,
    some,
)
from cfmcli.plots.classes import palette, ranked
from cfmcli.plots.scene import Scene

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(scene: Scene) -> Picture:
    """Draw the cells with a value in the column, over all others in grey."""
    assert scene.colour is not None
    figure, (axes,) = canvas(COLUMN, 3.2)
    places, found = [], []
    for cloud in scene.model.clouds:
        known = _named(scene, cloud)
        others = np.asarray(cloud.points)[~known]
        if len(others):
            grey = scene.plane.place(others[some(len(others))], cloud.time)
            dots(axes, grey, 2, color=PALE)
        if known.any():
            places.append(scene.plane.place(np.asarray(cloud.points)[known], cloud.time))
            found.append(scene.colour.reindex(cloud.obs.index[known]))
    _coloured(figure, axes, np.concatenate(places), found)
    name = str(scene.colour.name)
    axes.set(xlabel=scene.plane.names[0], ylabel=scene.plane.names[1])
    said = f"Cells coloured by {name}; grey cells have none."
    explain(figure, scene.plane.caption)
    return Picture("fates", f"Cells by {name}", f"{said} {scene.plane.caption}", figure)


def _named(scene: Scene, cloud: Cloud) -> npt.NDArray[np.bool_]:
    """Mask of the points of a snapshot that have a value in the column.

    If ids repeat between snapshots, as in numbered files, only the first one is matched.
    """
    assert scene.colour is not None
    clouds = scene.model.clouds
    distinct = len(set().union(*(c.obs.index for c in clouds))) == sum(map(len, clouds))
    if not distinct and cloud is not clouds[0]:
        return np.zeros(len(cloud), dtype=bool)
    return np.asarray(cloud.obs.index.isin(scene.colour.index))


def _coloured(figure: "Figure", axes: "Axes", place: Array, parts: "list[pd.Series[Any]]") -> None:
    """Colour points by value: numbers with a colour bar, classes with a legend."""
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    values = pd.concat(parts)
    if is_numeric_dtype(values.dtype) and not is_bool_dtype(values.dtype):
        order = np.argsort(values.to_numpy(), kind="stable")
        shown = dots(axes, place[order], 5, c=values.to_numpy()[order], cmap="viridis")
        bar = figure.colorbar(shown, ax=axes, shrink=0.7, aspect=25)
        bar.outline.set_visible(False)
        bar.set_label(str(values.name))
        return
    words = values.astype(str).to_numpy()
    for name, look in looks(ranked(values), palette(values)).items():
        # Matplotlib leaves names that begin with _ out of legends.
        label = f" {name}" if name.startswith("_") else name
        dots(axes, place[words == name], 5, color=look.colour, marker=look.marker, label=label)
    legend(figure)
