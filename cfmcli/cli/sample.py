"""`cfm sample`."""

from cfmcli.cli import dynamics, options, shards
from cfmcli.cli.command import Session, command
from cfmcli.cli.settings import condition
from cfmcli.requests import OWN, Integration, Outcome, SampleRequest


def sample(
    session: Session,
    run: options.Run,
    output: options.Output,
    count: options.Count = SampleRequest.count,
    time: options.Time = "",
    label: options.Label = "",
    covariates: options.Covariates = "",
    guidance: options.Guidance = OWN.guidance,
    sde: dynamics.Sde = Integration.sde,
    solver: dynamics.Solver = Integration.solver,
    atol: dynamics.Atol = None,
    rtol: dynamics.Rtol = None,
    precision: dynamics.Rounding = Integration.precision,
    shard: shards.Sharded = "",
    jobs: shards.Jobs = 1,
    force: options.Force = False,
    dry_run: options.DryRun = False,
) -> Outcome:
    """Draw points of the source and carry them to a time.

    The source is the stored first snapshot, with its weights, or N(0, I).
    Conditions are those of the points drawn, or are drawn with them; the output tells them.

    Example:
    cfm sample run -n 1000 -o points.csv
    cfm sample run -n 1000 --sde 0.5 -o noisy.csv
    cfm sample run --label Tcell --covariate dose=0.5 -o treated.csv
    """
    request = SampleRequest(
        run=run,
        output=output,
        count=count,
        time=time,
        integration=Integration(solver, atol, rtol, sde, precision),
        dry_run=dry_run,
        condition=condition(label, covariates, guidance),
        shard=shards.meant(shard),
    )
    from cfmcli.workflows.sample import sample as carry_out

    return shards.carried_out(carry_out, request, session, jobs, force=force)


COMMAND = command("sample", sample)
