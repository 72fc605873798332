"""The published two-dimensional table: four tasks, seven methods, five seeds.

Published: Tong et al. (2024), [SF]2M, table 2: means of five seeds, 10,000 points a side for
training and as many for testing. "NPE" is the normalised path energy.

The two best methods are judged on as many test points, where one exact distance takes a minute; the
others on 3,000, where the floors are higher than those that the published figures had to clear.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

import cfmcli
from cfmcli import metrics
from cfmcli.api import Model
from cfmcli.data import toys
from cfmcli.data.arrays import Array
from tests.statistical.exact import optimum, w2
from tests.statistical.figures import Figures, Row, carry

pytestmark = pytest.mark.slow

TRAIN, TEST, FEW = 10_000, 10_000, 3_000
SEEDS = range(5)
Draw = Callable[[int, np.random.Generator], Array]


def normal(n: int, rng: np.random.Generator) -> Array:
    """The standard normal."""
    return toys.gaussian(n, 2, rng)


def standardised_moons(n: int, rng: np.random.Generator) -> Array:
    """Moons of noise 0.1, centred and scaled by one mean and one deviation, times 7."""
    points = toys.moons(n, rng, noise=0.1, scale=1.0, shift=0.0)
    return np.asarray(7 * (points - points.mean()) / points.std())


def wide_gaussians(n: int, rng: np.random.Generator) -> Array:
    """Eight modes of radius 4 and deviation 0.5, times 3; the counts of the modes are random."""
    angle = np.pi / 4 * rng.integers(8, size=n)
    centres = 4 * np.column_stack([np.cos(angle), np.sin(angle)])
    return np.asarray(3 * (centres + 0.5 * rng.standard_normal((n, 2))))


def uneven(draw: Draw) -> Draw:
    """A few of many points: a flow of normal points has the luck of their counts in each mode."""
    return lambda n, rng: draw(10 * n, rng)[:n]


@dataclass(frozen=True)
class Task:
    """Two laws, and settings of a fit between them.

    Args:
        source: law at t = 0.
        target: law at t = 1.
        image: law of the target as a perfect flow of source points would draw it.
        settings: what the fit is told beside the method.
    """

    source: Draw
    target: Draw
    image: Draw
    settings: dict[str, Any]

    def clouds(self, x0: Array, x1: Array) -> tuple[Array, ...]:
        """What the fit is given."""
        return (x1,) if "source" in self.settings else (x0, x1)


def _from_normal(target: Draw) -> Task:
    """From the normal of data units to a target."""
    return Task(normal, target, uneven(target), {"source": "gaussian", "transform": "none"})


TASKS = {
    "N->8g": _from_normal(toys.eight_gaussians),
    "moons->8g": Task(standardised_moons, wide_gaussians, wide_gaussians, {}),
    "N->moons": _from_normal(toys.moons),
    "N->scurve": _from_normal(toys.scurve),
}
COLUMNS = tuple(TASKS)
BRIDGE = {"transform": "none"}  # its sigma of 1 is of data units
METHOD: dict[str, dict[str, Any]] = {
    "otcfm": {"method": "otcfm"},
    "sf2m": BRIDGE | {"method": "sf2m"},
    "sf2m-i": BRIDGE | {"method": "sf2m", "coupling": "independent"},
    "sbcfm": BRIDGE | {"method": "sbcfm"},
    "rf": {"method": "rf"},
    "icfm": {"method": "icfm"},
    "fm": {"method": "fm"},
}
BEST = ("otcfm", "sf2m")
W2: dict[str, tuple[str, ...]] = {
    "otcfm": (".303 +- .043", ".601 +- .027", ".130 +- .016", ".144 +- .028"),
    "sf2m": (".275 +- .058", ".726 +- .137", ".124 +- .023", ".128 +- .005"),
    "sf2m-i": (".393 +- .054", "1.482 +- .151", ".185 +- .028", ".201 +- .062"),
    "sbcfm": ("2.314 +- 2.112", "", ".434 +- .594", ".341 +- .468"),
    "rf": (".421 +- .071", "1.525 +- .330", ".283 +- .045", ".345 +- .079"),
    "icfm": (".373 +- .103", "1.557 +- .407", ".178 +- .014", ".242 +- .141"),
    "fm": (".343 +- .058", "", ".209 +- .055", ".198 +- .037"),
}
NPE: dict[str, tuple[str, ...]] = {
    "otcfm": (".031 +- .027", ".015 +- .010", ".083 +- .009", ".027 +- .012"),
    "sf2m": (".016 +- .012", ".045 +- .031", ".053 +- .038", ".034 +- .024"),
    "sf2m-i": (".160 +- .019", "2.577 +- .323", ".855 +- .130", ".845 +- .106"),
    "sbcfm": ("1.000", "", ".995", ".745 +- .039"),
    "rf": (".044 +- .031", ".203 +- .090", ".130 +- .078", ".099 +- .066"),
    "icfm": (".202 +- .055", "2.680 +- .292", ".891 +- .120", ".856 +- .031"),
    "fm": (".190 +- .054", "", ".762 +- .099", ".743 +- .116"),
}
RUNS = [(task, method) for method, row in W2.items() for k, task in enumerate(COLUMNS) if row[k]]
GOALS_W2 = {"N->8g": 0.25, "moons->8g": 0.55, "N->moons": 0.10, "N->scurve": 0.11}
GOALS_NPE = {"N->8g": 0.01, "moons->8g": 0.01, "N->moons": 0.03, "N->scurve": 0.02}
WASTE = ("icfm", "fm", "sf2m-i")


@dataclass(frozen=True)
class Trial:
    """The clouds of a task and a seed, and what needs no model.

    Args:
        train: points to fit, both ends.
        start: test points of the source.
        end: test points of the target.
        squared: squared W2 of the test points.
        floor: W2 of the target's test points to points that a perfect flow might have made.
        noise: NPE that the exact optimal map between the laws scores, in the mean.
    """

    train: tuple[Array, Array]
    start: Array
    end: Array
    squared: float
    floor: float
    noise: float


@cache
def trial(task: str, seed: int, n: int) -> Trial:
    """Fresh clouds to train on and to judge with."""
    law, rng = TASKS[task], np.random.default_rng(1000 + seed)
    train = law.source(TRAIN, rng), law.target(TRAIN, rng)
    start, end = law.source(n, rng), law.target(n, rng)
    best = optimum(start, end)
    return Trial(train, start, end, best.value, w2(law.image(n, rng), end), best.noise)


def fitted(task: str, method: str, seed: int) -> Model:
    """A fit with defaults; a rectified flow straightens a flow of random pairs."""
    law = TASKS[task]
    clouds = law.clouds(*trial(task, seed, size(method)).train)
    settings = law.settings | METHOD[method] | {"seed": seed, "threads": 1}
    if method != "rf":
        return cfmcli.fit(*clouds, **settings)
    with TemporaryDirectory() as folder:
        run = Path(folder) / "icfm"
        cfmcli.fit(*clouds, **settings | {"method": "icfm"}).save(run)
        return cfmcli.fit(method="rf", from_run=str(run), seed=seed, threads=1)


def size(method: str) -> int:
    """Test points a side."""
    return TEST if method in BEST else FEW


def measure(task: str, method: str, seed: int, figures: Figures) -> None:
    """Fit to one draw, judge on another, and note both figures."""
    given = trial(task, seed, size(method))
    moved = carry(fitted(task, method, seed), given.start)
    cell, name = published(W2, task, method), title(task, method, seed)
    beside = {"published": cell, "floor": given.floor, "bound": f"<= {most(cell):.3g}"}
    figures.add(f"{name}: W2", w2(moved.end, given.end), **beside)
    npe = metrics.normalized_path_energy(moved.energy, given.squared)
    figures.add(f"{name}: NPE", npe, published=published(NPE, task, method), floor=given.noise)


def title(task: str, method: str, seed: int) -> str:
    """What the figures of a fit are called."""
    return f"{task}, {method}, n {size(method):,}, seed {seed}"


def score(task: str, method: str, seed: int, figures: Figures) -> tuple[Row, Row]:
    """W2 and NPE of a fit, measured once."""

    def fit() -> None:
        measure(task, method, seed, figures)

    name = title(task, method, seed)
    return figures.once(f"{name}: W2", fit), figures.once(f"{name}: NPE", fit)


def scores(
    task: str, method: str, seeds: range, figures: Figures
) -> tuple[float, float, float, float]:
    """W2, its floor, NPE and its floor: means over the seeds."""
    rows = [score(task, method, seed, figures) for seed in seeds]
    values = [[row.ours, row.floor or 0.0] for pair in rows for row in pair]
    w2, npe = np.mean(np.reshape(values, (len(rows), 2, 2)), axis=0).tolist()
    return (*w2, *npe)


def published(table: dict[str, tuple[str, ...]], task: str, method: str) -> str:
    """The published cell of a task and a method."""
    return table[method][COLUMNS.index(task)]


def most(cell: str, deviations: float = 2) -> float:
    """The mean of a published cell and some of its deviations."""
    average, _, deviation = cell.partition(" +- ")
    return float(average) + deviations * float(deviation or 0)


def leader(table: dict[str, tuple[str, ...]], task: str) -> str:
    """The method of the least published mean."""
    there = [method for method in table if published(table, task, method)]
    return min(there, key=lambda method: most(published(table, task, method), 0))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("task", "method"), RUNS)
def test_a_fit_lands_no_farther_than_published(
    task: str, method: str, seed: int, figures: Figures
) -> None:
    # One seed's distance is within two deviations of the published mean, or below.
    found, _ = score(task, method, seed, figures)
    assert found.ours <= most(published(W2, task, method))


@pytest.mark.parametrize(("task", "method"), RUNS)
def test_the_mean_of_the_seeds_is_no_farther_than_published(
    task: str, method: str, seeds: range, figures: Figures
) -> None:
    # The mean distance is within one deviation of the published mean, or below.
    assert scores(task, method, seeds, figures)[0] <= most(published(W2, task, method), 1)


@pytest.mark.parametrize(("task", "method"), [run for run in RUNS if run[1] in WASTE])
def test_random_pairs_waste_energy(task: str, method: str, seeds: range, figures: Figures) -> None:
    # Random pairs cost several times the energy that sampling explains.
    for seed in seeds:
        _, npe = score(task, method, seed, figures)
        assert npe.ours > max(0.1, 3 * (npe.floor or 0.0))


@pytest.mark.parametrize("task", COLUMNS)
def test_optimal_transport_is_ahead_of_every_published_row(
    task: str, seeds: range, figures: Figures
) -> None:
    # The mean distance of the best preset beats the goal, and so the best published mean.
    found = {method: scores(task, method, seeds, figures)[:2] for method in BEST}
    ours, best, goal = min(BEST, key=found.__getitem__), leader(W2, task), GOALS_W2[task]
    w2, floor = found[ours]
    figures.add(
        f"{task}, {ours} (our best) against {best} (the best published): mean W2",
        w2,
        published=published(W2, task, best),
        floor=floor,
        bound=f"<= {goal:g}, the goal",
    )
    assert w2 <= goal


@pytest.mark.parametrize("task", COLUMNS)
def test_optimal_transport_wastes_no_energy(task: str, seeds: range, figures: Figures) -> None:
    # The mean NPE is within two deviations of the best published mean, or below.
    _, _, npe, noise = scores(task, "otcfm", seeds, figures)
    best = leader(NPE, task)
    cell = published(NPE, task, best)
    figures.add(
        f"{task}, otcfm against {best} (the best published), goal {GOALS_NPE[task]:g}: mean NPE",
        npe,
        published=cell,
        floor=noise,
        bound=f"<= {most(cell):.3g}",
    )
    assert npe <= most(cell)
