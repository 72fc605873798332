"""Shared by the statistical suite: one sleeping thread, and the table of what was measured."""

import os
from pathlib import Path

import pytest

from tests.statistical.figures import Figures

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

KEY = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    """An empty table for the session."""
    config.stash[KEY] = Figures()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """The table that every test adds its rows to."""
    return pytestconfig.stash[KEY]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table, and write it where CFM_TABLE says."""
    text = config.stash[KEY].text()
    if not text:
        return
    terminalreporter.section("measured")
    terminalreporter.write_line(text)
    path = os.environ.get("CFM_TABLE")
    if path:
        Path(path).write_text(text + "\n", encoding="utf-8")
