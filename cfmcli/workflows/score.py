"""Scores: how well a model predicts a snapshot that it did not see, beside what needs no model."""

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
    """At most so many points of a cloud, drawn by their weights, and each of them counts alike.

    Points that stand for more than a whole draw come with the weight of several.
    """
    if len(cloud) <= most:
        return cloud
    rows, shares = thinned(cloud.weights, most, streams.numpy(f"subsample {cloud.label}"))
    return replace(cloud.sampled(rows), weights=shares)


def distances(x: Array, y: Array, a: Array | None = None, b: Array | None = None) -> dict[str, Any]:
    """W1 and W2 between two weighted clouds."""
    return {"w1": metrics.w1(x, y, a, b), "w2": metrics.w2(x, y, a, b)}


def held_out(
    model: Model, cloud: Cloud, streams: Streams, most: int = MAX_POINTS
) -> dict[str, Any]:
    """Scores of a held-out snapshot, in flow coordinates, with the references beside them.

    Args:
        model: a model that has not seen the cloud.
        cloud: the held-out snapshot, encoded.
        streams: seeded subsamples.
        most: most points on a side.
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
    """What a model says of the time of a held-out snapshot, by the flow itself."""
    return predicted(model, cloud.time, motion("dopri5"), streams, most)


def _sizes(model: Model, time: float, mass: float) -> dict[str, float]:
    """What the snapshot before a time has become by then, where mass is not constant."""
    if not model.flow.grows:
        return {}
    before, _ = neighbours(model.kept, time)
    return growth.totals(model, (before.time, time), mass / before.mass)


def predicted(model: Model, time: float, how: Motion, streams: Streams, most: int) -> Cloud:
    """What a model says of an unseen time: points with weights, under their own conditions.

    All cells of the nearest earlier snapshot, carried there. Where the method looks at both sides,
    each of them goes on to the share s of the way to its partner of the optimal plan with the
    cells of the next snapshot, carried back; not under conditions, which pairs might mix. A method
    that learns nothing places the pairs of its plan. There are as many as `comparable` tells.

    Args:
        model: a model that has not seen the time.
        time: clock time between two kept snapshots.
        how: the motion.
        streams: seeded subsamples and pairs.
        most: most points of a snapshot.
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
    """Whether an unseen time is predicted from both sides; not under conditions."""
    return catalog.preset(model.recipe.method).both_sides and not model.conditions.width


def _carried(model: Model, side: Cloud, time: float, how: Motion, streams: Streams) -> Cloud:
    """A snapshot carried to another time, with the mass that it has become."""
    start = model.source.conditioned(side, streams)
    x, span = np.asarray(start.points, dtype=np.float64), (side.time, time)
    paths = how.paths(model.flow, x, span, model.guide(start.obs))
    mass = paths.masses(-1, start.weights)
    there = Cloud(paths.points[-1], mass / mass.sum(), start.obs, f"{time:g}", time)
    return replace(there, mass=side.mass * float(mass.sum()))


def comparable(before: Cloud, most: int) -> int:
    """Of how many points every prediction is: of as many as the snapshot before the time has.

    A distance between samples is the larger the fewer they are. A flow carries no more than that
    snapshot; the pairs of a plan would be up to as many as both.

    Args:
        before: the snapshot before the time predicted.
        most: most points of a snapshot.
    """
    return min(len(before), most)


def references(
    kept: Sequence[Cloud], time: float, streams: Streams, most: int = MAX_POINTS
) -> dict[str, Cloud]:
    """What needs no model: the snapshots beside a time, and points between them.

    These are displacement interpolation of the optimal plan and of random pairs; each has as many
    points as `comparable` tells, or fewer.

    Args:
        kept: the snapshots that may be used.
        time: clock time between two of them.
        streams: seeded subsamples and pairs.
        most: most points of a snapshot.
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
    """Displacement interpolation of the exact plan: a point and a mass for each of its pairs.

    Reference: McCann (1997), doi 10.1006/aima.1997.1634

    Args:
        first: cloud at share 0.
        last: cloud at share 1.
        share: how far along, in [0, 1].
    """
    time = (1 - share) * first.time + share * last.time
    return _placed(_gap(first, last), first, share, time)


def neighbours(kept: Sequence[Cloud], time: float) -> tuple[Cloud, Cloud]:
    """The snapshots before and after a time."""
    before = [cloud for cloud in kept if cloud.time < time][-1]
    after = next(cloud for cloud in kept if cloud.time > time)
    return before, after


def share_of(time: float, before: Cloud, after: Cloud) -> float:
    """How far along its gap a time is, in [0, 1]."""
    return (time - before.time) / (after.time - before.time)


def _gap(first: Cloud, last: Cloud) -> Gap:
    """Two clouds with their exact plan."""
    x0, x1 = _ends(first, last)
    plan = Exact().plan(x0, x1, first.weights, last.weights, np.random.default_rng(0))
    return Gap(x0, x1, plan)


def _thinned(
    gap: Gap, first: Cloud, share: float, time: float, count: int, streams: Streams
) -> Cloud:
    """The pairs of a gap at a share of it, of more than so many a draw: each source alike."""
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
    """Pairs of points at a share of their way, annotated as their sources are."""
    i, j = pairs
    points = (1 - share) * ends[0][i] + share * ends[1][j]
    return Cloud(points, np.full(len(i), 1 / len(i)), first.obs.iloc[i], f"{time:g}", time)


def _placed(gap: Gap, first: Cloud, share: float, time: float) -> Cloud:
    """The pairs of a gap at a share of it, annotated as their sources are."""
    i, points, mass = gap.at(share)
    return Cloud(points, mass / mass.sum(), first.obs.iloc[i], f"{time:g}", time)


def _ends(first: Cloud, last: Cloud) -> tuple[Array, Array]:
    """The points of two clouds."""
    x0, x1 = (np.asarray(cloud.points, dtype=np.float64) for cloud in (first, last))
    return x0, x1
