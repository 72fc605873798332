"""Parting: splitting plans and points into a training part and a held-out part."""

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling.plans import Plan

_DIGITS = 9
"""Decimal digits kept of a share of mass; the rest is rounding error."""


def some(mass: Array, share: float, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Split the items that have mass at random into a share of them and the rest.

    Args:
        mass: of each item, shape (n,), >= 0.
        share: between 0 and 1.
        rng: source of randomness.

    Returns:
        Indices of both parts, at least one in each; the first is empty if fewer than two have mass.
    """
    order = rng.permutation(np.flatnonzero(mass > 0))
    count = _count(share, len(order))
    return order[:count], order[count:]


def parted(plan: Plan, share: float, rng: np.random.Generator) -> tuple[Plan, Plan] | None:
    """Split a plan into one on most points and one on a held-out share of either cloud.

    The held-out points of the smaller cloud are drawn at random. Those of the other have as much
    mass, and are drawn by the odds that a unit of their mass comes from the first: their partners
    if the plan is sharp, so that few pairs join the parts and are lost, and any points if it is
    blurred. A part of an optimal plan is optimal between its own marginals.

    Reference: Efraimidis & Spirakis (2006), doi 10.1016/j.ipl.2005.11.003 (weighted draws)

    Args:
        plan: between the whole clouds.
        share: fraction of the points of the smaller cloud, between 0 and 1.
        rng: source of randomness.

    Returns:
        Training plan and held-out plan, both of the full shape; None if there are too few points.
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
    """Number of items in a share of n: at least one and never all, none if n < 2."""
    return max(min(max(round(share * n), 1), n - 1), 0)
