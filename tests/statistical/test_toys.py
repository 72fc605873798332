"""Moons to eight Gaussians, on the clouds of `data/toys.py` ("plain"), against the sampling floor.

The published figures of this task are of other generators: see `test_table.py`.
"""

from dataclasses import dataclass

import numpy as np
import pytest

import cfmcli
from cfmcli import metrics
from cfmcli.data import toys
from tests.statistical.figures import Carried, Figures, carry

pytestmark = pytest.mark.slow

TRAIN, TEST = 10_000, 3_000
ENDS = (toys.moons, toys.eight_gaussians)


@dataclass(frozen=True)
class Measured:
    """A fit judged on fresh points.

    Args:
        w2: to the target's test points.
        floor: W2 of two independent draws of the target.
        npe: normalised path energy.
        random: NPE that straight paths of random pairs would have.
    """

    w2: float
    floor: float
    npe: float
    random: float


def measure(method: str, seed: int) -> Measured:
    """Fit with defaults to one draw, judge on another."""
    rng = np.random.default_rng(1000 + seed)
    x0, x1 = (draw(TRAIN, rng) for draw in ENDS)
    y0, y1 = (draw(TEST, rng) for draw in ENDS)
    model = cfmcli.fit(x0, x1, method=method, seed=seed, threads=1)
    moved: Carried = carry(model, y0)
    optimal = metrics.w2(y0, y1) ** 2
    means = np.square(y0.mean(axis=0) - y1.mean(axis=0)).sum()
    pairs = float(means + y0.var(axis=0).sum() + y1.var(axis=0).sum())
    return Measured(
        metrics.w2(moved.end, y1),
        metrics.w2(ENDS[1](TEST, rng), y1),
        metrics.normalized_path_energy(moved.energy, optimal),
        metrics.normalized_path_energy(pairs, optimal),
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_optimal_transport_finds_the_modes_by_the_shortest_way(seed: int, figures: Figures) -> None:
    # The flow's end is near the target's own sampling noise, and its energy is W2^2.
    found = measure("otcfm", seed)
    name = f"moons->8g plain, otcfm, seed {seed}"
    figures.add(f"{name}: W2", found.w2, floor=found.floor, bound="<= .45")
    figures.add(f"{name}: NPE", found.npe, floor=0.0, bound="<= .03")
    assert found.w2 <= 0.45
    assert found.npe <= 0.03


def test_random_pairs_waste_energy(figures: Figures) -> None:
    # The mean velocity of random pairs costs more than W2^2, and less than the pairs themselves.
    found = measure("icfm", 0)
    wanted = f"< {found.random:.2f} (random pairs)"
    figures.add("moons->8g plain, icfm, seed 0: W2", found.w2, floor=found.floor)
    figures.add("moons->8g plain, icfm, seed 0: NPE", found.npe, floor=0.0, bound=wanted)
    assert 0.1 < found.npe < found.random
