"""Score: quality of predictions of unseen snapshots, with model-free references."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cfmcli import catalog, metrics
from cfmcli.data.arrays import Array, IntArray
from cfmcli.data.snapshots import Cloud
from cfmcli.flows.coupling.couplings import Exact, Independent
from cfmcli.flows.coupling.resampling import thinned
from cfmcli.flows.dynamics.displacement import Displacement, Gap
from cfmcli.flows.dynamics.motion import Motion, motion
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.workflows import growth

MAX_POINTS = 3000


def subsample(cloud: Cloud, streams: Streams, most: int) -> Cloud:
    """Subsample a cloud to at most a number of points, by their weights.

    Points that are drawn weigh alike; one drawn several times is kept once, with the weight of
    several.
    """
    if len(cloud) <= most:
        return cloud
    rows, shares = thinned(cloud.weights, most, streams.numpy(f"subsample {cloud.label}"))
    return replace(cloud.sampled(rows), weights=shares)


def distances(x: Array, y: Array, a: Array | None = None, b: Array | None = None) -> dict[str, Any]:
    """Compute W1 and W2 between two weighted clouds."""
    return {"w1": metrics.w1(x, y, a, b), "w2": metrics.w2(x, y, a, b)}


def held_out(
    model: Model, cloud: Cloud, streams: Streams, most: int = MAX_POINTS
) -> dict[str, Any]:
    """Score the prediction of a held-out snapshot, in flow coordinates, with references.

    Args:
        model: a model that was not trained on the cloud.
        cloud: the held-out snapshot, encoded.
        streams: random streams for subsamples.
        most: maximum number of points on a side.
    """
    target = subsample(cloud, streams, most)
    found = {"model": foretold(model, cloud, streams, most)}
    found |= references(model.kept, cloud.time, streams, most)
    scores = {
        name: distances(guess.points, target.points, guess.weights, target.weights)
        for name, guess in found.items()
    }
    return {
        "time": cloud.time,
        "label": cloud.label,
        "points": [len(found["model"]), len(target)],
        **_sizes(model, cloud.time, found["model"].mass),
        **{f"{name}_{key}": value for name, pair in scores.items() for key, value in pair.items()},
    }


def foretold(model: Model, cloud: Cloud, streams: Streams, most: int = MAX_POINTS) -> Cloud:
    """Predict the cloud at the time of a held-out snapshot by the flow itself."""
    return predicted(model, cloud.time, motion("dopri5"), streams, most)


def _sizes(model: Model, time: float, mass: float) -> dict[str, float]:
    """Predicted relative mass since the preceding snapshot, if the flow has learnt growth."""
    if not model.flow.grows:
        return {}
    before, _ = neighbours(model.kept, time)
    return growth.totals(model, (before.time, time), mass / before.mass)


def predicted(model: Model, time: float, how: Motion, streams: Streams, most: int) -> Cloud:
    """Predict an unseen time: points with weights, under their own conditions.

    All cells of the nearest earlier snapshot are carried there. If the method looks at both sides,
    each moves on to the share s of the way to its partner in the optimal plan with the cells of the
    next snapshot, carried back; not under conditions, which pairs might mix. A method without
    training places the pairs of its plan. The number of points is given by `comparable`.

    Args:
        model: a model that was not trained on the time.
        time: clock time between two kept snapshots.
        how: the motion.
        streams: random streams for subsamples and pairs.
        most: maximum number of points of a snapshot.
    """
    before, after = neighbours(model.kept, time)
    flow, count = model.flow, comparable(before, most)
    if isinstance(flow, Displacement):
        gap = flow.gaps[model.timeline.times.index(before.time)]
        return _thinned(gap, before, model.timeline.inner(time) % 1, time, count, streams)
    there = _carried(model, subsample(before, streams, most), time, how, streams)
    if not looks_at_both(model):
        return there
    back = _carried(model, subsample(after, streams, most), time, how, streams)
    share = share_of(time, before, after)
    met = _thinned(_gap(there, back), there, share, time, count, streams)
    return replace(met, mass=(1 - share) * there.mass + share * back.mass)


def looks_at_both(model: Model) -> bool:
    """Whether an unseen time is predicted from both sides; never under conditions."""
    return catalog.preset(model.recipe.method).both_sides and not model.conditions.width


def _carried(model: Model, side: Cloud, time: float, how: Motion, streams: Streams) -> Cloud:
    """Carry a snapshot to another time, with the mass that it gains or loses."""
    start = model.source.conditioned(side, streams)
    x, span = np.asarray(start.points, dtype=np.float64), (side.time, time)
    paths = how.paths(model.flow, x, span, model.guide(start.obs))
    mass = paths.masses(-1, start.weights)
    there = Cloud(paths.points[-1], mass / mass.sum(), start.obs, f"{time:g}", time)
    return replace(there, mass=side.mass * float(mass.sum()))


def comparable(before: Cloud, most: int) -> int:
    """Number of points of every prediction: that of the preceding snapshot, up to a maximum.

    Distances between samples increase as samples shrink, so sizes must agree. A flow carries only
    the points of that snapshot; the pairs of a plan could be as many as the points of both.

    Args:
        before: the snapshot before the predicted time.
        most: maximum number of points of a snapshot.
    """
    return min(len(before), most)


def references(
    kept: Sequence[Cloud], time: float, streams: Streams, most: int = MAX_POINTS
) -> dict[str, Cloud]:
    """Model-free references: the snapshots on either side of a time, and points between them.

    The latter are displacement interpolations of the optimal plan and of random pairs; each has as
    many points as `comparable` says, or fewer.

    Args:
        kept: the snapshots that may be used.
        time: clock time between two of them.
        streams: random streams for subsamples and pairs.
        most: maximum number of points of a snapshot.
    """
    before, after = neighbours(kept, time)
    first, last = (subsample(side, streams, most) for side in (before, after))
    share, count = share_of(time, before, after), comparable(before, most)
    rng = streams.numpy("random pairs")
    x0, x1 = _ends(first, last)
    crossed = Independent().plan(x0, x1, first.weights, last.weights, rng).draw(count, rng)
    return {
        "previous": first,
        "next": subsample(last, streams, count),
        "static_ot": _thinned(_gap(first, last), first, share, time, count, streams),
        "random_pairs": _at((x0, x1), crossed, first, share, time),
    }


def displacement(first: Cloud, last: Cloud, share: float) -> Cloud:
    """Displacement interpolation of the exact plan: one weighted point for each of its pairs.

    Reference: McCann (1997), doi 10.1006/aima.1997.1634

    Args:
        first: cloud at share 0.
        last: cloud at share 1.
        share: fraction of the way, in [0, 1].
    """
    time = (1 - share) * first.time + share * last.time
    return _placed(_gap(first, last), first, share, time)


def neighbours(kept: Sequence[Cloud], time: float) -> tuple[Cloud, Cloud]:
    """Find the snapshots before and after a time."""
    before = [cloud for cloud in kept if cloud.time < time][-1]
    after = next(cloud for cloud in kept if cloud.time > time)
    return before, after


def share_of(time: float, before: Cloud, after: Cloud) -> float:
    """Position of a time within its gap, in [0, 1]."""
    return (time - before.time) / (after.time - before.time)


def _gap(first: Cloud, last: Cloud) -> Gap:
    """Couple two clouds by their exact plan."""
    x0, x1 = _ends(first, last)
    plan = Exact().plan(x0, x1, first.weights, last.weights, np.random.default_rng(0))
    return Gap(x0, x1, plan)


def _thinned(
    gap: Gap, first: Cloud, share: float, time: float, count: int, streams: Streams
) -> Cloud:
    """Place the pairs of a gap at a fraction of the way; if too many, draw `count` by mass."""
    if gap.plan.count <= count:
        return _placed(gap, first, share, time)
    drawn = gap.then(share).draw(count, streams.numpy(f"pairs of {first.label}"))
    return _at((gap.x0, gap.x1), drawn, first, share, time)


def _at(
    ends: tuple[Array, Array],
    pairs: tuple[IntArray, IntArray],
    first: Cloud,
    share: float,
    time: float,
) -> Cloud:
    """Place pairs of points at a fraction of their way, with annotations of their sources."""
    i, j = pairs
    points = (1 - share) * ends[0][i] + share * ends[1][j]
    return Cloud(points, np.full(len(i), 1 / len(i)), first.obs.iloc[i], f"{time:g}", time)


def _placed(gap: Gap, first: Cloud, share: float, time: float) -> Cloud:
    """Place all pairs of a gap at a fraction of the way, with annotations of their sources."""
    i, points, mass = gap.at(share)
    return Cloud(points, mass / mass.sum(), first.obs.iloc[i], f"{time:g}", time)


def _ends(first: Cloud, last: Cloud) -> tuple[Array, Array]:
    """Points of two clouds, in float64."""
    x0, x1 = (np.asarray(cloud.points, dtype=np.float64) for cloud in (first, last))
    return x0, x1
