"""Time and memory as points grow: python -m tests.benchmarks.scale [--most N] [--json FILE].

Two clouds of n points in 50 dimensions are fitted, carried and scored, from file to file, each in a
process of its own. Times are seconds of the processor, its children's included, once the process
has done the same with few points, which loads what it needs; memory is the most that it held.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from cfmcli.layers import from_layers
from cfmcli.requests import (
    FitRequest,
    Integration,
    LikelihoodRequest,
    Progress,
    Runtime,
    Scoring,
    TransportRequest,
)
from cfmcli.workflows.fit import fit
from cfmcli.workflows.likelihood import likelihood
from cfmcli.workflows.transport import transport

DIM, STEPS = 50, 400
FIELD = "mlp:width=256"
FEW = Integration("euler:steps=4")
EXACT = 10_000
"""Points at most whose exact likelihood is measured: its time per point does not change."""
FROM = 10_000
"""Points from which on exponents are fitted: below, what a process does once decides."""
FEWEST = 100
GOAL = 1.15
WHERE = Runtime(device="cpu", threads=1, force=True)

COLUMNS = {
    "setup": "fit, set-up",
    "step": "a step of it",
    "transport": "transport",
    "probed": "likelihood, 2 probes",
    "exact": "likelihood, exact",
}


def processor() -> float:
    """Seconds of the processor so far, its children's included."""
    return sum(os.times()[:4])


def fitting(folder: Path) -> dict[str, float]:
    """What comes before and after the steps of a fit, and a step."""
    heard: list[tuple[int, float]] = []

    def listen(progress: Progress) -> None:
        if progress.done:  # what is said before the first step belongs to the set-up
            heard.append((progress.done, processor()))

    settings = {"steps": STEPS, "field": FIELD, "inputs": _clouds(folder)}
    start = processor()
    fit(from_layers(settings), FitRequest(str(folder / "run")), WHERE, listen)
    whole = processor() - start
    (first, begun), (last, ended) = heard[0], heard[-1]
    step = (ended - begun) / (last - first)
    return {"setup": whole - step * STEPS, "step": step}


def carrying(folder: Path) -> dict[str, float]:
    """All points from the first time to the last, scored there as usual."""
    out = str(folder / "moved.npy")
    request = TransportRequest(str(folder / "run"), _clouds(folder)[0], out, integration=FEW)
    return {"transport": timed(lambda: transport(request, WHERE, lambda progress: None))}


def scoring(name: str, divergence: str) -> Callable[[Path], dict[str, float]]:
    """Log densities of all points at the last time."""

    def score(folder: Path) -> dict[str, float]:
        data, out = _clouds(folder)[1], str(folder / "scored.npy")
        how = Scoring(base="gaussian", divergence=divergence)
        request = LikelihoodRequest(str(folder / "run"), data, out, scoring=how, integration=FEW)
        return {name: timed(lambda: likelihood(request, WHERE, lambda progress: None))}

    return score


TASKS: dict[str, Callable[[Path], dict[str, float]]] = {
    "fit": fitting,
    "transport": carrying,
    "probed": scoring("probed", "hutchinson:probes=2"),
    "exact": scoring("exact", "exact"),
}


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor that some work takes."""
    start = processor()
    work()
    return processor() - start


def _clouds(folder: Path) -> tuple[str, str]:
    """The files of the clouds."""
    return str(folder / "a.npy"), str(folder / "b.npy")


def make(folder: Path, n: int) -> None:
    """Write a standard normal cloud and a correlated one that lies elsewhere."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    turn = rng.standard_normal((DIM, DIM), dtype=np.float32) / np.float32(7)
    for path, matrix, shift in zip(_clouds(folder), (np.eye(DIM), turn), (0, 2), strict=True):
        x = rng.standard_normal((n, DIM), dtype=np.float32)
        np.save(path, (x @ matrix + np.float32(shift)).astype(np.float32))


def measured(folder: Path, task: str) -> dict[str, float]:
    """One task in a process of its own: its seconds, and its peak memory in MiB."""
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--task", task, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def exponent(sizes: list[int], costs: list[float]) -> float | None:
    """The slope of log cost over log n from `FROM` on; None with fewer than two sizes."""
    kept = [(n, cost) for n, cost in zip(sizes, costs, strict=True) if n >= FROM]
    if len(kept) < 2:
        return None
    logs = np.log(np.array(kept, dtype=np.float64))
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def table(rows: list[dict[str, Any]]) -> tuple[list[str], dict[str, float | None]]:
    """The lines of the table, and the exponents at its foot."""
    names = [*COLUMNS, *(f"{task}_mib" for task in TASKS if task != "exact")]
    memory = {f"{task}_mib": f"MiB of {task}" for task in TASKS}
    lines = [f"| points | {' | '.join((COLUMNS | memory)[name] for name in names)} |"]
    lines.append("|---" * (1 + len(names)) + "|")
    for row in rows:
        cells = (_told(name, row[name]) if name in row else "" for name in names)
        lines.append(f"| {row['points']:,} | {' | '.join(cells)} |")
    found: dict[str, float | None] = {}
    for name in names:
        own = [row for row in rows if name in row]
        spare = own[0][name] if name.endswith("_mib") else 0.0
        costs = [max(row[name] - spare, 1e-9) for row in own]
        found[name] = exponent([row["points"] for row in own], costs)
    told = ("" if slope is None else f"{slope:.2f}" for slope in found.values())
    lines.append(f"| exponent | {' | '.join(told)} |")
    return lines, found


def _told(name: str, figure: float) -> str:
    """A figure: memory in whole MiB, seconds in three digits."""
    return f"{figure:,.0f}" if name.endswith("_mib") else f"{figure:.3g}"


def main() -> None:
    """Measure every size, or one task of one size in this process."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--most", type=int, default=100_000, help="points (default 100,000)")
    parser.add_argument("--least", type=int, default=1000, help="points (default 1,000)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--task", nargs=2, metavar=("TASK", "FOLDER"), help="one of one size")
    asked = parser.parse_args()
    if asked.task:
        work, place = TASKS[asked.task[0]], Path(asked.task[1])
        work(place / "few")
        found = work(place)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        mib = used / (2**20 if sys.platform == "darwin" else 2**10)
        print(json.dumps({**found, f"{asked.task[0]}_mib": mib}))
        return
    rows: list[dict[str, Any]] = []
    n = asked.least
    while n <= asked.most:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), n)
            make(Path(folder) / "few", FEWEST)
            row: dict[str, Any] = {"points": n}
            for task in TASKS:
                if task != "exact" or n <= EXACT:
                    row |= measured(Path(folder), task)
                    print(n, task, json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
        n *= 10
    lines, slopes = table(rows)
    print("\n".join(lines))
    slope = slopes["setup"]
    if slope is not None:
        print(f"Exponent of the set-up at most {GOAL}: {'met' if slope <= GOAL else 'missed'}.")
    if asked.json:
        about = {"date": str(date.today()), "machine": platform.machine(), "steps": STEPS}
        asked.json.write_text(json.dumps({**about, "rows": rows, "exponents": slopes}, indent=1))


if __name__ == "__main__":
    main()
