"""The documents: every command in them runs, and their tables are the catalogue's."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from cfmcli.presets import METHODS
from tests.cli.harness import Cfm

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SET_UP = 2


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language in the README."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample data, as a reader of the README has it."""
    place = tmp_path_factory.mktemp("desk")
    shutil.copytree(ROOT / "sample_data", place / "sample_data")
    return place


def test_every_command_of_the_readme_runs(
    desk: Path, cfm: Cfm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page, each with exit code 0; fits are shortened, nothing else is."""
    monkeypatch.chdir(desk)
    monkeypatch.setenv("CFM_STEPS", "60")
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    set_up, rest = lines[:SET_UP], lines[SET_UP:]
    commands = [set_up[0].split(" && ")[-1].removeprefix(".venv/bin/"), *rest]
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "cfm"
        done = cfm(*arguments)
        assert done.code == 0, f"{command}\n{done.err}"


def test_the_python_of_the_readme_runs(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands."""
    monkeypatch.chdir(desk)
    for block in blocks("python"):
        scope: dict[str, object] = {}
        exec(compile(block.replace("steps=500", "steps=20"), "README.md", "exec"), scope)
    assert (desk / "notebook-run" / "model.safetensors").exists()


def test_the_set_up_takes_two_commands() -> None:
    """One installs and runs the main job, one installs and runs the tests."""
    first, second = (block.strip().splitlines() for block in blocks("sh")[:SET_UP])
    assert len(first) == len(second) == 1
    assert "pip install" in first[0]
    assert "cfm fit sample_data" in first[0]
    assert "pip install" in second[0]
    assert second[0].endswith("pytest")


def test_the_table_of_methods_is_the_catalogue() -> None:
    """A row for each method, with its triple, use and reference."""
    table = README.partition("<!-- methods")[2].partition("<!-- end")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{name}` | `{p.coupling}` | `{p.interpolant}` | `{p.objective}` | {p.use} | "
        f"{p.reference} |"
        for name, p in METHODS.items()
    ]
