"""Scores: how well a model predicts a snapshot that it did not see, beside what needs no model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cfmcli import metrics
from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Array
from cfmcli.flows.coupling.couplings import Exact
from cfmcli.flows.streams import Streams
from cfmcli.model import Model, as_solver

MAX_POINTS = 3000


def subsample(cloud: Cloud, streams: Streams, most: int) -> Cloud:
    """At most so many points of a cloud, drawn without replacement."""
    if len(cloud) <= most:
        return cloud
    rng = streams.numpy(f"subsample {cloud.label}")
    return cloud.rows(np.sort(rng.choice(len(cloud), most, replace=False)))


def distances(x: Array, y: Array, a: Array | None = None, b: Array | None = None) -> dict[str, Any]:
    """W1 and W2 between two weighted clouds."""
    return {"w1": metrics.w1(x, y, a, b), "w2": metrics.w2(x, y, a, b)}


def held_out(
    model: Model, cloud: Cloud, streams: Streams, most: int = MAX_POINTS
) -> dict[str, Any]:
    """Scores of a held-out snapshot, in flow coordinates, with the references beside them.

    The cells of the nearest earlier snapshot are carried to the held-out time, under their own
    conditions. References: that snapshot itself, the next one, and exact-OT displacement
    interpolation between the two.

    Args:
        model: a model that has not seen the cloud.
        cloud: the held-out snapshot, encoded.
        streams: seeded subsamples.
        most: most points on a side.
    """
    before, after = _neighbours(model.kept, cloud.time)
    target = subsample(cloud, streams, most)
    first, last = (subsample(side, streams, most) for side in (before, after))
    first = model.source.conditioned(first, streams)
    times, guide = (before.time, cloud.time), model.guide(first.obs)
    carried = model.flow.paths(first.points, times, as_solver("dopri5"), guide)
    share = (cloud.time - before.time) / (after.time - before.time)
    between, mass = displacement(first, last, share)
    found = {
        "model": distances(carried.points[-1], target.points, first.weights, target.weights),
        "previous": distances(first.points, target.points, first.weights, target.weights),
        "next": distances(last.points, target.points, last.weights, target.weights),
        "static_ot": distances(between, target.points, mass, target.weights),
    }
    return {
        "time": cloud.time,
        "label": cloud.label,
        "points": [len(first), len(target)],
        **{f"{name}_{key}": value for name, pair in found.items() for key, value in pair.items()},
    }


def displacement(first: Cloud, last: Cloud, share: float) -> tuple[Array, Array]:
    """Displacement interpolation of the exact plan: points, shape (k, D), and masses, (k,).

    Reference: McCann (1997), doi 10.1006/aima.1997.1634

    Args:
        first: cloud at share 0.
        last: cloud at share 1.
        share: how far along, in [0, 1].
    """
    x0, x1 = (np.asarray(c.points, dtype=np.float64) for c in (first, last))
    plan = Exact().plan(x0, x1, first.weights, last.weights, np.random.default_rng(0))
    i, j, mass = plan.arrays()
    return (1 - share) * x0[i] + share * x1[j], mass


def _neighbours(kept: Sequence[Cloud], time: float) -> tuple[Cloud, Cloud]:
    """The snapshots before and after a time."""
    before = [cloud for cloud in kept if cloud.time < time][-1]
    after = next(cloud for cloud in kept if cloud.time > time)
    return before, after
