"""Declare: helpers to declare options with help, defaults and environment variables."""

from collections.abc import Callable
from typing import Any

import typer

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.specs import parse_chain


def option(*flags: str, meaning: str, panel: str, unset: str = "", **more: Any) -> Any:
    """Declare an option that can also be set in the environment.

    Args:
        flags: names, the long one first, which determines the variable: --lr is CFM_LR.
        meaning: help text, with the unit.
        panel: title of its group in help.
        unset: effective default, if the default value does not show it.
        more: further arguments of `typer.Option`.
    """
    name = flags[0].lstrip("-").replace("-", "_").upper()
    more |= {"show_default": False} if unset else {}
    shown = rf"{_plain(meaning)} \[default: {_plain(unset)}]" if unset else _plain(meaning)
    return typer.Option(
        *flags, help=shown, rich_help_panel=panel, envvar=f"CFM_{name}", show_envvar=False, **more
    )


def flag(*names: str, meaning: str, panel: str) -> Any:
    """Declare an option without a value."""
    return option(*names, meaning=meaning, panel=panel, metavar="")


def spec(*flags: str, family: str, meaning: str, panel: str, **more: Any) -> Any:
    """Declare an option that takes a catalogue spec, with completion and immediate checks."""
    return option(
        *flags,
        meaning=f"{meaning}; see cfm list {family}.",
        panel=panel,
        metavar="SPEC",
        autocompletion=_completion(family),
        callback=_check(family),
        **more,
    )


def _plain(text: str) -> str:
    """Escape text that rich would interpret as markup."""
    return text.replace("[", r"\[")


def _completion(family: str) -> Callable[[str], list[str]]:
    """Build the shell completion of a spec."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in catalog.names(family) if name.startswith(incomplete)]

    return complete


def _check(family: str) -> Callable[[str | None], str | None]:
    """Build a check that refuses unknown names before anything heavy is loaded."""

    def check(value: str | None) -> str | None:
        try:
            for item in parse_chain(value) if value else ():
                if family == "methods":
                    catalog.preset(item.name)
                else:
                    catalog.entry(family, item.name)
        except ConfigError as error:
            raise typer.BadParameter(str(error)) from None
        return value

    return check
