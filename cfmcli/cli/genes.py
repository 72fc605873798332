"""`cfm genes`."""

from typing import Annotated

from cfmcli.cli import dynamics, options
from cfmcli.cli.command import Session, command
from cfmcli.cli.declare import option
from cfmcli.cli.settings import condition, words
from cfmcli.requests import OWN, GenesRequest, Integration, InterpolateRequest, Outcome

Genes = Annotated[
    str,
    option(
        "--genes",
        meaning="Genes to show, separated by commas; * stands for anything: Gata1,Hb*.",
        panel=options.POINTS,
        metavar="LIST",
        unset="those that change most",
    ),
]
Top = Annotated[
    int,
    option(
        "--top",
        meaning="Number of genes to show where none are named.",
        panel=options.POINTS,
        min=1,
        metavar="INT",
    ),
]
LabelKey = Annotated[
    str,
    option(
        "--label-key",
        meaning="Annotation of the starting points that groups them.",
        panel=options.POINTS,
        metavar="COLUMN",
        unset="one group",
    ),
]
FateKey = Annotated[
    str,
    option(
        "--fate-key",
        meaning="Column of classes at the last time: groups trajectories by where they end.",
        panel=options.POINTS,
        metavar="COLUMN",
        unset="one group",
    ),
]
Fates = Annotated[
    str,
    option(
        "--fates",
        meaning="File that cfm fate wrote for the starting points: groups them by their fates.",
        panel=options.POINTS,
        metavar="FILE",
        unset="one group",
    ),
]
Frames = Annotated[
    int,
    option(
        "--frames",
        meaning="Number of evenly spaced times, first to last; or give --times.",
        panel=options.POINTS,
        min=0,
        metavar="INT",
        unset="20",
    ),
]


def genes(
    session: Session,
    run: options.Run,
    output: options.Output,
    data: options.Start = "",
    genes: Genes = "",
    top: Top = GenesRequest.top,
    label_key: LabelKey = "",
    fate_key: FateKey = "",
    fates: Fates = "",
    times: options.Times = "",
    frames: Frames = InterpolateRequest.frames,
    start: options.From = "",
    cells: options.Cells = "",
    where: options.Where = "",
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
    """Follow expression along trajectories: its mean and quartiles at each time.

    Genes are ranked by how much they change. Trajectories are grouped by where
    they start (--label-key), where they end (--fate-key), or by a table of fates,
    in which each cell counts with its probability of each.

    Columns: gene, group, time, mean and quartiles in the units of the data, or of
    counts normalised as the fit did; change, the range of the group's mean in
    standard deviations of the gene; reconstruction, the correlation of a gene with
    what the transform keeps of it.

    Example:
    cfm genes run -o trends.csv
    cfm genes run early.h5ad --fate-key celltype --genes Mpo,Irf8 -o trends.csv
    """
    request = GenesRequest(
        InterpolateRequest(
            run=run,
            output=output,
            data=data,
            times=words(times),
            frames=frames or (0 if words(times) else 20),
            start=start,
            cells=cells,
            where=where,
            integration=Integration(solver, atol, rtol, sde),
            dry_run=dry_run,
            condition=condition(label, covariates, guidance),
        ),
        genes=genes,
        top=top,
        label_key=label_key,
        fate_key=fate_key,
        fates=fates,
    )
    from cfmcli.workflows.genes import genes as carry_out

    return carry_out(request, session.runtime(force=force), session.listen)


COMMAND = command("genes", genes)
