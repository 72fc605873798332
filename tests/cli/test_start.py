"""A command starts with the parts of its libraries that it needs."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SLOW = "torch._dynamo torch._decomp.decompositions_for_jvp sympy scipy.stats sklearn networkx"
COMMANDS = (
    "fit a.csv b.csv -o run --steps 30",
    "transport run a.csv -o there.csv",
    "sample run -n 4 -o new.csv",
    "interpolate run --frames 2 -o between.csv",
)


MERGE = "merge part1.csv part2.csv -o whole.csv"


def test_fits_and_carries_without_compilers(tmp_path: Path) -> None:
    """No command of a pipeline loads what takes as long as all the rest and is not called."""
    (tmp_path / "a.csv").write_text("x\n0\n1\n2\n3\n")
    (tmp_path / "b.csv").write_text("x\n5\n6\n7\n9\n")
    assert loaded(COMMANDS, SLOW, tmp_path) == []
    parts = [f"sample run -n 4 --shard {k}/2 -o part{k}.csv" for k in (1, 2)]
    loaded(parts, "", tmp_path)
    assert loaded([MERGE], "torch", tmp_path) == []
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "new.csv").read_bytes()


def loaded(commands: Sequence[str], modules: str, folder: Path) -> list[str]:
    """Those of some modules that a process has loaded after some commands."""
    code = (
        "import sys\nfrom cfmcli.cli import main\n"
        f"for line in {tuple(commands)!r}:\n"
        "    try: main(line.split())\n"
        "    except SystemExit as left: assert not left.code, line\n"
        f"print(*sorted(set(sys.modules) & set({modules.split()!r})))"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()
