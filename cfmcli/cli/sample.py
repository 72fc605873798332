"""`cfm sample`."""

from cfmcli.cli import options
from cfmcli.cli.command import Session
from cfmcli.requests import Integration, Outcome, SampleRequest


def sample(
    session: Session,
    run: options.Run,
    output: options.Output,
    count: options.Count = SampleRequest.count,
    time: options.Time = "",
    solver: options.Solver = Integration.solver,
    atol: options.Atol = None,
    rtol: options.Rtol = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
) -> Outcome:
    """Draw points of the source and carry them to a time.

    The source is the stored first snapshot, with its weights, or N(0, I).

    Example:
    cfm sample run -n 1000 -o points.csv
    """
    integration = Integration(solver, atol, rtol)
    request = SampleRequest(run, output, count, time, integration, dry_run)
    from cfmcli.workflows.verbs import sample as carry_out

    return carry_out(request, session.runtime(force=force), session.listen)
