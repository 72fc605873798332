"""App: the application, whose commands are loaded when needed."""

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import cfmcli
from cfmcli.cli.boundary import UsageError, hush, usage
from cfmcli.cli.quick import HELP, quick

VERBS = {
    "fit": "Learn the flow between snapshots, and write it as a run folder.",
    "sample": "Draw points of the source and carry them to a time.",
    "transport": "Carry given points from one time to another, forward or backward.",
    "likelihood": "Compute the log density, in nats, of given points at a time.",
    "interpolate": "Follow points through time, and write each at each of the chosen times.",
    "merge": "Put the files of shards together: the file that one run would have written.",
    "fate": "Tell the fates of points: the probability of each class they may reach.",
    "genes": "Follow expression along trajectories: its mean and quartiles at each time.",
    "evaluate": "Score methods at times they have not seen, or a run against what was observed.",
    "plot": "Draw a run: clouds, velocities, held-out times, trends, fates, loss.",
    "report": "Write one self-contained HTML page about a run.",
    "info": "Print what a run or a data file is: shapes, times, counts, recipe, provenance.",
    "list": "Print the names a spec may use, with their options, defaults, meaning and reference.",
}
_ENVIRONMENT = (
    "Every option can be set in the environment as CFM_NAME: CFM_STEPS=200 is --steps 200."
)


class _Verbs(TyperGroup):
    """Command group whose commands are only names and summaries until they are invoked."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve the command at the start of the arguments and load it."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, known and verb(str(name)), rest


app = typer.Typer(
    name="cfm",
    cls=_Verbs,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": HELP},
    epilog=_ENVIRONMENT,
)


def _version(wanted: bool) -> None:
    """Print the bare version number and exit."""
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


def verb(name: str) -> Any:
    """Load the command with the given name."""
    module = importlib.import_module(f"cfmcli.cli.{name}")
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    alone.command(name, epilog=_ENVIRONMENT)(module.COMMAND)
    return quick(typer.main.get_command(alone), module.COMMAND.__annotations__)


def run(arguments: Sequence[str] | None) -> Any:
    """Parse a command line and run it.

    Returns:
        The exit code.
    """
    verbs = quick(typer.main.get_command(app), {})
    for name, summary in VERBS.items():
        verbs.add_command(TyperCommand(name=name, help=summary))
    try:
        return verbs.main(args=arguments, prog_name="cfm", standalone_mode=False)
    except UsageError as error:
        given = sys.argv[1:] if arguments is None else arguments
        return usage(error, next((word for word in given if word in VERBS), ""))
    except typer.Abort:
        return 130
    except SystemExit as error:  # rich exits so if the reader of the help is gone
        return hush(sys.stdout) if isinstance(error.__context__, BrokenPipeError) else error.code
