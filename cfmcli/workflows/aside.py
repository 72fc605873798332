"""Aside: points that take no part in training, for a validation loss."""

import numpy as np

from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import DataError
from cfmcli.flows.streams import Streams


def kept_aside(
    snapshots: Snapshots, share: float, streams: Streams, least: int = 0
) -> tuple[Snapshots, Snapshots | None]:
    """Points to train on, and points kept aside for validation.

    Args:
        snapshots: all points.
        share: fraction to keep aside, 0 for none.
        streams: the run's randomness.
        least: how many to keep of a cloud, however small.

    Raises:
        DataError: if a cloud is too small.
    """
    if not share:
        return snapshots, None
    train: list[Cloud] = []
    aside: list[Cloud] = []
    for k, cloud in enumerate(snapshots.kept):
        count = max(least, round(share * len(cloud)))
        if count < 2 or len(cloud) - count < 2:
            remedy = "say how many --steps there are" if least else "lower --validation"
            raise DataError(
                f"Time {cloud.label} has {len(cloud)} points, too few to keep {share:g} of them "
                f"for validation: {remedy}."
            )
        order = streams.numpy("validation", k).permutation(len(cloud))
        aside.append(cloud.rows(np.sort(order[:count])))
        train.append(cloud.rows(np.sort(order[count:])))
    gaussian = snapshots.gaussian_source
    return Snapshots(tuple(train), gaussian), Snapshots(tuple(aside), gaussian)
