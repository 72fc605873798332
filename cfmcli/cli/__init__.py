"""The command line: options become a recipe or a request, a workflow acts, the answer is shown."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import cfmcli
from cfmcli.cli.boundary import UsageError, hush, usage
from cfmcli.cli.command import command
from cfmcli.cli.evaluate import evaluate, told
from cfmcli.cli.fate import fate
from cfmcli.cli.fit import fit
from cfmcli.cli.genes import genes
from cfmcli.cli.info import info
from cfmcli.cli.interpolate import interpolate
from cfmcli.cli.likelihood import likelihood
from cfmcli.cli.list import list_names
from cfmcli.cli.merge import merge
from cfmcli.cli.plot import plot
from cfmcli.cli.report import report
from cfmcli.cli.sample import sample
from cfmcli.cli.settings import recipe_options
from cfmcli.cli.transport import transport

_ENVIRONMENT = (
    "Every option can be set in the environment as CFM_NAME: CFM_STEPS=200 is --steps 200."
)

app = typer.Typer(
    name="cfm",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_ENVIRONMENT,
)


def _version(wanted: bool) -> None:
    """Print the bare version number and leave."""
    if wanted:
        typer.echo(cfmcli.__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _overview(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version number.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Learn how one distribution turns into another, and carry points along.

    Example:
    cfm fit source.csv target.csv -o run
    cfm transport run source.csv -o moved.csv
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)


_COMMANDS = {
    "fit": command("fit", fit, recipe_options()),
    "sample": command("sample", sample),
    "transport": command("transport", transport),
    "likelihood": command("likelihood", likelihood),
    "interpolate": command("interpolate", interpolate),
    "merge": command("merge", merge),
    "fate": command("fate", fate),
    "genes": command("genes", genes),
    "evaluate": command("evaluate", evaluate, recipe_options(), told=told),
    "plot": command("plot", plot),
    "report": command("report", report),
    "info": command("info", info, answers=True),
    "list": command("list", list_names, answers=True),
}
for _name, _command in _COMMANDS.items():
    app.command(_name, epilog=_ENVIRONMENT)(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `cfm` and leave with its exit code.

    Args:
        arguments: what follows `cfm` on the command line; None takes it from the shell.
    """
    # Threads that spin while they wait slow small networks twentyfold on a shared machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(args=arguments, prog_name="cfm", standalone_mode=False)
    except UsageError as error:
        code = usage(error)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except SystemExit as error:  # rich leaves so when the reader of the help has gone
        code = hush(sys.stdout) if isinstance(error.__context__, BrokenPipeError) else error.code
    sys.exit(code)
