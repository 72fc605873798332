"""The command line: converts options to recipes or requests, runs workflows and shows results."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cfmcli.cli.signals import STOP, hearing


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `cfm` and exit with its exit code.

    Args:
        arguments: arguments after `cfm`; None to take them from the command line.
    """
    # Busy-waiting threads slow small networks twentyfold on a shared machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code: int | str | None = None
    with hearing():
        try:
            from cfmcli.cli.app import run

            code = run(arguments)
        except BaseException:
            if not STOP.number:
                raise
            print(f"error: {STOP.told}", file=sys.stderr)
    sys.exit(STOP.code or code)
