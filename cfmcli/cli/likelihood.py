"""`cfm likelihood`."""

from cfmcli.cli import dynamics, options, shards
from cfmcli.cli.command import Session, command
from cfmcli.cli.settings import condition
from cfmcli.requests import Integration, LikelihoodRequest, Outcome, Scoring


def likelihood(
    session: Session,
    run: options.Run,
    data: options.Data,
    output: options.Output,
    time: options.TimeOwn = "",
    label: options.Label = "",
    covariates: options.Covariates = "",
    base: dynamics.Base = Scoring.base,
    known: dynamics.Known = Scoring.known,
    divergence: dynamics.Divergence = Scoring.divergence,
    estimator: dynamics.Estimator = Scoring.estimator,
    sde: dynamics.Sde = Scoring.sde,
    solver: dynamics.OdeSolver = Integration.solver,
    atol: dynamics.Atol = None,
    rtol: dynamics.Rtol = None,
    shard: shards.Sharded = "",
    jobs: shards.Jobs = 1,
    force: options.Force = False,
    dry_run: options.DryRun = False,
) -> Outcome:
    """Compute the log density, in nats, of given points at a time.

    A conditional flow gives each row's density under the condition in its own
    columns, or under the one given here. With --sde it is the density of the
    stochastic dynamics, by importance-weighted paths, with its error and a bound.
    With --time own each row is scored at its own time.

    Example:
    cfm likelihood run target.csv -o scores.csv
    cfm likelihood run target.csv --base gmm:k=5 --divergence exact -o scores.csv
    cfm likelihood run timecourse.h5ad --time own -o scores.csv
    cfm likelihood run target.csv --sde 0.5 --estimator sde:paths=64 -o scores.csv
    """
    request = LikelihoodRequest(
        run=run,
        data=data,
        output=output,
        time=time,
        scoring=Scoring(base, divergence, estimator, sde, known),
        integration=Integration(solver, atol, rtol),
        dry_run=dry_run,
        condition=condition(label, covariates),
        shard=shards.meant(shard),
    )
    from cfmcli.workflows.likelihood import likelihood as carry_out

    return shards.carried_out(carry_out, request, session, jobs, force=force)


COMMAND = command("likelihood", likelihood)
