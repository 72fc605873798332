"""Excess: by how much plans cost more than the exact ones, told from samples of the clouds."""

from dataclasses import dataclass

import numpy as np

from cfmcli.data.table import Array
from cfmcli.flows import processes
from cfmcli.flows.coupling.couplings import Blocks, Coupling, Exact
from cfmcli.flows.coupling.plans import systematic

NEEDED = 1e-2
"""Excess that is good enough: minibatches of 256 have about 3 %."""

CANDIDATES = (Blocks(), Blocks(size=256, gain=2.5e-4))
"""Block refinements for whole clouds, from the cheapest to the best."""

SAMPLES = 4

BLOCKS = 8
"""Blocks of a sample: in fewer, the coarse plan is all but exact."""


@dataclass(frozen=True)
class Excess:
    """What a coupling's plans cost beyond the exact ones of the same samples.

    Args:
        share: mean cost over the exact mean cost, less 1.
        error: its standard error.
        points: points of either cloud in a sample.
    """

    share: float
    error: float
    points: int

    def __str__(self) -> str:
        return (
            f"{self.share:.2%} ± {self.error:.2%} above the exact plan "
            f"in samples of {self.points:,} points"
        )


def excess(
    coupling: Blocks,
    ends: tuple[Array, Array],
    weights: tuple[Array, Array],
    rng: np.random.Generator,
) -> Excess:
    """Couple samples of both clouds by a coupling and exactly, and compare the costs.

    Each sample is coupled both ways, so that what differs between samples drops out. The excess of
    larger clouds is larger: of 8,000 points in 2, 10 and 50 dimensions 0.10, 0.25 and 0.49 %, where
    samples of 1,000 told 0.04, 0.09 and 0.13 %.

    Args:
        coupling: what is judged.
        ends: points of both clouds, shapes (n0, D) and (n1, D).
        weights: their weights, shapes (n0,) and (n1,), sum 1.
        rng: source of the samples.
    """
    points = min(BLOCKS * coupling.size, *map(len, ends))
    rngs = rng.spawn(SAMPLES)

    def costs(sample: int) -> tuple[float, float]:
        """Mean cost of a sample's plan, and of its exact plan."""
        rows = (systematic(w, points, rngs[sample]) for w in weights)
        x0, x1 = (x[index] for x, index in zip(ends, rows, strict=True))
        even = np.full(points, 1 / points)
        return _cost(coupling, x0, x1, even, rngs[sample]), _cost(Exact(), x0, x1, even, rng)

    with processes.in_order(costs, SAMPLES, processes.allowed()) as found:
        ours, least = np.array(list(found)).T
    ratio = ours.mean() / max(least.mean(), np.finfo(float).tiny)
    spread = np.std(ours - ratio * least, ddof=1) / max(least.mean(), np.finfo(float).tiny)
    return Excess(float(ratio - 1), float(spread / SAMPLES**0.5), points)


def cheapest(
    ends: tuple[Array, Array], weights: tuple[Array, Array], rng: np.random.Generator
) -> tuple[Blocks, Excess]:
    """The cheapest coupling of large clouds that is good enough, and its excess.

    Args:
        ends: points of both clouds, shapes (n0, D) and (n1, D).
        weights: their weights, shapes (n0,) and (n1,), sum 1.
        rng: source of the samples.
    """
    for coupling in CANDIDATES:
        found = excess(coupling, ends, weights, rng)
        if found.share <= NEEDED:
            break
    return coupling, found


def _cost(coupling: Coupling, x0: Array, x1: Array, even: Array, rng: np.random.Generator) -> float:
    """Mean cost of the plan of points of equal weight."""
    return coupling.plan(x0, x1, even, even, rng).mean_cost(x0, x1)
