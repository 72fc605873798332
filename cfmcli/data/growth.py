"""Growth: how much is expected to come of points, where that is known beforehand."""

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud


def gains(cloud: Cloud, after: Cloud, known: Array, kind: str) -> Array:
    """The log of what comes of a unit of each point's mass by the next snapshot, shape (n,).

    A rate r makes a mass m one of m exp(r Δτ). Scores say how much in proportion, so theirs are
    known up to a constant.

    Args:
        cloud: the points.
        after: the next snapshot.
        known: rate or score of each point, shape (n,).
        kind: rate or score.
    """
    return np.asarray(known * (after.time - cloud.time) if kind == "rate" else np.log(known))


def expected(cloud: Cloud, after: Cloud, known: Array, kind: str) -> Array:
    """The masses that points are expected to have at the next snapshot, shape (n,).

    Those of scores add up to what was observed then. They are infinite where that is too much.

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
