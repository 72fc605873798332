"""Growth: expected growth of points from prior knowledge."""

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud


def gains(cloud: Cloud, after: Cloud, known: Array, kind: str) -> Array:
    """Log of the expected growth factor of each point until the next snapshot, shape (n,).

    A rate r turns mass m into m exp(r Δτ). Scores give relative growth, so their logs are known up
    to a constant.

    Args:
        cloud: the points.
        after: the next snapshot.
        known: rate or score of each point, shape (n,).
        kind: rate or score.
    """
    return np.asarray(known * (after.time - cloud.time) if kind == "rate" else np.log(known))


def expected(cloud: Cloud, after: Cloud, known: Array, kind: str) -> Array:
    """Expected masses of points at the next snapshot, shape (n,).

    For scores they sum to the mass observed then. On overflow they are infinite.

    Reference: Schiebinger et al. (2019), doi 10.1016/j.cell.2019.01.006 (growth in the marginals)

    Args:
        cloud: the points.
        after: the next snapshot.
        known: rate or score of each point, shape (n,).
        kind: rate or score.
    """
    with np.errstate(over="ignore"):
        grown = cloud.mass * cloud.weights * np.exp(gains(cloud, after, known, kind))
    return np.asarray(grown if kind == "rate" else grown * (after.mass / grown.sum()))
