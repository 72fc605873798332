"""Options of commands that can process a shard of the points, or use several processes."""

import os
from collections.abc import Callable
from typing import Annotated, Any

from cfmcli.cli.command import Session
from cfmcli.cli.declare import option
from cfmcli.requests import Outcome, shard_of

SHARING = "Sharing the work"

Sharded = Annotated[
    str,
    option(
        "--shard",
        meaning="Work on part I of N of the points, for cfm merge; auto takes the place in a SLURM "
        "array, or RANK and WORLD_SIZE. Whole blocks are computed, so any N gives the same rows.",
        panel=SHARING,
        metavar="I/N",
        unset="all points",
    ),
]
Jobs = Annotated[
    int,
    option(
        "--jobs",
        meaning="Processes of this machine that share points and threads; it pays where cores are "
        "idle and each has thousands of points.",
        panel=SHARING,
        min=1,
        metavar="INT",
    ),
]


def carried_out(
    verb: Callable[..., Outcome], request: Any, session: Session, jobs: int, *, force: bool
) -> Outcome:
    """Run a command, in one process or several."""
    from cfmcli.workflows.jobs import spread

    return spread(verb, request, session.runtime(force=force), session.listen, jobs)


def meant(text: str) -> Any:
    """Parse the requested shard, or take it from the environment."""
    return shard_of(text, os.environ)
