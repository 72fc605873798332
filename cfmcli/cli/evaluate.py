"""`cfm evaluate`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cfmcli import recipe
from cfmcli.cli import dynamics, options
from cfmcli.cli.command import Session, command
from cfmcli.cli.declare import flag, option
from cfmcli.cli.render import as_table, as_text
from cfmcli.cli.settings import layer, recipe_options, stored, words
from cfmcli.errors import ConfigError
from cfmcli.layers import from_layers
from cfmcli.requests import EvaluateRequest, Integration, LeaveOutRequest, Outcome

LEFT_OUT = "Times left out"
TABLES = ("scores", "table", "means")

Judged = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN|DATA...", help="Run folder to score, or data whose times are left out in turn."
    ),
]
Seeds = Annotated[
    int,
    option(
        "--seeds",
        meaning="Fits of each method, with seeds that follow one another.",
        panel=LEFT_OUT,
        min=1,
        metavar="INT",
    ),
]
Strict = Annotated[
    bool,
    flag(
        "--strict",
        meaning="Fit the transform without the time left out too, not to all times.",
        panel=LEFT_OUT,
    ),
]
By = Annotated[
    str,
    option(
        "--by",
        meaning="Column of labels whose points are scored apart as well; a point between two cells "
        "counts under the label of the earlier one.",
        panel=LEFT_OUT,
        metavar="COLUMN",
        unset="that of --label-key",
    ),
]


def evaluate(
    session: Session,
    judged: Judged,
    output: options.Scores = None,
    against: options.Observed = "",
    time: options.ScoredTime = "",
    max_points: options.ScoredPoints = EvaluateRequest.max_points,
    seeds: Seeds = LeaveOutRequest.seeds,
    strict: Strict = LeaveOutRequest.strict,
    by: By = LeaveOutRequest.by,
    config: options.Config = "",
    solver: dynamics.OdeSolver = Integration.solver,
    atol: dynamics.Atol = None,
    rtol: dynamics.Rtol = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    **settings: Any,
) -> Outcome:
    """Score methods at times they have not seen, or a run against what was observed.

    Of DATA each interior time, or each --holdout, is left out in turn, fitted without and
    predicted: by each --method of a list, beside the snapshots before and after, static
    optimal transport, random pairs, and the floor between two halves of what was observed.
    The options of cfm fit say how. As in the published protocol the cells of the time
    before are carried there, and the transform is fitted to all times (but see --strict).

    Of RUN the source is carried to each snapshot and compared with it. Beside each
    distance stands its floor: that between two samples of the observed points.
    NPE, straightness, curvature, NFE, and W2 after 1, 2, 4, 8 and 100 Euler
    steps are told of each gap.

    Example:
    cfm evaluate timecourse.h5ad --time-key day --method auto,otcfm,static-ot --seeds 3
    cfm evaluate run -o metrics.csv
    cfm evaluate run --against observed.csv --time 1
    """
    asked: dict[str, Any] = {
        "output": output or "",
        "max_points": max_points,
        "integration": Integration(solver, atol, rtol),
        "dry_run": dry_run,
    }
    given = layer(settings)
    alone = {"seeds": seeds > 1, "strict": strict, "by": by, "config": config}
    if _is_run(judged):
        _refuse([*given, *(name for name, value in alone.items() if value)], "DATA", "a run")
        from cfmcli.workflows.evaluate import evaluate as carry_out

        request = EvaluateRequest(run=judged[0], against=against, time=time, **asked)
        return carry_out(request, session.runtime(force=force), session.listen)
    _refuse([k for k, v in {"against": against, "time": time}.items() if v], "RUN", "data")
    base, plain = stored(config), layer({"inputs": tuple(judged), "seed": session.common.seed})
    names = dict.fromkeys(words(given.pop("method", "")))
    methods = [{"method": name} for name in names] or [{}]
    recipes = [from_layers(base, given | plain | method) for method in methods]
    from cfmcli.workflows.leaveout import leave_out

    chosen = LeaveOutRequest(seeds=seeds, strict=strict, by=by, **asked)
    runtime = session.runtime(force=force, seed=recipes[0].seed)
    return leave_out(recipes, chosen, runtime, session.listen)


def _is_run(judged: Sequence[str]) -> bool:
    """Whether the argument is a run folder rather than data."""
    from cfmcli.io import FORMATS, suffix

    only = judged[0]
    data = only == "-" or Path(only).is_file() or suffix(only) in FORMATS
    return len(judged) == 1 and not data


def _refuse(names: Sequence[str], kind: str, other: str) -> None:
    """Refuse options for the other kind of argument, unless set in the environment.

    Raises:
        ConfigError: if there are any.
    """
    typed = [recipe.option(name) for name in names if f"CFM_{name.upper()}" not in os.environ]
    if typed:
        raise ConfigError(
            f"{', '.join(typed)}: for cfm evaluate {kind} alone, and this is {other}: leave it out."
        )


def told(figures: Mapping[str, Any]) -> str:
    """Format scores as tables below the other results."""
    rest = {name: value for name, value in figures.items() if name not in TABLES}
    shown = TABLES[1:] if "table" in figures else TABLES[:1]
    return "\n".join(filter(None, (as_text(rest), *(as_table(figures.get(n, ())) for n in shown))))


COMMAND = command("evaluate", evaluate, recipe_options(), told=told)
