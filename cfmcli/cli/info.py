"""`cfm info`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cfmcli.cli.command import Session, command
from cfmcli.cli.render import as_text
from cfmcli.requests import Outcome

About = Annotated[
    str, typer.Argument(metavar="RUN|DATA", help="Run folder, or file of points (- is stdin).")
]


def info(session: Session, path: About) -> Outcome:
    """Print what a run or a data file is: shapes, times, counts, recipe, provenance.

    Example:
    cfm info run
    cfm info timecourse.h5ad --json
    """
    about = _describe(path)
    session.answer(as_text(about))
    return Outcome(figures=about)


def _describe(path: str) -> Mapping[str, Any]:
    """Describe a run folder or a data file; a .zarr folder is a data file."""
    if Path(path).is_dir() and not path.rstrip("/").endswith(".zarr"):
        from cfmcli.workflows.info import describe_run

        return describe_run(path)
    from cfmcli.io import describe

    return describe(path)


COMMAND = command("info", info, answers=True)
