"""The examples for clusters: run here as far as there is no cluster."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.harness import COMMANDS, Cfm

PIPELINES = Path(__file__).parents[2] / "sample_data" / "pipelines"
NAMES = ("slurm_shards.sh", "slurm_train.sh", "scatter.nf", "fit.nf", "Snakefile")
SCRIPTS = [PIPELINES / name for name in NAMES]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_call_commands_and_options_that_exist(script: Path) -> None:
    text = script.read_text()
    lines = re.findall(r"^ *(?:cfm|-m cfmcli) (\w+)(.*)$", text, re.MULTILINE)
    assert lines
    for name, rest in lines:
        there = {flag for item in COMMANDS[name].params for flag in item.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)) <= there
    if script.suffix == ".sh":
        subprocess.run(["bash", "-n", script], check=True)


def test_the_array_of_shards_is_one_run(
    toy_run: Path, samples: Path, tmp_path: Path, cfm: Cfm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM's part is played by a loop over its variables; what scripts call runs here."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "cfm").write_text("#!/bin/bash\nprintf '%s\\n' \"$@\" > called\n")
    (tools / "cfm").chmod(0o755)
    data = shutil.copy(samples / "source.csv", tmp_path / "data.csv")
    words = ["bash", str(SCRIPTS[0]), str(toy_run), str(data), "out.csv"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")

    def slurm(*more: str, **variables: str) -> None:
        with monkeypatch.context() as task:
            for name, value in variables.items():
                task.setenv(name, value)
            subprocess.run([*words, *more], check=True)
            ran = cfm(*Path("called").read_text().splitlines())
        assert ran.code == 0, ran.err

    array = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "2"}
    slurm(SLURM_ARRAY_TASK_ID="1", **array)
    slurm(SHARD="2/2")
    slurm("merge", "2")
    assert cfm("transport", str(toy_run), str(data), "-o", "one.csv").code == 0
    assert Path("out.csv").read_bytes() == Path("one.csv").read_bytes()


def test_snakemake_runs_the_workflow(samples: Path, tmp_path: Path) -> None:
    """With Snakemake on the path the workflow leads from cells to a report and fates."""
    snakemake = shutil.which("snakemake")
    if not snakemake:
        pytest.skip("snakemake is not installed")
    place = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    there = {**os.environ, "PATH": place, "CFM_STEPS": "50"}
    given = [f"cells={samples / 'timecourse.h5ad'}", "day=day", "label=branch"]
    command = [snakemake, "-s", str(PIPELINES / "Snakefile"), "--cores", "1", "--config", *given]
    subprocess.run(command, check=True, cwd=tmp_path, env=there, capture_output=True)
    assert "</html>" in (tmp_path / "flow" / "report.html").read_text()
    assert (tmp_path / "flow" / "fates.h5ad").exists()
