"""`cfm fit`."""

from dataclasses import replace
from typing import Annotated, Any

from cfmcli.cli import options
from cfmcli.cli.command import Session, command
from cfmcli.cli.declare import flag, option
from cfmcli.cli.settings import layer, recipe_options, stored
from cfmcli.cli.shards import SHARING
from cfmcli.errors import ConfigError
from cfmcli.layers import from_layers
from cfmcli.requests import AUTO, FitRequest, Outcome

Couplings = Annotated[
    bool,
    flag(
        "--write-couplings",
        meaning="Write the plan of each gap to RUN/couplings, for CellRank and WOT.",
        panel=options.OUTPUT,
    ),
]
Ranks = Annotated[
    int,
    option(
        "--nproc",
        meaning="Processes of this machine that train together, each on its share of every batch; "
        "torchrun starts them on several machines. For the default network on a CPU, one process "
        "is usually fastest.",
        panel=SHARING,
        min=1,
        metavar="INT",
    ),
]
Workers = Annotated[
    int | None,
    option(
        "--ot-workers",
        meaning="Processes that couple points: batches ahead of training with --scope minibatch, "
        "and parts of large plans; 0 couples in this process. The result is the same (Linux).",
        panel=SHARING,
        min=0,
        metavar="INT",
        unset="as many as the threads that the machine allows, where that is more than 1",
    ),
]


def fit(
    session: Session,
    data: options.Files = None,
    *,
    output: options.RunOutput,
    config: options.Config = "",
    resume: options.Resume = False,
    nproc: Ranks = FitRequest.nproc,
    ot_workers: Workers = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    write_couplings: Couplings = False,
    **settings: Any,
) -> Outcome:
    """Learn the flow between snapshots, and write it as a run folder.

    Several files are snapshots in time order.
    One file with --time-key holds them all.
    One file with --source gaussian is generated from N(0, I).

    Example:
    cfm fit source.csv target.csv --steps 2000 -o run
    cfm fit timecourse.h5ad --time-key day --transform pca:n=50,standardize -o run
    cfm fit cells.csv --source gaussian --label-key kind --covariates dose -o run
    cfm fit --from-run run --method rf -o straight
    """
    given = layer({**settings, "inputs": tuple(data or ()) or None, "seed": session.common.seed})
    chosen = from_layers(stored(config), given)
    if not (chosen.inputs or chosen.from_run):
        raise ConfigError(
            "No data: name the files to fit, a --config that names them, or a --from-run."
        )
    workers = AUTO if ot_workers is None else ot_workers
    runtime = replace(session.runtime(force=force, seed=chosen.seed), ot_workers=workers)
    request = FitRequest(output, resume, dry_run, nproc, session.arguments, write_couplings)
    from cfmcli.workflows.fit import fit as carry_out

    return carry_out(chosen, request, runtime, session.listen)


COMMAND = command("fit", fit, recipe_options())
