"""Values read the short way are those that Typer reads."""

from typing import Annotated, Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as some

from cfmcli.cli.quick import quick

Bounded = Annotated[int, typer.Option(min=2, max=9)]
Positive = Annotated[float | None, typer.Option(min=0)]
Text = Annotated[str, typer.Option()]
Listed = Annotated[list[str] | None, typer.Option()]
Flag = Annotated[bool, typer.Option("--flag", envvar="CFM_FLAG")]
Files = Annotated[list[str], typer.Argument()]


def asked(
    files: Files,
    whole: Bounded = 3,
    real: Positive = None,
    text: Text = "",
    listed: Listed = None,
    flag: Flag = False,
) -> Any:
    """Options of every kind that cfm declares."""
    return files, whole, real, text, listed, flag


def read(arguments: list[str], *, quickly: bool) -> Any:
    """What a command is given, or the message of its refusal."""
    app = typer.Typer(add_completion=False)
    app.command()(asked)
    command: Any = typer.main.get_command(app)
    command = quick(command, asked.__annotations__) if quickly else command
    try:
        return command.main(arguments, standalone_mode=False)
    except Exception as error:
        return type(error).__name__, str(error), getattr(error, "message", "")


numbers = some.one_of(
    some.integers().map(str),
    some.integers(0, 12).map(str),
    some.floats().map(str),
    some.text(max_size=4),
    some.sampled_from(["", " 3 ", "3.0", "1_0", "1e1", "nan", "inf", "-0", "+5", "0x3", "five"]),
)


@given(value=numbers, name=some.sampled_from(["--whole", "--real", "--text", "--listed"]))
def test_a_value_is_what_typer_reads(value: str, name: str) -> None:
    """The same value, or the same message, whatever is typed; NaN is the same as NaN."""
    arguments = ["a.csv", f"{name}={value}"]
    assert repr(read(arguments, quickly=True)) == repr(read(arguments, quickly=False))


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "b"],
        [],
        ["a", "--flag"],
        ["a", "--no-flag"],
        ["a", "--listed", "x", "--listed", "y"],
        ["a", "--real", "-1"],
        ["a", "--whole", "10"],
        ["a", "--whole"],
        ["a", "--other", "1"],
    ],
    ids=" ".join,
)
def test_a_command_line_is_what_typer_reads(arguments: list[str]) -> None:
    assert repr(read(arguments, quickly=True)) == repr(read(arguments, quickly=False))


@pytest.mark.parametrize("value", ["1", "0", "true", "maybe", ""])
def test_the_environment_is_read_as_typer_does(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFM_FLAG", value)
    assert repr(read(["a"], quickly=True)) == repr(read(["a"], quickly=False))
