"""`cfm transport`."""

from cfmcli.cli import dynamics, options, shards
from cfmcli.cli.command import Session, command
from cfmcli.cli.settings import condition
from cfmcli.requests import OWN, Integration, Outcome, TransportRequest


def transport(
    session: Session,
    run: options.Run,
    data: options.Data,
    output: options.Output,
    start: options.FromOwn = "",
    end: options.To = "",
    against: options.Against = "",
    max_points: options.MaxPoints = TransportRequest.max_points,
    changes: options.Changes = None,
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
    """Carry given points from one time to another, forward or backward.

    Rows keep their order, ids and annotations. A conditional flow carries each
    row under the condition in its own columns, or under the one given here.
    With --set, what that changes is written too. With --from own each row starts at its
    own time, and its velocity is that of its own time.

    Example:
    cfm transport run source.csv -o moved.csv
    cfm transport run late.csv --from 5 --to 0 -o ancestors.csv
    cfm transport run cells.h5ad --from own -o velocities.h5ad
    cfm transport run cells.csv --set Gata1=0 -o knockout.csv
    """
    request = TransportRequest(
        run=run,
        data=data,
        output=output,
        start=start,
        end=end,
        against=against,
        max_points=max_points,
        changes=tuple(changes or ()),
        integration=Integration(solver, atol, rtol, sde, precision),
        dry_run=dry_run,
        condition=condition(label, covariates, guidance),
        shard=shards.meant(shard),
    )
    from cfmcli.workflows.transport import transport as carry_out

    return shards.carried_out(carry_out, request, session, jobs, force=force)


COMMAND = command("transport", transport)
