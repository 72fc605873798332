"""Quality: what it takes to come as near as wanted, and how near one comes in the time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from cfmcli import metrics
from cfmcli.api import Model
from cfmcli.data.arrays import Array
from tests.benchmarks.rivals import Torchcfm, fastest, integrated
from tests.benchmarks.rows import Row, Side
from tests.benchmarks.tasks import POINTS, fitted, moons_to_gaussians
from tests.benchmarks.trials import course
from tests.statistical.exact import w2

TEST, WANTED = 3_000, 0.56
SLACK = 1.02
"""What the distance of a default fit is multiplied by, where that is what is wanted."""
LADDER = (*range(100, 500, 50), *range(500, 1000, 100), 1000, 1500, 2000, 3000)
EVERY, MOST = 250, 20_000
DATA = "CFM_BENCHMARK_DATA"
"""Variable with the folder of the time courses."""


@dataclass(frozen=True)
class Goal:
    """Clouds to fit, and how a fit is judged.

    Args:
        clouds: in time order, at times 0, 1, 2, ...
        times: the clock times of the clouds.
        start: points to carry from the first time.
        when: where to, as the number of gaps.
        judge: distance of where they come.
    """

    clouds: tuple[Array, ...]
    times: tuple[float, ...]
    start: Array
    when: float
    judge: Callable[[Array], float]

    def ours(self, steps: int) -> tuple[float, float]:
        """Seconds of a fit of so many steps, plan and all, and its distance."""
        model, seconds = fitted(self.clouds, steps=steps, times=self.times)
        first, second, *_ = model.timeline.times
        end = Model(model).transport(self.start, first, first + self.when * (second - first))
        return seconds, self.judge(end)

    def steps(self, wanted: float) -> tuple[int, float]:
        """Steps and seconds of the shortest fit that comes as near as wanted."""
        fitted(self.clouds, steps=1, times=self.times)  # what a process does once
        for steps in LADDER:
            seconds, distance = self.ours(steps)
            if distance <= wanted:
                return steps, seconds
        raise ValueError(f"No fit came as near as {wanted}.")

    def theirs(self, loop: Torchcfm) -> float:
        """The distance of torchcfm's network as it is."""
        return self.judge(integrated(loop.network, self.start, self.when))

    def their_steps(self, wanted: float) -> tuple[int, float]:
        """Steps and seconds of torchcfm until it comes as near, its evaluations left out."""
        loop = Torchcfm(self.clouds, 64, 256)
        fastest(lambda: loop.train(2) + loop.train(20))
        loop = Torchcfm(self.clouds, 64, 256)
        steps, seconds = 0, 0.0
        while steps < MOST and (not steps or self.theirs(loop) > wanted):
            seconds += loop.train(EVERY)
            steps += EVERY
        return steps, seconds


@cache
def plane() -> Goal:
    """Two moons to eight Gaussians, judged on fresh points."""
    start, end = moons_to_gaussians(TEST, seed=1)
    clouds = moons_to_gaussians(POINTS)
    return Goal(clouds, (), start, 1.0, lambda moved: w2(moved, end))


@cache
def emt() -> Goal:
    """Four times of the EMT course, the second left out."""
    clouds = course(Path(os.environ[DATA]) / "emt_ae10.csv.gz", 10)
    known = {t: x for t, x in clouds.items() if t != 1}
    rng = np.random.default_rng(0)
    start, end = (rng.permutation(clouds[t]) for t in (0.0, 1.0))
    return Goal(tuple(known.values()), tuple(known), start, 0.5, lambda x: metrics.w1(x, end))


def near(goal: Goal) -> float:
    """What the default fit comes to, with a little slack."""
    return SLACK * goal.ours(LADDER[-1])[1]


def process(command: list[str]) -> float:
    """Seconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def whole(goal: Goal, arguments: list[str], suffix: str) -> float:
    """Seconds of a process that reads the clouds, fits them, and writes.

    Args:
        goal: whose clouds.
        arguments: the module and its options.
        suffix: of what it writes.
    """
    with TemporaryDirectory() as folder:
        files = [str(Path(folder) / f"{k}.csv") for k in range(len(goal.clouds))]
        for path, cloud in zip(files, goal.clouds, strict=True):
            names = ",".join(f"x{k}" for k in range(cloud.shape[1]))
            np.savetxt(path, cloud, delimiter=",", header=names, comments="")
        out = str(Path(folder) / f"out{suffix}")
        module, *options = arguments
        return process([sys.executable, "-m", *module.split(), *files, *options, "-o", out])


def training(goal: Callable[[], Goal], wanted: Callable[[Goal], float]) -> tuple[Side, Side]:
    """Seconds of training until it comes as near as wanted."""
    return lambda: goal().steps(wanted(goal()))[1], lambda: goal().their_steps(wanted(goal()))[1]


def processes(goal: Callable[[], Goal], wanted: Callable[[Goal], float]) -> tuple[Side, Side]:
    """Seconds of the whole process, whose steps were found before."""

    def ours() -> float:
        steps, _ = goal().steps(wanted(goal()))
        times = ",".join(f"{t:g}" for t in goal().times)
        options = ["--steps", str(steps), "--transform", "none"]
        return whole(goal(), ["cfmcli fit", *options, *(["--times", times] if times else [])], "")

    def theirs() -> float:
        steps, _ = goal().their_steps(wanted(goal()))
        threads = str(torch.get_num_threads())
        options = ["--steps", str(steps), "--threads", threads]
        return whole(goal(), ["tests.benchmarks.script", *options], ".pt")

    return ours, theirs


def at_the_end() -> tuple[Side, Side]:
    """W2 of a default fit, and of torchcfm after ten times its seconds."""

    def ours() -> float:
        return plane().ours(LADDER[-1])[1]

    def theirs() -> float:
        goal = plane()
        fitted(goal.clouds, steps=1)
        most = 10 * goal.ours(LADDER[-1])[0]
        loop = Torchcfm(goal.clouds, 64, 256)
        fastest(lambda: loop.train(20))
        loop, seconds = Torchcfm(goal.clouds, 64, 256), 0.0
        while seconds < most:
            seconds += loop.train(EVERY)
        return goal.theirs(loop)

    return ours, theirs


def fixed(goal: Goal) -> float:
    """The distance wanted in the plane."""
    return WANTED


QUALITY: dict[str, Row] = {
    "quality": Row(
        f"training to W2 <= {WANTED}, moons -> 8 Gaussians", "torchcfm", *training(plane, fixed), 40
    ),
    "quality-process": Row(
        "the same, the whole process", "torchcfm script", *processes(plane, fixed), 12
    ),
    "quality-end": Row(
        "W2 of the default fit there", "torchcfm, 10 x the seconds", *at_the_end(), 0.5, True
    ),
    "quality-emt": Row(
        "whole process, emt_ae10, to the W1 of a time left out",
        "torchcfm script",
        *processes(emt, near),
        10,
        needs=DATA,
    ),
}
