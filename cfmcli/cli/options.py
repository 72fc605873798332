"""Options that several commands share, each declared once."""

from typing import Annotated

import typer

from cfmcli.cli.declare import flag, option

POINTS, FLOW, OUTPUT = "Points", "Flow", "Output"

Run = Annotated[str, typer.Argument(metavar="RUN", help="Run folder that cfm fit wrote.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="File of points; - is CSV on stdin.")]
Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="DATA", help="Data files in time order, or one with --time-key."),
]
Start = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="File of starting points; without it, the stored earliest cloud."
    ),
]

Output = Annotated[
    str,
    option(
        "--output",
        "-o",
        meaning="File to write, its format by suffix; - is CSV on stdout.",
        panel=OUTPUT,
        metavar="FILE",
    ),
]
RunOutput = Annotated[
    str, option("--output", "-o", meaning="Run folder to write.", panel=OUTPUT, metavar="RUN")
]
Scores = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        meaning="Table of scores to write, its format by suffix; - is CSV on stdout.",
        panel=OUTPUT,
        metavar="FILE",
        unset="none",
    ),
]
Force = Annotated[bool, flag("--force", meaning="Overwrite an existing output.", panel=OUTPUT)]
DryRun = Annotated[
    bool,
    flag("--dry-run", meaning="Say what would be done and what it would cost; stop.", panel=OUTPUT),
]
Resume = Annotated[
    bool, flag("--resume", meaning="Continue the interrupted fit of --output.", panel=OUTPUT)
]
Config = Annotated[
    str,
    option(
        "--config",
        meaning="Recipe to start from (TOML); options given here win over it.",
        panel=OUTPUT,
        metavar="FILE.toml",
        unset="none",
    ),
]

Count = Annotated[
    int, option("--count", "-n", meaning="Number of points.", panel=POINTS, min=1, metavar="INT")
]
Time = Annotated[
    str,
    option(
        "--time",
        meaning="Clock time or snapshot label of the points.",
        panel=POINTS,
        metavar="TIME",
        unset="the last",
    ),
]
TimeOwn = Annotated[
    str,
    option(
        "--time",
        meaning="Clock time or snapshot label of the points; own for that of each of them.",
        panel=POINTS,
        metavar="TIME",
        unset="the last",
    ),
]
From = Annotated[
    str,
    option(
        "--from",
        meaning="Clock time or snapshot label of the given points.",
        panel=POINTS,
        metavar="TIME",
        unset="the first",
    ),
]
FromOwn = Annotated[
    str,
    option(
        "--from",
        meaning="Clock time or snapshot label of the given points; own for that of each of them.",
        panel=POINTS,
        metavar="TIME",
        unset="the first",
    ),
]
To = Annotated[
    str,
    option(
        "--to",
        meaning="Clock time or snapshot label to carry them to; an earlier one goes backward.",
        panel=POINTS,
        metavar="TIME",
        unset="the last",
    ),
]
Against = Annotated[
    str,
    option(
        "--against",
        meaning="File of points observed at --to, for W1 and W2.",
        panel=POINTS,
        metavar="FILE",
        unset="the run's own snapshot, where it has one",
    ),
]
MaxPoints = Annotated[
    int,
    option(
        "--max-points",
        meaning="Most points on a side for W1 and W2; more are subsampled by the seed.",
        panel=POINTS,
        min=2,
        metavar="INT",
    ),
]
Observed = Annotated[
    str,
    option(
        "--against",
        meaning="File of points observed at --time.",
        panel=POINTS,
        metavar="FILE",
        unset="the run's own snapshots",
    ),
]
ScoredTime = Annotated[
    str,
    option(
        "--time",
        meaning="Clock time or snapshot label to score.",
        panel=POINTS,
        metavar="TIME",
        unset="each snapshot after the first; the last with --against",
    ),
]
ScoredPoints = Annotated[
    int,
    option(
        "--max-points",
        meaning="Most points on a side; more are subsampled by the seed.",
        panel=POINTS,
        min=2,
        metavar="INT",
    ),
]
Times = Annotated[
    str,
    option(
        "--times",
        meaning="Clock times or labels to write, separated by commas: 0.5,1,1.5; or give --frames.",
        panel=POINTS,
        metavar="TIMES",
        unset="none",
    ),
]
Frames = Annotated[
    int,
    option(
        "--frames",
        meaning="Number of evenly spaced times to write, first to last; or give --times.",
        panel=POINTS,
        min=0,
        metavar="INT",
        unset="none",
    ),
]
Population = Annotated[
    bool,
    flag(
        "--population",
        meaning="Carry every observed snapshot to the times that follow it, to give populations.",
        panel=POINTS,
    ),
]
Cells = Annotated[
    str,
    option(
        "--cells",
        meaning="File of ids of starting points, one a line; - is stdin.",
        panel=POINTS,
        metavar="FILE",
        unset="all points",
    ),
]
Where = Annotated[
    str,
    option(
        "--where",
        meaning="Condition on the annotations of starting points: \"celltype == 'HSC'\"; names "
        "with blanks in backticks, '`cell type` == \"HSC\"'.",
        panel=POINTS,
        metavar="QUERY",
        unset="all points",
    ),
]

Changes = Annotated[
    list[str] | None,
    option(
        "--set",
        meaning="Set a feature first, in the units of DATA: Gata1=0, =*2 twice as much, =+1 more.",
        panel=POINTS,
        metavar="GENE=VALUE",
        unset="none",
    ),
]

Label = Annotated[
    str,
    option(
        "--label",
        meaning="Class of all points, for a run fitted with --label-key.",
        panel=POINTS,
        metavar="CLASS",
        unset="each point's own",
    ),
]
Covariates = Annotated[
    str,
    option(
        "--covariate",
        meaning="Covariates of all points, for a run fitted with --covariates: dose=0.5,age=3.",
        panel=POINTS,
        metavar="LIST",
        unset="each point's own",
    ),
]
Guidance = Annotated[
    float,
    option(
        "--guidance",
        meaning="Weight of the condition: 0 leaves it out, 1 is as learnt, more exaggerates it.",
        panel=FLOW,
        metavar="FLOAT",
    ),
]
