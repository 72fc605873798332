"""Study of the defaults of training: python -m tests.benchmarks.study [CHOICE ...] -o study.csv.

A choice is a name of `choices.py` (`lr=0.02`), or several joined by `+`; without any, each is tried
alone. Every fit is judged on points that it has not seen, the same ones for every choice.
`--summary FILE` prints, for each choice, the geometric mean over the tasks of its distance against
that of the defaults after as many steps, the worst task, and the processor time of a step.
"""

import argparse
import csv
import time
from collections import defaultdict
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from statistics import fmean, geometric_mean, median
from unittest.mock import patch

from cfmcli.api import Model
from cfmcli.recipe import Recipe
from cfmcli.requests import Progress, Runtime
from cfmcli.workflows.fit import learn
from tests.benchmarks.choices import CHOICES, Choice, choice
from tests.benchmarks.tasks import table
from tests.benchmarks.trials import Trial, toy, trials

Row = dict[str, str]
COLUMNS = ("budget", "choice", "steps", "task", "seed", "distance", "floor", "step_ms")


def fit(trial: Trial, what: Choice, steps: int, seed: int) -> tuple[Model, int, float]:
    """A fit, its steps, and the processor seconds of a step."""
    settings = {"steps": steps} | trial.settings | what.recipe
    clock: list[tuple[int, float]] = []

    def listen(progress: Progress) -> None:
        clock.append((progress.done, time.process_time()))

    with ExitStack() as stack:
        for owner, name, instead in what.patches:
            stack.enter_context(patch.object(owner, name, instead))
        runtime = Runtime(seed=seed, threads=1, ot_workers=0)
        tables = [table(cloud) for cloud in trial.clouds]
        model = learn(Recipe(seed=seed, **settings), tables, runtime, listen)
    (first, early), (last, late) = clock[0], clock[-1]
    return Model(model), last, (late - early) / (last - first)


@cache
def pace(name: str) -> float:
    """How many steps of the defaults take as long as one of a choice."""
    trial = toy("moons->8g", 0)
    return min(fit(trial, choice(name), 300, 0)[2] for _ in range(3))


def study(names: list[str], steps: int, seeds: int, data: Path | None, out: Path) -> None:
    """Add a row to a table for each fit."""
    new = not out.exists()
    with out.open("a", newline="", encoding="utf-8") as file:
        write = csv.writer(file, lineterminator="\n")
        if new:
            write.writerow(COLUMNS)
        for name in names:
            what = choice(name)
            budget = round(steps * pace("default") / pace(name)) if what.paced else steps
            for task, draw in trials(data).items():
                for seed in range(seeds):
                    trial = draw(seed)
                    model, done, cost = fit(trial, what, budget, seed)
                    end = model.transport(trial.start, *trial.span)
                    figures = trial.distance(end, trial.end), trial.floor, 1e3 * cost
                    write.writerow([steps, name, done, task, seed, *(f"{x:.4g}" for x in figures)])
            file.flush()


def summary(path: Path) -> None:
    """Print a line for each choice."""
    found: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found[row["budget"], row["choice"]][row["task"]].append(row)
    print("| budget | choice | steps | ms a step | distance | worst | task |")
    print("|---|---|---|---|---|---|---|")
    for (budget, name), tasks in found.items():
        usual = found[budget, "default"]
        ratios = {task: against(rows, usual[task]) for task, rows in tasks.items()}
        worst = max(ratios, key=lambda task: ratios[task])
        every = [row for rows in tasks.values() for row in rows]
        steps = median(int(row["steps"]) for row in every)
        cost = median(float(row["step_ms"]) for row in every)
        print(
            f"| {budget} | {name} | {steps:g} | {cost:.2f} | {geometric_mean(ratios.values()):.3f}"
            f" | {ratios[worst]:.3f} | {worst} |"
        )


def against(rows: list[Row], usual: list[Row]) -> float:
    """The mean distance in units of its floor against that of the defaults, of the same seeds."""
    seeds = {row["seed"] for row in rows}
    same = [row for row in usual if row["seed"] in seeds]
    ours, theirs = (
        fmean(float(r["distance"]) / float(r["floor"]) for r in part) for part in (rows, same)
    )
    return ours / theirs


def main() -> None:
    """Run the choices that are asked for, or print what became of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.study", description=__doc__)
    parser.add_argument("choices", nargs="*", default=list(CHOICES), help="default: each alone")
    parser.add_argument("--steps", type=int, default=1000, help="of the defaults (default 1000)")
    parser.add_argument("--seeds", type=int, default=2, help="fits of each task (default 2)")
    parser.add_argument("--data", type=Path, help="folder of the time courses")
    parser.add_argument("-o", "--output", type=Path, default=Path("study.csv"))
    parser.add_argument("--summary", type=Path, metavar="FILE", help="print a table's summary")
    asked = parser.parse_args()
    if asked.summary:
        summary(asked.summary)
    else:
        study(asked.choices, asked.steps, asked.seeds, asked.data, asked.output)


if __name__ == "__main__":
    main()
