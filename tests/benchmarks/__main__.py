"""Run the benchmarks: python -m tests.benchmarks [--only ROW ...] [--runs 5] [--json FILE]."""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.rows import Row
from tests.benchmarks.table import ROWS

SIDES = ("ours", "theirs")


def main() -> None:
    """Run the rows that are asked for, each side in turn in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ROWS, help="these rows; default: all")
    parser.add_argument("--runs", type=int, default=5, help="paired runs (default 5)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--side", choices=SIDES, help="run one side of one row, in this process")
    asked = parser.parse_args()
    names = asked.only or list(ROWS)
    if asked.side:
        print(json.dumps(_measured(ROWS[names[0]], asked.side)))
        return
    print("| task | beside | ratio | spread | wanted | met | ours | theirs | MiB |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in (absent := [n for n in names if not os.environ.get(ROWS[n].needs or "PATH")]):
        print(f"{name} is left out: {ROWS[name].needs} does not say where its data are.")
    results = {n: _run(n, ROWS[n], asked.runs) for n in names if n not in absent}
    if asked.json:
        machine = {"date": str(date.today()), "machine": platform.machine()}
        asked.json.write_text(json.dumps({**machine, "rows": results}, indent=1) + "\n")


def _measured(row: Row, side: str) -> dict[str, float]:
    """The cost of one side, and the peak memory of this process in MiB."""
    cost = getattr(row, side)()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cost": cost, "memory": used / (2**20 if sys.platform == "darwin" else 2**10)}


def _run(name: str, row: Row, runs: int) -> dict[str, Any]:
    """Paired runs of a row, printed as a line of the table."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(runs):
        for side in SIDES:
            found[side].append(_child(name, side))
    costs = {side: [one["cost"] for one in found[side]] for side in SIDES}
    memory = {side: max(one["memory"] for one in found[side]) for side in SIDES}
    ratios = row.ratios(costs["ours"], costs["theirs"])
    print(
        f"| {row.task} | {row.rival} | {ratios.median:.3g} | {ratios.least:.3g} to"
        f" {ratios.most:.3g} | {'<=' if row.floor else '>='} {row.goal:g} |"
        f" {'yes' if ratios.met else 'no'} | {median(costs['ours']):.3g} |"
        f" {median(costs['theirs']):.3g} | {memory['ours']:.0f} / {memory['theirs']:.0f} |",
        flush=True,
    )
    return {"task": row.task, "rival": row.rival, "goal": row.goal, **asdict(ratios), **found}


def _child(name: str, side: str) -> dict[str, float]:
    """One side of one row in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks", "--only", name, "--side", side]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
