"""`cfm interpolate`."""

from typing import Annotated

from cfmcli.cli import dynamics, options, shards
from cfmcli.cli.command import Session, command
from cfmcli.cli.declare import option
from cfmcli.cli.settings import condition, words
from cfmcli.errors import ConfigError
from cfmcli.requests import OWN, Integration, InterpolateRequest, Outcome

Sides = Annotated[
    str,
    option(
        "--sides",
        meaning="Snapshots that a --population comes from: before, or both.",
        panel=options.POINTS,
        metavar="SIDES",
        unset="both for --method auto, else before",
    ),
]


def interpolate(
    session: Session,
    run: options.Run,
    output: options.Output,
    data: options.Start = "",
    times: options.Times = "",
    frames: options.Frames = InterpolateRequest.frames,
    start: options.From = "",
    population: options.Population = False,
    sides: Sides = InterpolateRequest.sides,
    cells: options.Cells = "",
    where: options.Where = "",
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
    """Follow points through time, and write each at each of the chosen times.

    A conditional flow carries each point under its own condition, or under the
    one given here.

    Example:
    cfm interpolate run --frames 20 -o paths.csv
    cfm interpolate run --times 0.5,1,1.5 --population -o unseen.csv
    """
    if bool(words(times)) == bool(frames):
        raise ConfigError("Give either --times 0.5,1,1.5 or --frames 20.")
    request = InterpolateRequest(
        run=run,
        output=output,
        data=data,
        times=words(times),
        frames=frames,
        start=start,
        population=population,
        sides=sides,
        cells=cells,
        where=where,
        integration=Integration(solver, atol, rtol, sde, precision),
        dry_run=dry_run,
        condition=condition(label, covariates, guidance),
        shard=shards.meant(shard),
    )
    from cfmcli.workflows.interpolate import interpolate as carry_out

    return shards.carried_out(carry_out, request, session, jobs, force=force)


COMMAND = command("interpolate", interpolate)
