"""The command line: options become a recipe or a request, a workflow acts, the answer is shown."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cfmcli.cli.signals import STOP, hearing


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `cfm` and leave with its exit code.

    Args:
        arguments: what follows `cfm` on the command line; None takes it from the shell.
    """
    # Threads that spin while they wait slow small networks twentyfold on a shared machine.
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
