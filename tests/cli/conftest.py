"""Fixtures of the command line's tests."""

import os
import sys

import pytest

from cfmcli.cli import main
from tests.cli.harness import Cfm, Ran, Stub


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting leaks in from the caller's environment."""
    for name in os.environ:
        if name.startswith("CFM_"):
            monkeypatch.delenv(name)


@pytest.fixture
def cfm(capfd: pytest.CaptureFixture[str]) -> Cfm:
    """`cfm` in this process."""

    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        code = left.value.code
        return Ran(code if isinstance(code, int) else 0, *capfd.readouterr())

    return run


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Stubs in place of the workflows."""
    stub = Stub()
    for name, module in stub.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return stub
