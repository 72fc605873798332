"""Bending: chooses bend and blur of a fit's paths where the recipe leaves them open.

Both are chosen without a network. Each inner snapshot is predicted from the others by optimal
pairs on bent paths, and scored; the mean log ratio of the scores to those of straight paths, plus a
prior that expects a whole bend, decides. With only two snapshots nothing can be scored, and the
paths of `--method auto` follow the density of both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cfmcli import metrics
from cfmcli.data.arrays import Array
from cfmcli.data.maps import moments
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.data.trends import quantiles
from cfmcli.flows.coupling.bends import bends
from cfmcli.flows.path.curves import Dense
from cfmcli.flows.streams import Streams
from cfmcli.specs import Spec, parse_spec
from cfmcli.workflows import score
from cfmcli.workflows.prepare import Prepared

BENT, DENSITY, AUTO = "bent", "density", "auto"
GRID = tuple(k / 4 for k in range(7))
EXPECTED, PULL = 1.0, 0.36
"""The prior: a log ratio of -0.36 at the whole bend, as a parabola that is 0 at no bend. With a
snapshot left out, gaps are twice as long as those to be bridged, so the scores have little
weight."""
UNTOLD = 0.75
"""Bend with three snapshots, where none can be predicted from a bend of the others: most of the
expected gain of a whole bend, at little more than half of its possible loss."""
MOST_POINTS = 400
NOTHING = 1e-9
"""Added to every W1, so that ratios of perfect predictions are defined."""
NEIGHBOUR = 5
BLUR, MOST_BLUR = 0.3, 0.1


@dataclass(frozen=True)
class Inner:
    """Scores of an inner snapshot that is predicted from the others without a network.

    Args:
        label: label of the snapshot in the data.
        w1: bend -> W1 of its prediction; bend 0 is static optimal transport.
    """

    label: str
    w1: Mapping[float, float]

    def figures(self) -> dict[str, Any]:
        """The scores as JSON values."""
        bent = {f"{bend:g}": value for bend, value in self.w1.items() if bend}
        return {"left_out": self.label, "static_ot_w1": self.w1[0.0], "w1": bent}


@dataclass(frozen=True)
class Bending:
    """The chosen options of a path, and the scores behind them.

    Args:
        options: the path's options that were chosen.
        inner: the scores that determined the bend.
        path: name of the path.
    """

    options: Mapping[str, float] = field(default_factory=dict)
    inner: tuple[Inner, ...] = ()
    path: str = BENT

    def figures(self) -> dict[str, Any]:
        """The choice as JSON values; empty if nothing was chosen."""
        if not self.options:
            return {}
        return {
            "bending": {
                "path": self.path,
                **self.options,
                "inner": [fold.figures() for fold in self.inner],
            }
        }

    def told(self) -> tuple[str, ...]:
        """One line for the choice, and one for each inner snapshot."""
        chosen = ", ".join(f"{name} {value:.3g}" for name, value in self.options.items())
        bend = self.options.get("bend", 0.0)
        return (
            *((f"path {self.path}: {chosen}",) if chosen else ()),
            *(
                f"inner {fold.label} left out: W1 {fold.w1[bend]:.4f} with bend {bend:g} "
                f"(static OT {fold.w1[0.0]:.4f})"
                for fold in self.inner
            ),
        )


def stated(interpolant: str) -> bool:
    """Whether a path leaves nothing to choose: it is not bent, or states both bend and sigma."""
    spec = parse_spec(interpolant)
    return spec.name != BENT or {"bend", "sigma"} <= dict(spec.options).keys()


def settled(prepared: Prepared, streams: Streams) -> tuple[Prepared, Bending]:
    """Choose the open options of a bent path; return the completed data and recipe, and the choice.

    Args:
        prepared: the data, with the triple resolved.
        streams: random streams for subsamples.
    """
    if stated(prepared.recipe.interpolant):
        return prepared, Bending()
    name, given = BENT, dict(parse_spec(prepared.recipe.interpolant).options)
    chosen: dict[str, float] = {}
    inner: tuple[Inner, ...] = ()
    if "bend" not in given and _is_alone(prepared):
        name, chosen["amplitude"] = DENSITY, Dense.amplitude
    elif "bend" not in given:
        chosen["bend"], inner = _bend(prepared.snapshots, streams)
    if "sigma" not in given:
        chosen["sigma"] = float(f"{blur(prepared.snapshots.kept, streams):.4g}")
    options = given | {name: f"{value:g}" for name, value in chosen.items()}
    whole = str(Spec(name, tuple(options.items())))
    recipe = replace(prepared.recipe, interpolant=whole)
    return replace(prepared, recipe=recipe), Bending(chosen, inner, name)


def settles(found: str, wanted: str) -> bool:
    """Whether a run's path matches the requested one; a bent path may include a fit's choices."""
    if found == wanted or not wanted.startswith(BENT):
        return found == wanted
    there, here = parse_spec(found), dict(parse_spec(wanted).options)
    chosen = dict(there.options)
    if there.name == DENSITY and float(chosen.get("amplitude", Dense.amplitude)) == Dense.amplitude:
        return "bend" not in here and here.items() <= chosen.items()
    return there.name == BENT and here.items() <= chosen.items()


def _is_alone(prepared: Prepared) -> bool:
    """Whether method auto has only a gap between two observed snapshots.

    Then no inner snapshot can decide, and paths follow the density.
    """
    snapshots = prepared.snapshots
    two = len(snapshots.kept) == 2 and not snapshots.gaussian_source
    return two and prepared.recipe.method == AUTO


def _bend(snapshots: Snapshots, streams: Streams) -> tuple[float, tuple[Inner, ...]]:
    """Choose the bend for some snapshots; return it with the scores that determined it."""
    kept = snapshots.kept
    if len(kept) < 4:
        return (UNTOLD if len(kept) == 3 else 0.0), ()
    small = [score.subsample(cloud, streams, MOST_POINTS) for cloud in kept]
    inner = tuple(leave_one_out(small, k) for k in range(1, len(kept) - 1))
    return choice(inner), inner


def choice(inner: Sequence[Inner]) -> float:
    """Bend with the smallest mean log ratio of W1 to that of straight paths, plus the prior.

    Args:
        inner: scores, at least one.
    """
    scores = NOTHING + np.array([[fold.w1[bend] for bend in GRID] for fold in inner])
    ratios = np.log(scores / scores[:, :1])
    prior = [PULL * ((bend / EXPECTED - 1) ** 2 - 1) for bend in GRID]
    return GRID[int(np.argmin(np.mean(ratios, axis=0) + prior))]


def leave_one_out(kept: Sequence[Cloud], k: int) -> Inner:
    """Score predictions of an inner snapshot from the others, for each bend.

    Args:
        kept: snapshots in flow coordinates, in the order of their times.
        k: the one to leave out, neither the first nor the last.
    """
    target, rest = kept[k], [*kept[:k], *kept[k + 1 :]]
    before, after = rest[k - 1], rest[k]
    share = score.share_of(target.time, before, after)
    straight = score.displacement(before, after, share)
    means = np.stack([cloud.weights @ np.asarray(cloud.points) for cloud in rest])
    off = bends(means, np.array([cloud.time for cloud in rest]))[k - 1].at(share)
    y, b = np.asarray(target.points), target.weights
    x: Array = np.asarray(straight.points)
    scores = {bend: metrics.w1(x + bend * off, y, straight.weights, b) for bend in GRID}
    return Inner(target.label, scores)


def blur(kept: Sequence[Cloud], streams: Streams) -> float:
    """0.3 of the median distance to the fifth neighbour over sqrt(D), at most 0.1 of the spread.

    Medians of each snapshot and the spread are weighted.

    Args:
        kept: snapshots in flow coordinates.
        streams: random streams for subsamples.
    """
    from scipy.spatial import cKDTree

    found = []
    for cloud in (score.subsample(cloud, streams, score.MAX_POINTS) for cloud in kept):
        x = np.asarray(cloud.points)
        reached = cKDTree(x).query(x, k=min(NEIGHBOUR + 1, len(x)))[0][:, -1]
        found.append(_median(reached, cloud.weights))
    every = np.concatenate([np.asarray(cloud.points) for cloud in kept])
    weights = np.concatenate([cloud.weights * len(cloud) for cloud in kept])
    spread = float(np.sqrt(moments(every, weights)[1].mean()))
    return min(MOST_BLUR * spread, BLUR * float(np.median(found)) / math.sqrt(every.shape[1]))


def _median(values: Array, weights: Array) -> float:
    """Weighted median, averaged between two values if it lies between them."""
    low, high = (quantiles(sign * values[:, None], weights, [0.5])[0, 0] for sign in (1, -1))
    return float(low - high) / 2
