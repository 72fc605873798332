"""Bound: a coupling applied to the two ends of a segment."""

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
    """A coupling applied to the two ends of a segment.

    Args:
        pairs: source of the pairs.
        scope: dataset, minibatch, pool or cells.
        coupling: the coupling actually used.
        cost: its mean cost, NaN if not known in advance.
        left_out: fraction of the mass of either end that its plan leaves out, NaN if not known.
        pieces: its plans over whole clouds; empty if there are none.
        excess: estimated cost of its plan above the exact plan, if not 0 and known.
        lengths: growth length δ of each axis, if pairs have masses and it matters.
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
    """Combine couplings bound within several groups.

    Args:
        bounds: bound coupling of each group.
        shares: share of the target in each group, shape (G,), sum 1.
        drawn: mass by which pairs of each group are drawn, shape (G,), above 0.
        places: indices of each group's points in both whole clouds; empty for N(0, I).
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
