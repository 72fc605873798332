"""Targets: labelled points at a time, and the reliability of their votes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli import io, metrics
from cfmcli.data.arrays import Array
from cfmcli.data.conditions import word
from cfmcli.data.neighbours import Labelled
from cfmcli.data.table import Table
from cfmcli.errors import ConfigError, DataError
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import Vote
from cfmcli.workflows import points, runtime, verbs

if TYPE_CHECKING:
    import pandas as pd

SIZES = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377)
"""Candidate numbers of voters."""
ASKED = 2000
"""Maximum number of labelled points left out in turn to choose among them."""


@dataclass(frozen=True, eq=False)
class Ballot:
    """Labelled points, and the number of neighbours that vote.

    Args:
        among: the labelled points, in flow coordinates.
        voters: number of nearest points that vote.
        figures: quality of their predictions for labelled points that are left out.
    """

    among: Labelled
    voters: int
    figures: dict[str, Any]

    def votes(self, x: Array) -> Array:
        """Compute class probabilities, shape (n, D) -> (n, C)."""
        return self.among.votes(x, self.voters)

    def votes_of_others(self, x: Array) -> Array:
        """Compute class probabilities of points that may be labelled, excluding their own vote."""
        return self.among.votes_of_others(x, self.voters)


def ballot(model: Model, vote: Vote, end: float, streams: Streams) -> Ballot:
    """Collect the labelled points at the end and choose the number of voters, unless given.

    The choice minimises the Brier score of points whose own label is left out: too few voters are
    overconfident, too many are not local. The reported score is that of each half of these points
    with the number of voters chosen on the other half.

    Raises:
        ConfigError: if nothing was observed at the end, or too many voters are requested.
        DataError: if there are no labels, or only one class.
    """
    among = _labelled(model, vote, end)
    if vote.neighbours > len(among):
        raise ConfigError(
            f"--neighbours {vote.neighbours}: only {len(among)} points at {end:g} have a "
            f"'{vote.key}': give at most so many."
        )
    rows = np.sort(streams.numpy("held out").permutation(len(among))[:ASKED])
    sizes = sorted({size for size in SIZES if size < len(among)} or {1})
    asked = (min(vote.neighbours, len(among) - 1),) if vote.neighbours else sizes
    told = np.stack([p for _, p in sorted(among.held_out(rows, asked).items())])
    truth, mass = among.truth[rows], among.weights[rows]
    halves = streams.numpy("halves").permutation(len(rows)) % 2
    own = np.empty_like(truth)
    for half in range(2):
        mine, other = halves == half, halves != half
        own[mine] = told[_best(told[:, other], truth[other], mass[other]), mine]
    said = {"labelled": len(among), **scored(own, truth, among.frequencies, mass)}
    return Ballot(among, vote.neighbours or asked[_best(told, truth, mass)], said)


def _best(told: Array, truth: Array, mass: Array) -> int:
    """Index of the probabilities, among shape (K, n, C), with the least Brier score."""
    return int(np.argmin([metrics.brier(p, truth, mass) for p in told]))


def scored(p: Array, y: Array, frequencies: Array, weights: Array) -> dict[str, Any]:
    """Score probabilities of classes, with class frequencies as baseline.

    Args:
        p: probabilities, shape (n, C).
        y: one-hot true classes, shape (n, C).
        frequencies: share of each class among the labelled points, shape (C,).
        weights: weights of the points, shape (n,).
    """
    curve = metrics.reliability(p, y, weights)
    usual = np.tile(frequencies, (len(y), 1))
    right = p.argmax(axis=1) == y.argmax(axis=1)
    return {
        "points": len(p),
        "brier": metrics.brier(p, y, weights),
        "brier_of_frequencies": metrics.brier(usual, y, weights),
        "accuracy": float(np.average(right, weights=weights)),
        "calibration_error": metrics.calibration_error(curve),
        "reliability": [part._asdict() for part in curve],
    }


def names(column: "pd.Series[Any]") -> list[str]:
    """Classes of points as text, empty if missing."""
    return ["" if gone else word(v) for v, gone in zip(column, column.isna(), strict=True)]


def _labelled(model: Model, vote: Vote, end: float) -> Labelled:
    """Collect the labelled points at the end, in flow coordinates."""
    table, weights = _observed(model, vote, end)
    io.require(table, vote.key)
    labels = np.array(names(table.obs[vote.key]), dtype=object)
    known = labels != ""
    if not known.any():
        raise DataError(
            f"{table.origin}: none of {len(table)} points has a '{vote.key}': choose "
            "another --label-key, or give labelled points with --against FILE."
        )
    if not known.all():
        runtime.warn(
            f"{table.origin}: {int((~known).sum())} of {len(table)} points have no "
            f"'{vote.key}' and do not vote."
        )
    classes, codes = np.unique(labels[known].astype(str), return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"{table.origin}: all labelled points are '{classes[0]}' in '{vote.key}': a "
            "fate needs at least 2 classes to choose from."
        )
    own = np.asarray(table.values, dtype=np.float64)[known]
    return Labelled(own, codes, tuple(map(str, classes)), weights[known])


def _observed(model: Model, vote: Vote, end: float) -> tuple[Table, Array]:
    """Points observed at the end, with values in flow coordinates, and their weights."""
    if vote.against:
        given = points.observed(model, points.read_points(model, vote.against), end)
        weights = verbs.point_weights(model, given)
        return given.with_values(model.encode(given.values)), weights
    cloud = model.cloud(end, held_out=True)
    if cloud is None:
        listed = ", ".join(c.label for c in model.clouds)
        raise ConfigError(
            f"--to {end:g}: the run stores no points at that time, whose labels could be asked: "
            f"give --against FILE, or one of {listed}."
        )
    origin = f"The run at {cloud.label}"
    return Table(cloud.points, (), cloud.obs, origin), cloud.weights
