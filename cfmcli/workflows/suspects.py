"""Suspects: features that look like times or labels that were not declared."""

from collections.abc import Sequence

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Snapshots
from cfmcli.data.transforms import some
from cfmcli.workflows import runtime

MOST_POINTS, FEWEST = 5000, 5
MOST_FEATURES, MOST_VALUES = 500, 12


def warn_of_suspects(snapshots: Snapshots, features: Sequence[str]) -> None:
    """Warn of features that are probably not coordinates.

    These are constant within each cloud but differ between clouds, like times, or take a few
    whole values among features that are not whole, like labels.

    Args:
        snapshots: the clouds in data units.
        features: names of their columns.
    """
    clouds = [cloud.points for cloud in snapshots.clouds]
    shown = [points[:MOST_POINTS] for points in clouds if isinstance(points, np.ndarray)]
    few = min(map(len, shown), default=0) < FEWEST
    if few or len(shown) < len(clouds) or len(features) > MOST_FEATURES:
        return
    clocks = _clocks(shown)
    found = np.concatenate(shown)
    labels = [k for k in _labels(found) if k not in clocks]
    if clocks:
        runtime.warn(
            f"Feature(s) {some([features[k] for k in clocks])}: one number in each cloud. A clock? "
            "Name it with --time-key, or leave it out with --drop."
        )
    if labels:
        runtime.warn(
            f"Feature(s) {some([features[k] for k in labels])}: a few whole numbers among features "
            "that are not whole. A label? Leave it out with --drop, or condition on it with "
            "--label-key."
        )


def _clocks(clouds: Sequence[Array]) -> list[int]:
    """Columns that are constant within each cloud but not overall."""
    low, high = (np.array([end(cloud, axis=0) for cloud in clouds]) for end in (np.min, np.max))
    constant = (low == high).all(axis=0)
    return np.flatnonzero(constant & (low.min(axis=0) < high.max(axis=0))).tolist()


def _labels(points: Array) -> list[int]:
    """Columns of few whole numbers, if fewer than half of all columns are whole."""
    whole = np.flatnonzero((points == np.round(points)).all(axis=0))
    if 2 * len(whole) >= points.shape[1]:
        return []
    counts = {int(k): len(np.unique(points[:, k])) for k in whole}
    return [k for k, count in counts.items() if 1 < count <= min(MOST_VALUES, len(points) // 4)]
