"""Parting: points kept aside, and the pairs of which neither end is among the others."""

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.plans import Plan

_DIGITS = 9
"""Of a share of mass; what follows is rounding."""


def some(mass: Array, share: float, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """A share of the items that have mass, at random, and the others; at least one of either.

    Args:
        mass: of each item, shape (n,), >= 0.
        share: between 0 and 1.
        rng: source of randomness.

    Returns:
        Places of the items, without any at first where fewer than two have mass.
    """
    order = rng.permutation(np.flatnonzero(mass > 0))
    count = _count(share, len(order))
    return order[:count], order[count:]


def parted(plan: Plan, share: float, rng: np.random.Generator) -> tuple[Plan, Plan] | None:
    """A plan between most of the points, and between a share of either cloud that is kept aside.

    Of the smaller cloud that share is random; of the other it is as much mass, of points drawn by
    the odds that a unit of their mass comes from there: their partners where plans are sharp, so
    that few pairs join one part to the other, which are in neither plan, and any points where
    plans are blurred. A part of an optimal plan is optimal between its own marginals.

    Reference: Efraimidis & Spirakis (2006), doi 10.1016/j.ipl.2005.11.003 (weighted draws)

    Args:
        plan: between the whole clouds.
        share: of the points of the smaller cloud, between 0 and 1.
        rng: source of randomness.

    Returns:
        Both plans, over the rows and columns of the whole; None where there are too few points.
    """
    masses = plan.marginals()
    first = int(plan.shape[1] < plan.shape[0])
    own, other = masses[first], masses[1 - first]
    aside = [np.arange(n) for n in plan.shape]
    aside[first], _ = some(own, share, rng)
    if not len(aside[first]):
        return None
    met = plan.between(*aside).marginals()[1 - first]
    order = rng.permutation(np.flatnonzero(met))
    shares = np.minimum(np.round(met[order] / other[order], _DIGITS), 1.0)
    with np.errstate(divide="ignore"):
        race = rng.exponential(size=len(order)) / (shares / (1 - shares))
    order = order[np.argsort(race, kind="stable")]
    filled = np.round(np.cumsum(other[order]) / own[aside[first]].sum(), _DIGITS)
    aside[1 - first] = order[: max(1, np.count_nonzero(filled <= 1))]
    kept = plan.between(*aside)
    rest = plan.between(*(np.flatnonzero(mass == 0) for mass in kept.marginals()))
    return (rest, kept) if rest.count else None


def _count(share: float, n: int) -> int:
    """How many of n items are a share of them: at least one and never all; none of one."""
    return max(min(max(round(share * n), 1), n - 1), 0)
