"""Shared by the statistical suite: one sleeping thread, and the table of what was measured."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.statistical.figures import Figures

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

KEY, HERE = pytest.StashKey[Figures](), Path(__file__).parent
LAST = 10**6


def pytest_configure(config: pytest.Config) -> None:
    """The table for the session: empty, or as far as CFM_TABLE has it."""
    path = os.environ.get("CFM_TABLE")
    config.stash[KEY] = Figures(Path(path) if path else None)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """The table that every test adds its rows to."""
    return pytestconfig.stash[KEY]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One seed after the other, so that a run that is stopped has whole seeds; none twice."""
    own = [item for item in items if item.path.parent == HERE]
    known = config.stash[KEY].passed
    config.hook.pytest_deselected(items=[item for item in own if item.nodeid in known])
    rest = sorted((item for item in own if item.nodeid not in known), key=seed)
    items[:] = [item for item in items if item.path.parent != HERE] + rest


def seed(item: pytest.Item) -> int:
    """The seed of a test; those of all seeds come last."""
    given = getattr(item, "callspec", None)
    return int(given.params.get("seed", LAST)) if given else LAST


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Keep what a test measured, unless it broke."""
    report = yield
    kept = call.when == "call" and item.path.parent == HERE
    if kept and (report.passed or (call.excinfo and call.excinfo.errisinstance(AssertionError))):
        item.config.stash[KEY].close(item.nodeid, report.passed)
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A demand that an earlier part missed is missed still."""
    figures = session.config.stash[KEY]
    if figures.passed and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode(bool(figures.missed()))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table, and write it as text beside the file that CFM_TABLE names."""
    figures = config.stash[KEY]
    text = figures.text()
    if not text:
        return
    terminalreporter.section("measured")
    terminalreporter.write_line(text)
    if figures.path:
        figures.path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
