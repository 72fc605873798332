"""Growth: how much is expected to come of points, where that is known beforehand."""

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud


def expected(cloud: Cloud, after: Cloud, known: Array, kind: str) -> Array:
    """The masses that points are expected to have at the next snapshot, shape (n,).

    A rate r makes a mass m one of m exp(r Δτ); scores say how much, in proportion.

    Reference: Schiebinger et al. (2019), doi 10.1016/j.cell.2019.01.006 (growth in the marginals)

    Args:
        cloud: the points.
        after: the next snapshot.
        known: rate or score of each point, shape (n,).
        kind: rate or score.
    """
    own = cloud.mass * cloud.weights
    if kind == "rate":
        return np.asarray(own * np.exp(known * (after.time - cloud.time)))
    grown = own * known
    return np.asarray(grown * (after.mass / grown.sum()))
