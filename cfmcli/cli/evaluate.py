"""`cfm evaluate`."""

from collections.abc import Mapping
from typing import Any

from cfmcli.cli import options
from cfmcli.cli.command import Session
from cfmcli.cli.render import as_table, as_text
from cfmcli.requests import EvaluateRequest, Integration, Outcome


def evaluate(
    session: Session,
    run: options.Run,
    output: options.Scores = None,
    against: options.Observed = "",
    time: options.ScoredTime = "",
    max_points: options.ScoredPoints = EvaluateRequest.max_points,
    solver: options.OdeSolver = Integration.solver,
    atol: options.Atol = None,
    rtol: options.Rtol = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
) -> Outcome:
    """Score a run: how near it comes to what was observed, and how straight its paths are.

    The source is carried to each snapshot and compared with it. Beside each
    distance stands its floor: that between two samples of the observed points.
    NPE, straightness, curvature, NFE, and W2 after 1, 2, 4, 8 and 100 Euler
    steps are told of each gap.

    Example:
    cfm evaluate run -o metrics.csv
    cfm evaluate run --against observed.csv --time 1
    """
    request = EvaluateRequest(
        run=run,
        output=output or "",
        against=against,
        time=time,
        max_points=max_points,
        integration=Integration(solver, atol, rtol),
        dry_run=dry_run,
    )
    from cfmcli.workflows.evaluate import evaluate as carry_out

    return carry_out(request, session.runtime(force=force), session.listen)


def told(figures: Mapping[str, Any]) -> str:
    """The scores as a table below the other figures."""
    rest = {name: value for name, value in figures.items() if name != "scores"}
    return "\n".join(filter(None, (as_text(rest), as_table(figures.get("scores", ())))))
