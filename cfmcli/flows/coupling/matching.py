"""Matchings: plans by stable matching and pairwise swaps, cheaper to find than the optimum."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling import costs, simplex
from cfmcli.flows.coupling.couplings import Coupling, fits_exact, normalised
from cfmcli.flows.coupling.plans import PairPlan, Plan, merge_pairs

_LEAST_SWAP, _LEAST_SWEEP = 1e-12, 1e-6
"""Stopping thresholds of the search: gain of a swap relative to the largest cost, and of a sweep
relative to the plan's cost."""


class Items(NamedTuple):
    """Pairs (i, j) with their masses in quanta, shape (k,) each."""

    i: IntArray
    j: IntArray
    mass: Array


@dataclass(frozen=True)
class Stable(Coupling):
    """Stable pairs: no two points would both rather have each other than what they have.

    Gale-Shapley on the ranks of the costs, with points that carry mass: the source proposes, and
    who is refused proposes on. Both sides rank by one cost, so this is also the greedy matching
    that joins the closest points with mass left, over and over.

    Reference: Gale and Shapley (1962), doi 10.2307/2312726; Pooladian et al. (2023),
    arXiv 2304.14772
    Use: where only the order of distances means something; its pairs are much dearer than exact.

    Args:
        cost: cost c of a pair: sqeuclidean, euclidean, cosine, or another distance of SciPy.
    """

    cost: str = costs.SQUARED

    def __post_init__(self) -> None:
        costs.check_metric("stable", self.cost)

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute at most n0 + n1 - 1 pairs; a permutation if sizes and all weights are equal."""
        q0, q1 = simplex.quantised(normalised(w0), normalised(w1))
        cost = costs.cost_matrix(x0, x1, self.cost)
        i, j, mass = stable_pairs(cost, q0, q1)
        return PairPlan(i, j, mass / q0.sum(), cost.shape)

    def whole(self, n0: int, n1: int) -> Coupling | None:
        """This coupling up to 4,000 x 4,000 points, minibatches beyond."""
        return self if fits_exact(n0, n1) else None


@dataclass(frozen=True)
class Heuristic(Coupling):
    """Nearly optimal pairs by swaps: no two pairs become cheaper by exchanging their targets.

    Gale-Shapley with another preference: a target leaves its source for a new one where that
    makes both pairs cheaper together, the source left alone taking what the new one had. It
    starts from the pairs of `Stable`, so the cost lies between theirs and that of `Exact`; it
    ends cyclically monotone over two pairs, where the optimum is so over any number.

    Reference: after the heuristic coupling of Pooladian et al. (2023), arXiv 2304.14772
    Use: to compare with the literature; up to some thousand points exact takes no longer.

    Args:
        cost: cost c of a pair: sqeuclidean, euclidean, cosine, or another distance of SciPy.
    """

    cost: str = costs.SQUARED

    def __post_init__(self) -> None:
        costs.check_metric("heuristic", self.cost)

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute a sparse plan; a permutation if sizes and all weights are equal."""
        q0, q1 = simplex.quantised(normalised(w0), normalised(w1))
        cost = costs.cost_matrix(x0, x1, self.cost)
        i, j, mass = swapped_pairs(cost, stable_pairs(cost, q0, q1))
        return PairPlan(i, j, mass / q0.sum(), cost.shape)

    def whole(self, n0: int, n1: int) -> Coupling | None:
        """This coupling up to 4,000 x 4,000 points, minibatches beyond."""
        return self if fits_exact(n0, n1) else None


def stable_pairs(cost: Array, q0: Array, q1: Array) -> Items:
    """Compute the stable plan of points that rank each other by one cost, in O(n² log n).

    Mutual favourites cannot find better partners, so they are joined, all at once, with as much
    mass as both have left; then the lists are read on. Among equal costs the first row wins.

    Args:
        cost: costs, shape (n0, n1).
        q0: masses of the rows, shape (n0,), whole numbers >= 0.
        q1: masses of the columns, shape (n1,), of the same sum.
    """
    sides = _Side.ranking(cost, q0), _Side.ranking(np.ascontiguousarray(cost.T), q1)
    found: list[Items] = []
    while len(sides[0].open):
        best, least = sides[0].favourites(sides[1].left), np.full(len(q1), np.inf)
        least[sides[1].open] = cost[sides[1].favourites(sides[0].left), sides[1].open]
        mutual = np.flatnonzero(cost[sides[0].open, best] <= least[best])
        j, first = np.unique(best[mutual], return_index=True)
        i = sides[0].open[mutual[first]]
        mass = np.minimum(sides[0].left[i], sides[1].left[j])
        sides = sides[0].less(i, mass), sides[1].less(j, mass)
        found.append(Items(i, j, mass))
    return Items(*(np.concatenate(column) for column in zip(*found, strict=True)))


class _Side(NamedTuple):
    """One side of a matching: preference lists, current positions, and remaining mass."""

    order: IntArray
    place: IntArray
    left: Array
    open: IntArray

    @classmethod
    def ranking(cls, cost: Array, mass: Array) -> "_Side":
        """Rank all columns for each row of a cost matrix."""
        place = np.zeros(len(mass), np.intp)
        return cls(np.argsort(cost, axis=1), place, mass, np.flatnonzero(mass))

    def favourites(self, others: Array) -> IntArray:
        """For each open row, its best-ranked partner that has mass left."""
        late = self.open
        while len(late):
            late = late[others[self.order[late, self.place[late]]] == 0]
            self.place[late] += 1
        return self.order[self.open, self.place[self.open]]

    def less(self, who: IntArray, mass: Array) -> "_Side":
        """Subtract mass that has been matched."""
        left = self.left.copy()
        left[who] -= mass
        return self._replace(left=left, open=self.open[left[self.open] > 0])


def swapped_pairs(cost: Array, items: Items) -> Items:
    """Swap targets of pairs while that lowers the cost, in sweeps that begin with the dearest pair.

    Args:
        cost: costs, shape (n0, n1).
        items: pairs to start from.

    Returns:
        Pairs with the same marginals and no higher cost, found in O(k²) a sweep for k pairs:
        some five to eight sweeps for a permutation, ten to twenty where masses differ.
    """
    both = cost, np.ascontiguousarray(cost.T)
    before, after = np.inf, _total(cost, items)
    while before - after > _LEAST_SWEEP * after:
        items = _sweep(both, items)
        before, after = after, _total(cost, items)
    return items


def _total(cost: Array, items: Items) -> float:
    """Total cost of the pairs."""
    return float(items.mass @ cost[items.i, items.j])


def _sweep(both: tuple[Array, Array], items: Items) -> Items:
    """Apply the best swap of each pair in turn; leftover mass of the larger one is appended."""
    cost, transposed = both
    i, j, mass = items.i, items.j.copy(), items.mass.copy()
    own, least = cost[i, j], float(_LEAST_SWAP * cost.max())
    rests: list[tuple[int, int, float]] = []
    for p in np.argsort(-own * mass, kind="stable"):
        gain = own + own[p] - cost[i[p]].take(j) - transposed[j[p]].take(i)
        q = (gain * np.minimum(mass, mass[p])).argmax()
        if gain[q] <= least:
            continue
        moved = min(mass[p], mass[q])
        rests += [(i[k], j[k], mass[k] - moved) for k in (p, q) if mass[k] > moved]
        mass[p] = mass[q] = moved
        j[p], j[q] = j[q], j[p]
        own[p], own[q] = cost[i[p], j[p]], cost[i[q], j[q]]
    if rests:
        rows, columns, masses = zip(*rests, strict=True)
        i, j, mass = np.append(i, rows), np.append(j, columns), np.append(mass, masses)
    return Items(*merge_pairs(i, j, mass, (cost.shape[0], cost.shape[1])))
