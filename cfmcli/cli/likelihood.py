"""`cfm likelihood`."""

from cfmcli.cli import options
from cfmcli.cli.command import Session
from cfmcli.requests import Integration, LikelihoodRequest, Outcome


def likelihood(
    session: Session,
    run: options.Run,
    data: options.Data,
    output: options.Output,
    time: options.Time = "",
    base: options.Base = LikelihoodRequest.base,
    divergence: options.Divergence = LikelihoodRequest.divergence,
    solver: options.Solver = Integration.solver,
    atol: options.Atol = None,
    rtol: options.Rtol = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
) -> Outcome:
    """Compute the log density, in nats, of given points at a time.

    Example:
    cfm likelihood run target.csv -o scores.csv
    cfm likelihood run target.csv --base gmm:k=5 --divergence exact -o scores.csv
    """
    request = LikelihoodRequest(
        run=run,
        data=data,
        output=output,
        time=time,
        base=base,
        divergence=divergence,
        integration=Integration(solver, atol, rtol),
        dry_run=dry_run,
    )
    from cfmcli.workflows.verbs import likelihood as carry_out

    return carry_out(request, session.runtime(force=force), session.listen)
