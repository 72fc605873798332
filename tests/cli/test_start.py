"""A command starts with the parts of its libraries that it needs."""

import subprocess
import sys
from pathlib import Path

SLOW = "torch._dynamo torch._decomp.decompositions_for_jvp sympy scipy.stats sklearn networkx"
COMMANDS = (
    "fit a.csv b.csv -o run --steps 30",
    "transport run a.csv -o there.csv",
    "sample run -n 4 -o new.csv",
    "interpolate run --frames 2 -o between.csv",
)


def test_fits_and_carries_without_compilers(tmp_path: Path) -> None:
    """No command of a pipeline loads what takes as long as all the rest and is not called."""
    (tmp_path / "a.csv").write_text("x\n0\n1\n2\n3\n")
    (tmp_path / "b.csv").write_text("x\n5\n6\n7\n9\n")
    code = (
        "import sys\nfrom cfmcli.cli import main\n"
        f"for line in {COMMANDS!r}:\n"
        "    try: main(line.split())\n"
        "    except SystemExit as left: assert not left.code, line\n"
        f"print(*sorted(set(sys.modules) & set({SLOW.split()!r})))"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []
