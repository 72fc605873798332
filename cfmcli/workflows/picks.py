"""Picks: selects starting points by --cells and --where."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from cfmcli import catalog
from cfmcli.data.neighbours import Rows
from cfmcli.data.snapshots import BackedCloud, Cloud
from cfmcli.errors import DataError
from cfmcli.io.formats import standard_input
from cfmcli.requests import InterpolateRequest
from cfmcli.workflows.queries import satisfying

Times = Callable[[], Mapping[str, float]]
"""Function that returns the clock time of every candidate starting point by id."""


def picked(cloud: BackedCloud, request: InterpolateRequest, times: Times) -> BackedCloud:
    """Select the requested starting points.

    Args:
        cloud: the points at the start.
        request: the request.
        times: looks up times of ids that are not among the points, for messages.

    Raises:
        DataError: if an id is missing, or no point is left.
    """
    if request.cells:
        cloud = cloud.rows(_listed(cloud.head, request.cells, times))
    if request.where:
        cloud = cloud.rows(satisfying(cloud.head.obs, request.where))
    if not len(cloud):
        raise DataError("No starting point is left: check --cells, --where and --from.")
    return cloud


def _listed(cloud: Cloud, path: str, times: Times) -> Rows:
    """Rows of the ids listed in a file, in its order."""
    import pandas as pd

    try:
        text = (standard_input() if path == "-" else Path(path).read_bytes()).decode()
        wanted = [line.strip() for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: the list of ids cannot be read ({why}).") from None
    rows = cloud.obs.index.get_indexer(pd.Index(wanted))
    missing = [name for name, row in zip(wanted, rows, strict=True) if row < 0]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(wanted)} ids are not among the points of time "
            f"{cloud.time:g}, the first is '{missing[0]}'{_whereabouts(missing[0], times())}"
        )
    return np.asarray(rows)


def _whereabouts(name: str, times: Mapping[str, float]) -> str:
    """Explain a missing id: its actual time, or a similar id."""
    if name not in times:
        near = catalog.nearest(name, times)
        known = next(iter(times), "none")
        return f".{near}" if near else f", which no point has: give ids such as '{known}'."
    if np.isnan(times[name]):
        return ", which is of a time that the run does not know."
    return f", which is of time {times[name]:g}: give --from {times[name]:g}."
