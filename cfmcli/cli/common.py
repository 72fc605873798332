"""Common: options of all commands."""

from dataclasses import dataclass
from typing import Annotated

from cfmcli.cli.declare import flag, option
from cfmcli.requests import Runtime

COMMON = "Common options"


@dataclass(frozen=True)
class Common:
    """Options of all commands."""

    seed: Annotated[
        int | None,
        option(
            "--seed",
            meaning="Seed of all randomness.",
            panel=COMMON,
            min=0,
            metavar="INT",
            unset=str(Runtime.seed),
        ),
    ] = None
    device: Annotated[
        str,
        option("--device", meaning="auto, cpu, cuda, cuda:I or mps.", panel=COMMON, metavar="NAME"),
    ] = Runtime.device
    threads: Annotated[
        int,
        option(
            "--threads",
            meaning="CPU threads.",
            panel=COMMON,
            min=0,
            metavar="INT",
            unset="what the machine allows, at most 4; 1 for small networks",
        ),
    ] = Runtime.threads
    quiet: Annotated[
        bool, flag("--quiet", "-q", meaning="Only warnings and errors.", panel=COMMON)
    ] = False
    verbose: Annotated[
        bool,
        flag(
            "--verbose", "-v", meaning="More detail, and other libraries' warnings.", panel=COMMON
        ),
    ] = False
    log_file: Annotated[
        str,
        option(
            "--log-file",
            meaning="File to append everything said to, with times.",
            panel=COMMON,
            metavar="FILE",
            unset="none",
        ),
    ] = ""
    no_progress: Annotated[
        bool, flag("--no-progress", meaning="No progress bar or lines.", panel=COMMON)
    ] = False
    debug: Annotated[
        bool, flag("--debug", meaning="Show the traceback of an error.", panel=COMMON)
    ] = False
    json: Annotated[bool, flag("--json", meaning="One JSON object on stdout.", panel=COMMON)] = (
        False
    )
