"""Fates: cells coloured by a column, such as the probability of a fate."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.data.arrays import Array
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
    figure, (axes,) = canvas(COLUMN, 3.2)
    places, found = [], []
    ids, colour = _named(scene)
    for cloud, own in zip(scene.model.clouds, ids, strict=True):
        known = np.asarray(own.isin(colour.index))
        others = np.asarray(cloud.points)[~known]
        if len(others):
            grey = scene.plane.place(others[some(len(others))], cloud.time)
            dots(axes, grey, 2, color=PALE)
        if known.any():
            places.append(scene.plane.place(np.asarray(cloud.points)[known], cloud.time))
            found.append(colour.reindex(own[known]))
    _coloured(figure, axes, np.concatenate(places), found)
    name = str(colour.name)
    axes.set(xlabel=scene.plane.names[0], ylabel=scene.plane.names[1])
    said = f"Cells coloured by {name}; grey cells have none."
    explain(figure, scene.plane.caption)
    return Picture("fates", f"Cells by {name}", f"{said} {scene.plane.caption}", figure)


def _named(scene: Scene) -> "tuple[list[pd.Index[Any]], pd.Series[Any]]":
    """Ids of the points of each snapshot, and the values that are known by such ids.

    If ids repeat between snapshots, as in numbered files, values of all points go by their place,
    others to the first snapshot alone.
    """
    import pandas as pd

    assert scene.colour is not None
    clouds, colour = scene.model.clouds, scene.colour
    ids: list[pd.Index[Any]] = [pd.Index(cloud.obs.index) for cloud in clouds]
    whole = ids[0].append(ids[1:])
    if whole.is_unique:
        return ids, colour.dropna()
    if not whole.equals(colour.index):
        return [ids[0], *(pd.Index([None] * len(own)) for own in ids[1:])], colour.dropna()
    ends = np.cumsum([0, *map(len, clouds)]).tolist()
    places: list[pd.Index[Any]] = [pd.RangeIndex(a, b) for a, b in pairwise(ends)]
    return places, colour.reset_index(drop=True).dropna()


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
