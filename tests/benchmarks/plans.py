"""Study of block refinement: python -m tests.benchmarks.plans [--points 4000 30000].

For each dimension, size of a block and gain at which to stop: rounds, seconds, and by how much the
plan costs more than the exact one; beside it minibatches. Of larger clouds no exact plan is known,
so the excess is over the cheapest plan that was found.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.flows import processes
from cfmcli.flows.coupling.blocks import Problem, coarse_plan, refinements
from cfmcli.flows.coupling.couplings import Exact
from tests.benchmarks.tasks import mixtures

DIMENSIONS = (2, 10, 50)
GAINS = (4e-3, 2e-3, 1e-3, 5e-4)
KNOWN = 4_000


def trail(
    x0: Array, x1: Array, size: int, last: float
) -> Iterator[tuple[int, float, float, float]]:
    """After each round its number, the seconds so far, the mean cost, and the gain of the round.

    Args:
        x0: source points, shape (n, D).
        x1: target points, shape (n, D).
        size: points of a block.
        last: gain at which it ends.
    """
    n, start, rng = len(x0), time.perf_counter(), np.random.default_rng(0)
    problem = Problem(x0, x1, np.ones(n), np.ones(n))
    items = coarse_plan(problem, size, rng)
    for number, found in enumerate(refinements(problem, items, size, rng), start=1):
        gain = found.gain / (found.cost + found.gain)
        yield number, time.perf_counter() - start, found.cost / n, gain
        if gain <= last:
            return


def stops(x0: Array, x1: Array, size: int) -> dict[float, tuple[int, float, float]]:
    """Where each gain would have stopped: round, seconds and mean cost."""
    found: dict[float, tuple[int, float, float]] = {}
    for number, seconds, cost, gain in trail(x0, x1, size, min(GAINS)):
        for wanted in GAINS:
            if gain <= wanted:
                found.setdefault(wanted, (number, seconds, cost))
    return found


def in_batches(x0: Array, x1: Array, size: int) -> float:
    """Mean cost of exact plans inside random minibatches, as many as show it to a percent."""
    n, rng = len(x0), np.random.default_rng(0)
    weights, costs = np.full(size, 1 / size), []
    for _ in range(max(8, 4096 // size)):
        i, j = rng.choice(n, size), rng.choice(n, size)
        plan = Exact().plan(x0[i], x1[j], weights, weights, rng)
        costs.append(plan.mean_cost(x0[i], x1[j]))
    return float(np.mean(costs))


def exact(x0: Array, x1: Array) -> tuple[float, float]:
    """Mean cost and seconds of the exact plan."""
    start, weights = time.perf_counter(), np.full(len(x0), 1 / len(x0))
    plan = Exact().plan(x0, x1, weights, weights, np.random.default_rng(0))
    return plan.mean_cost(x0, x1), time.perf_counter() - start


def study(n: int, sizes: list[int]) -> None:
    """The table of clouds of n points."""
    for dim in DIMENSIONS:
        x0, x1 = mixtures(n, dim)
        found = {size: stops(x0, x1, size) for size in sizes}
        if n <= KNOWN:
            least, seconds = exact(x0, x1)
            print(f"| {n} | {dim} | exact | | {seconds:.2f} | 0 |", flush=True)
            for batch in (256, 1024):
                excess = in_batches(x0, x1, batch) / least - 1
                print(f"| {n} | {dim} | minibatches of {batch} | | | {excess:.2%} |", flush=True)
        else:
            least = min(cost for stop in found.values() for _, _, cost in stop.values())
        for size, stop in found.items():
            for gain, (rounds, seconds, cost) in stop.items():
                told = f"{rounds} | {seconds:.2f} | {cost / least - 1:.2%}"
                print(f"| {n} | {dim} | blocks of {size}, gain {gain:g} | {told} |", flush=True)


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plans", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--points", type=int, nargs="+", default=[KNOWN, 30_000])
    parser.add_argument("--workers", type=int, default=0, help="processes (default 0)")
    asked = parser.parse_args()
    processes.allow(asked.workers)
    print("| points | D | plan | rounds | s | excess |\n|---|---|---|---|---|---|", flush=True)
    for n in asked.points:
        study(n, asked.sizes)


if __name__ == "__main__":
    main()
