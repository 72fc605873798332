"""Trials of the study: clouds to fit, and points to judge the fit with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from cfmcli import metrics
from cfmcli.data.arrays import Array
from tests.statistical.test_table import TASKS

TRAIN, TEST = 3_000, 2_000
ASIDE = ("time", "growth_score", "pseudotime_scode")
"""Columns of numbers that are no features."""


@dataclass(frozen=True)
class Trial:
    """A task's points of one seed.

    Args:
        clouds: to fit.
        settings: of the fit.
        start: points to carry.
        end: points of where they should be.
        span: clock times of both.
        distance: W2 for many points in the plane, else W1.
        floor: what points of the very law of `end` score.
    """

    clouds: tuple[Array, ...]
    settings: dict[str, Any]
    start: Array
    end: Array
    span: tuple[float, float]
    distance: Callable[[Array, Array], float]
    floor: float


@cache
def toy(name: str, seed: int) -> Trial:
    """One of the two-dimensional tasks of the statistical suite."""
    law, rng = TASKS[name], np.random.default_rng(1000 + seed)
    train = law.source(TRAIN, rng), law.target(TRAIN, rng)
    start, end, image = law.source(TEST, rng), law.target(TEST, rng), law.image(TEST, rng)
    floor = metrics.w2(image, end)
    return Trial(law.clouds(*train), law.settings, start, end, (0, 1), metrics.w2, floor)


@cache
def course(path: Path, dims: int) -> dict[float, Array]:
    """Snapshots of a file by time: its numbers, or their first principal components, whitened."""
    import pandas as pd

    frame = pd.read_csv(path)
    numbers = frame.drop(columns=list(ASIDE), errors="ignore").select_dtypes("number")
    x = numbers.to_numpy(float) - numbers.to_numpy(float).mean(axis=0)
    if x.shape[1] > dims:
        x = x @ np.linalg.svd(x, full_matrices=False)[2][:dims].T
    x = x / x.std(axis=0)
    times = frame["time"].to_numpy(float)
    return {float(t): x[times == t] for t in np.unique(times)}


@cache
def held_out_points(path: Path, dims: int, span: tuple[float, float], seed: int) -> Trial:
    """Two snapshots: two thirds of each to fit, a third to judge with."""
    rng = np.random.default_rng(seed)
    clouds, tests = [], []
    for t in span:
        x = rng.permutation(course(path, dims)[t])
        cut = min(TRAIN, 2 * len(x) // 3)
        clouds.append(x[:cut])
        tests.append(x[cut : cut + TEST])
    floor = metrics.w1(rng.permutation(clouds[1])[: len(tests[1])], tests[1])
    return Trial(
        tuple(clouds), {"transform": "none"}, tests[0], tests[1], (0, 1), metrics.w1, floor
    )


@cache
def held_out_time(path: Path, dims: int, when: float, seed: int) -> Trial:
    """A time course without one of its times, to which the snapshot before it is carried."""
    clouds = course(path, dims)
    known = {t: x for t, x in clouds.items() if t != when}
    before = max(t for t in known if t < when)
    halves = np.array_split(np.random.default_rng(seed).permutation(clouds[when]), 2)
    return Trial(
        tuple(known.values()),
        {"transform": "none", "times": tuple(known)},
        clouds[before],
        clouds[when],
        (before, when),
        metrics.w1,
        metrics.w1(*halves),
    )


def trials(data: Path | None) -> dict[str, Callable[[int], Trial]]:
    """The tasks by name, those on real data where its folder is given."""
    found: dict[str, Callable[[int], Trial]] = {name: partial(toy, name) for name in TASKS}
    if data:
        eb, mef = data / "eb_pca5_sub300.csv.gz", data / "schiebinger_dm20.csv.gz"
        emt, guo = data / "emt_ae10.csv.gz", data / "guo2010_qpcr.csv.gz"
        found |= {
            "eb": partial(held_out_points, eb, 5, (0.0, 1.0)),
            "mef": partial(held_out_points, mef, 20, (0.0, 2.0)),
            "emt": partial(held_out_time, emt, 10, 1.0),
            "guo": partial(held_out_time, guo, 10, 4.0),
            "treutlein": partial(held_out_time, data / "treutlein2016_tf100.csv.gz", 10, 5.0),
        }
    return found
