"""`cfm list`."""

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cfmcli import catalog
from cfmcli.cards import Card, describe
from cfmcli.cli.command import Session, command
from cfmcli.requests import Outcome

_FAMILIES = ", ".join(catalog.FAMILIES)
Family = Annotated[
    str,
    typer.Argument(
        metavar="FAMILY", help=f"One of {_FAMILIES}.", autocompletion=lambda: catalog.FAMILIES
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name of that family.")]


def list_names(session: Session, family: Family = "", name: Name = "") -> Outcome:
    """Print the names a spec may use, with their options, defaults, meaning and reference.

    Example:
    cfm list couplings
    cfm list solvers dopri5
    """
    if not family:
        return _overview(session)
    cards = [describe(family, item) for item in ([name] if name else catalog.names(family))]
    session.answer("\n\n".join("\n".join(_lines(card)) for card in cards))
    return Outcome(figures={family: [_figures(card) for card in cards]})


def _overview(session: Session) -> Outcome:
    """List all families and their names."""
    names = {family: list(catalog.names(family)) for family in catalog.FAMILIES}
    width = max(map(len, names))
    lines = [_wrapped(f"{family:<{width}}  ", ", ".join(known)) for family, known in names.items()]
    session.answer("\n".join(lines))
    return Outcome(figures=names)


def _lines(card: Card) -> Iterator[str]:
    """Format a card as lines of text."""
    yield _wrapped(f"{card.name}  ", card.summary, hang=4)
    for item in card.options:
        yield _wrapped(f"    {item.name}={item.default}  ", f"({item.kind}) {item.meaning}", hang=8)
    if card.use:
        yield _wrapped("    Use: ", card.use, hang=8)
    if card.reference:
        yield _wrapped("    Reference: ", card.reference, hang=8)


def _wrapped(head: str, text: str, hang: int | None = None) -> str:
    """Wrap text to the terminal with a hanging indent below its head."""
    indent = " " * (len(head) if hang is None else hang)
    width = min(shutil.get_terminal_size().columns, 100)
    return textwrap.fill(text, width, initial_indent=head, subsequent_indent=indent)


def _figures(card: Card) -> dict[str, Any]:
    """The card as JSON values."""
    return dataclasses.asdict(card)


COMMAND = command("list", list_names, answers=True)
