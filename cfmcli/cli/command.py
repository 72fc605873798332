"""Command: builds Typer commands from actions, with common options and the error boundary."""

import inspect
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

import cfmcli
from cfmcli.cli.boundary import guarded
from cfmcli.cli.common import Common
from cfmcli.cli.console import Console
from cfmcli.cli.progress import listening
from cfmcli.cli.render import as_json, as_text
from cfmcli.errors import ConfigError
from cfmcli.requests import Listener, Outcome, Runtime

_WRITES = {"fit": "a folder", "plot": "a folder or a picture", "report": "a file"}
"""Commands whose output cannot go to stdout, with what they write."""
_COMMON = inspect.signature(Common).parameters


@dataclass(frozen=True)
class Session:
    """Context that a command passes to its action.

    Args:
        common: options common to all commands.
        listen: receives the action's progress.
        arguments: the command line after `cfm`.
        warnings: warnings issued so far.
    """

    common: Common
    listen: Listener
    arguments: tuple[str, ...]
    warnings: Sequence[str] = ()

    def runtime(self, *, force: bool = False, seed: int | None = None) -> Runtime:
        """Build the runtime settings of the action.

        Args:
            force: whether outputs may be overwritten.
            seed: seed of the recipe, if any.
        """
        chosen = self.common.seed if seed is None else seed
        return Runtime(
            device=self.common.device,
            threads=self.common.threads,
            force=force,
            seed=Runtime.seed if chosen is None else chosen,
            command=shlex.join(["cfm", *self.arguments]),
            warnings=self.warnings,
        )

    def answer(self, text: str) -> None:
        """Print an answer on stdout, unless --json is given."""
        if not self.common.json:
            sys.stdout.write(text + "\n")


def command(
    name: str,
    action: Callable[..., Outcome],
    more: Sequence[inspect.Parameter] = (),
    *,
    answers: bool = False,
    told: Callable[[Mapping[str, Any]], str] = as_text,
) -> Callable[..., None]:
    """Build the Typer command of an action: its own options, then the common ones.

    Args:
        name: name of the command.
        action: takes a session and its own options by name.
        more: options that the action takes as keywords beside those it declares.
        answers: whether the action prints its results on stdout itself.
        told: formats its results for display on stderr.
    """

    def run(**values: Any) -> None:
        common = Common(**{key: values.pop(key) for key in _COMMON})
        console = Console(quiet=common.quiet, verbose=common.verbose, log_file=common.log_file)
        work = _Work(name, action, common, console, told=None if answers else told)
        raise typer.Exit(guarded(lambda: work(values), console, debug=common.debug))

    named = inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(action).parameters.values())[1:]
    declared = [item for item in own if item.kind is not inspect.Parameter.VAR_KEYWORD]
    every = [item.replace(kind=named) for item in (*declared, *more, *_COMMON.values())]
    run.__doc__ = action.__doc__
    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in every}
    return run


@dataclass(frozen=True)
class _Work:
    """Runs an action and reports its outcome."""

    name: str
    action: Callable[..., Outcome]
    common: Common
    console: Console
    told: Callable[[Mapping[str, Any]], str] | None

    def __call__(self, values: dict[str, Any]) -> None:
        """Run the action with the values of its own options."""
        arguments = tuple(sys.argv[1:])
        start = time.perf_counter()
        self.console.open(f"{shlex.join(['cfm', *arguments])}  (cfm {cfmcli.__version__})")
        if self.common.json and values.get("output") == "-":
            raise ConfigError("--json and an output of - both want stdout: write -o to a file.")
        if values.get("output") == "":
            raise ConfigError("-o is empty: name what to write.")
        if values.get("output") == "-" and self.name in _WRITES:
            what = _WRITES[self.name]
            raise ConfigError(f"-o -: cfm {self.name} writes {what}, not to stdout: name {what}.")
        aloud = not (self.common.quiet or self.common.no_progress)
        with self.console.hearing_warnings(), listening(self.console, aloud=aloud) as listen:
            session = Session(self.common, listen, arguments, self.console.warnings)
            outcome = self.action(session, **values)
        self._tell(outcome, time.perf_counter() - start)

    def _tell(self, outcome: Outcome, seconds: float) -> None:
        """Report the outcome as text on stderr, or as JSON on stdout."""
        if not outcome.told:
            return
        for note in outcome.notes:
            self.console.once(note)
        if self.common.json:
            sys.stdout.write(self._report(outcome, seconds) + "\n")
        elif outcome.figures and self.told:
            self.console.note(self.told(outcome.figures))
        for what, path in outcome.outputs.items():
            self.console.detail(f"{what}: {path}")
        self.console.detail(f"{seconds:.1f} s")

    def _report(self, outcome: Outcome, seconds: float) -> str:
        """Format the JSON object: common entries, then the action's results."""
        about = {
            "command": self.name,
            "version": cfmcli.__version__,
            "outputs": dict(outcome.outputs),
            "seconds": round(seconds, 3),
            "warnings": self.console.warnings,
        }
        return as_json(about | dict(outcome.figures) | about)
