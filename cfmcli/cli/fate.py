"""`cfm fate`."""

from typing import Annotated

from cfmcli.cli import dynamics, options
from cfmcli.cli.command import Session, command
from cfmcli.cli.declare import option
from cfmcli.cli.settings import condition
from cfmcli.requests import OWN, FateRequest, Integration, Outcome, Vote

LabelKey = Annotated[
    str,
    option(
        "--label-key",
        meaning="Column of classes of the points observed at --to.",
        panel=options.POINTS,
        metavar="COLUMN",
    ),
]
Starting = Annotated[
    str,
    option(
        "--from",
        meaning="Clock time or snapshot label of all given points.",
        panel=options.POINTS,
        metavar="TIME",
        unset="each point's own, or the first",
    ),
]
Voters = Annotated[
    str,
    option(
        "--against",
        meaning="File of labelled points observed at --to.",
        panel=options.POINTS,
        metavar="FILE",
        unset="the run's own snapshot",
    ),
]
Neighbours = Annotated[
    int,
    option(
        "--neighbours",
        meaning="Labelled points that vote, the nearest to where a point ends.",
        panel=options.POINTS,
        min=0,
        metavar="INT",
        unset="as many as tell each other's classes best",
    ),
]
Spread = Annotated[
    int,
    option(
        "--spread",
        meaning="Observed points nearest to each start whose fates are averaged; 1: itself alone.",
        panel=options.FLOW,
        min=0,
        metavar="INT",
        unset="a third of n^0.8 of the n observed then; 1 with --sde, and for conditional runs",
    ),
]
Draws = Annotated[
    int,
    option(
        "--draws",
        meaning="Random paths of each point, with --sde.",
        panel=options.FLOW,
        min=0,
        metavar="INT",
        unset="100",
    ),
]
Truth = Annotated[
    str,
    option(
        "--truth",
        meaning="Column of DATA with the class that each point really reached, for scores.",
        panel=options.POINTS,
        metavar="COLUMN",
        unset="none",
    ),
]


def fate(
    session: Session,
    run: options.Run,
    data: options.Data,
    label_key: LabelKey,
    output: options.Output,
    start: Starting = "",
    end: options.To = "",
    against: Voters = "",
    neighbours: Neighbours = Vote.neighbours,
    spread: Spread = FateRequest.spread,
    draws: Draws = FateRequest.draws,
    truth: Truth = "",
    changes: options.Changes = None,
    label: options.Label = "",
    covariates: options.Covariates = "",
    guidance: options.Guidance = OWN.guidance,
    sde: dynamics.Sde = Integration.sde,
    solver: dynamics.Solver = Integration.solver,
    atol: dynamics.Atol = None,
    rtol: dynamics.Rtol = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
) -> Outcome:
    """Tell the fates of points: the probability of each class they may reach.

    Points are carried to --to, where the nearest labelled points vote. Without
    --sde the fates of observed points near each start are averaged; with it,
    those of many random paths. In conditional runs each point has its own path alone.

    Example:
    cfm fate run cells.h5ad --label-key celltype -o fates.h5ad
    cfm fate run early.csv --label-key arm --sde 0.1 --draws 200 -o fates.csv
    """
    request = FateRequest(
        run=run,
        data=data,
        output=output,
        vote=Vote(label_key, against, neighbours),
        start=start,
        end=end,
        spread=spread,
        draws=draws,
        truth=truth,
        changes=tuple(changes or ()),
        integration=Integration(solver, atol, rtol, sde),
        dry_run=dry_run,
        condition=condition(label, covariates, guidance),
    )
    from cfmcli.workflows.fate import fate as carry_out

    return carry_out(request, session.runtime(force=force), session.listen)


COMMAND = command("fate", fate)
