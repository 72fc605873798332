"""`cfm merge`."""

from typing import Annotated

import typer

from cfmcli.cli import options
from cfmcli.cli.command import Session, command
from cfmcli.cli.declare import option
from cfmcli.requests import MergeRequest, Outcome

Parts = Annotated[
    list[str], typer.Argument(metavar="PART", help="Files that shards wrote, in any order.")
]
Source = Annotated[
    str,
    option(
        "--data",
        meaning="The AnnData that the shards worked on, which gets a copy with their results.",
        panel=options.POINTS,
        metavar="FILE",
        unset="where it was",
    ),
]


def merge(
    session: Session,
    parts: Parts,
    *,
    output: options.Output,
    data: Source = "",
    force: options.Force = False,
    dry_run: options.DryRun = False,
) -> Outcome:
    """Put the files of shards together: the file that one run would have written.

    All shards of one command must be there, each once. Beside each file lies
    the .shard.json that its shard wrote: move them together. Results of an
    .h5ad are added to a copy of it, so that nothing it holds is lost.

    Example:
    cfm transport run source.csv --shard 1/2 -o part1.csv
    cfm transport run source.csv --shard 2/2 -o part2.csv
    cfm merge part1.csv part2.csv -o moved.csv
    """
    request = MergeRequest(tuple(parts), output, data, dry_run)
    from cfmcli.workflows.merge import merge as carry_out

    return carry_out(request, session.runtime(force=force), session.listen)


COMMAND = command("merge", merge)
