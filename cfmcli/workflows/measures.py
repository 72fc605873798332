"""Measures: distances to an observed cloud."""

from functools import partial

from cfmcli import metrics
from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud
from cfmcli.errors import DataError
from cfmcli.flows.streams import Streams
from cfmcli.workflows import runtime

DISTANCES = ("w1", "w2", "sliced_w2", "energy", "mmd", "sinkhorn_divergence")


def measures(sample: Cloud, streams: Streams) -> dict[str, metrics.Distance]:
    """Build distances by name, with scales and projections fixed, so that values are comparable.

    Args:
        sample: the observed points, in flow coordinates.
        streams: random streams for the projections of sliced W2.
    """

    def along_lines(x: Array, y: Array, a: Array, b: Array) -> float:
        return metrics.sliced_w2(x, y, a, b, rng=streams.numpy("lines"))

    found: dict[str, metrics.Distance] = {
        "w1": metrics.w1,
        "w2": metrics.w2,
        "sliced_w2": along_lines,
        "energy": metrics.energy_distance,
    }
    y, b = sample.points, sample.weights
    try:
        found["mmd"] = partial(metrics.mmd, bandwidth=metrics.median_bandwidth(y))
        found["sinkhorn_divergence"] = partial(
            metrics.sinkhorn_divergence, reg=metrics.default_reg(y, b)
        )
    except DataError:
        runtime.warn(
            f"The points observed at {sample.label} are all one: mmd and sinkhorn_divergence "
            "have no scale there and are left empty."
        )
    return found
