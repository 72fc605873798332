"""Shared by the statistical suite: one sleeping thread, and the table of what was measured."""

import os
from collections.abc import Generator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.statistical.figures import Figures

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

KEY, HERE, TABLE = pytest.StashKey[Figures](), Path(__file__).parent, "CFM_TABLE"
FIRST = ("table", "multisample", "mixtures", "conditional", "funnel", "bridge")
"""The parts that are measured first of each seed."""


def pytest_configure(config: pytest.Config) -> None:
    """The table of the session, which several processes may share: of CFM_TABLE, or a new one."""
    if TABLE not in os.environ:
        folder = TemporaryDirectory()
        config.add_cleanup(folder.cleanup)
        config.add_cleanup(partial(os.environ.__delitem__, TABLE))
        os.environ[TABLE] = str(Path(folder.name) / "table.csv")
    config.stash[KEY] = Figures(Path(os.environ[TABLE]))


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """The table that every test adds its rows to."""
    return pytestconfig.stash[KEY]


@pytest.fixture(scope="session")
def seeds() -> range:
    """All seeds; what asks for them is measured last."""
    return range(5)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One seed after the other, so that a run that is stopped has whole seeds."""
    own = [item for item in items if item.path.parent == HERE]
    items[:] = [item for item in items if item.path.parent != HERE] + sorted(own, key=turn)


def turn(item: pytest.Item) -> tuple[bool, int, int]:
    """When a test has its turn: by seed, the first where it has none, then by part."""
    given = getattr(item, "callspec", None)
    seed = int(given.params.get("seed", 0)) if given else 0
    part = item.path.stem.removeprefix("test_")
    place = FIRST.index(part) if part in FIRST else len(FIRST)
    return "seeds" in getattr(item, "fixturenames", ()), seed, place


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Nothing is measured twice."""
    if item.path.parent == HERE and item.config.stash[KEY].known(item.nodeid):
        pytest.skip("measured before")


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
    """A demand that an earlier part, or another process, missed is missed still."""
    figures = session.config.stash[KEY]
    figures.read()
    if figures.passed and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode(bool(figures.missed()))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table, and write it as text beside its file."""
    figures = config.stash[KEY]
    text = figures.text()
    if not text:
        return
    terminalreporter.section("measured")
    terminalreporter.write_line(text)
    figures.path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
