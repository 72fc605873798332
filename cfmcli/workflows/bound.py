"""Bound: what binding a coupling to the two ends of a segment comes to."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.couplings import Coupling
from cfmcli.flows.coupling.excess import Excess
from cfmcli.flows.coupling.pairing import GroupedPairs, PairSource
from cfmcli.workflows.sides import Codes, Piece


class Bound(NamedTuple):
    """A coupling bound to the two ends of a segment.

    Args:
        pairs: where its pairs come from.
        scope: dataset, minibatch, pool or cells.
        coupling: the coupling in use.
        cost: its mean cost, NaN where it is not known beforehand.
        left_out: share of the mass of either end that its plan leaves out, NaN likewise.
        pieces: its plans over whole clouds of points; none where there are none.
        excess: what its plan costs beyond the exact one, where that is not 0 and can be told.
        lengths: δ of each axis, where pairs grow and it plays a role.
    """

    pairs: PairSource
    scope: str
    coupling: Coupling
    cost: float = math.nan
    left_out: tuple[float, float] = (math.nan, math.nan)
    pieces: tuple[Piece, ...] = ()
    excess: Excess | None = None
    lengths: Array | None = None


def grouped(
    bounds: Sequence[Bound], shares: Array, drawn: Array, places: Sequence[tuple[Codes, Codes]]
) -> Bound:
    """What binding inside each of several groups comes to in all.

    Args:
        bounds: of each group.
        shares: how much of the target each group is, shape (G,), sum 1.
        drawn: the mass that the pairs of each group are drawn by, shape (G,), above 0.
        places: which points of either whole cloud each group has, none of N(0, I).
    """
    means = shares @ np.array([(bound.cost, *bound.left_out) for bound in bounds])
    cost, before, after = means.tolist()
    sizes = np.array([min(len(end) for end in place if len(end)) for place in places])
    pairs = GroupedPairs(tuple(bound.pairs for bound in bounds), drawn / drawn.sum(), sizes)
    pieces = tuple(
        Piece(piece.plan, *place, share)
        for place, bound, share in zip(places, bounds, shares.tolist(), strict=True)
        for piece in bound.pieces
    )
    first = bounds[0]
    worst = max((b.excess for b in bounds if b.excess), key=lambda e: e.share, default=None)
    said = (first.scope, first.coupling, cost, (before, after), pieces, worst, first.lengths)
    return Bound(pairs, *said)
