"""`cfm info`."""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from cfmcli.cli.command import Session
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
    session.answer("\n".join(_lines(about)))
    return Outcome(figures=about)


def _describe(path: str) -> Mapping[str, Any]:
    """What a run folder or a data file holds; a .zarr folder is a data file."""
    if os.path.isdir(path) and not path.rstrip("/").endswith(".zarr"):
        from cfmcli.workflows.info import describe_run

        return describe_run(path)
    from cfmcli.io import describe

    return describe(path)


def _lines(about: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A mapping as indented lines, those without content left out."""
    for key, value in about.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        elif value not in (None, "", [], (), {}):
            yield f"{indent}{key}: {_text(value)}"


def _text(value: Any) -> str:
    """A value on one line."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
