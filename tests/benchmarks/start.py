"""Start-up: what a user waits for before anything is computed, beside the import of Typer."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cfmcli.workflows.fit import write_model
from cfmcli.workflows.run import Run
from tests.benchmarks.rows import Row, Side
from tests.benchmarks.tasks import fitted, moons_to_gaussians

RUNS = 11
# As installed: an environment for development may keep Python from storing what it compiled.
INSTALLED = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def waiting(*command: str) -> float:
    """Seconds of a process: the least of several, as load on the machine only ever adds."""
    found = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=INSTALLED)
        found.append(time.perf_counter() - start)
    return min(found)


def answered(*arguments: str) -> tuple[Side, Side]:
    """Seconds of a command, and of the import of Typer."""

    def ours() -> float:
        return waiting(sys.executable, "-m", "cfmcli", *arguments)

    return ours, typer


def informed() -> float:
    """Seconds of what a run is."""
    with tempfile.TemporaryDirectory() as folder:
        model, _ = fitted(moons_to_gaussians(500), steps=1)
        write_model(Run(Path(folder)), model)
        return waiting(sys.executable, "-m", "cfmcli", "info", folder)


def typer() -> float:
    """Seconds of the import of Typer."""
    return waiting(sys.executable, "-c", "import typer")


START: dict[str, Row] = {
    "help": Row("cfm --help", "import typer", *answered("--help"), 3, True),
    "help-fit": Row("cfm fit --help", "import typer", *answered("fit", "--help"), 3, True),
    "info": Row("cfm info RUN", "import typer", informed, typer, 3, True),
}
