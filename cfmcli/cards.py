"""Cards: the content of `cfm list`, read from the fields and docstrings of classes."""

import inspect
import re
from dataclasses import dataclass

from cfmcli import catalog


@dataclass(frozen=True)
class Option:
    """One option of a catalogue entry, as `cfm list` shows it."""

    name: str
    kind: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Card:
    """The content of `cfm list` for a catalogue entry."""

    name: str
    summary: str
    options: tuple[Option, ...] = ()
    reference: str = ""
    use: str = ""


def describe(family: str, name: str) -> Card:
    """Build the card of a name from the fields and docstring of its class."""
    if family == "methods":
        found = catalog.preset(name)
        triple = f"{found.coupling} + {found.interpolant} + {found.objective}"
        parts = (Option("triple", "spec", triple, "coupling + interpolant + objective"),)
        return Card(name, found.summary, parts, found.reference, found.use)
    item = catalog.entry(family, name)
    target = item.load()
    doc = inspect.getdoc(target) or ""
    meanings = _arguments(doc)
    options = tuple(
        Option(key, kind.__name__, str(getattr(target, key)), meanings.get(key, ""))
        for key, kind in item.kinds().items()
    )
    summary = item.summary or doc.partition("\n")[0]
    return Card(name, summary, options, _section(doc, "Reference"), _section(doc, "Use"))


def _section(doc: str, title: str) -> str:
    """Extract a one-paragraph section "Title: text" from a docstring, as one line."""
    match = re.search(rf"^{title}:\s*(.+?)(?=\n\s*\n|\n\w+:|\Z)", doc, re.MULTILINE | re.DOTALL)
    return " ".join(match.group(1).split()) if match else ""


def _arguments(doc: str) -> dict[str, str]:
    """Extract option name -> meaning from the Args section of a docstring."""
    match = re.search(r"^Args:\n(.+?)(?=\n\s*\n|\n\w+:|\Z)", doc, re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    last = ""
    for line in (match.group(1) if match else "").splitlines():
        head = re.match(r"    (\w+): (.*)", line)
        if head:
            last, found[head.group(1)] = head.group(1), head.group(2)
        elif last:
            found[last] += " " + line.strip()
    return found
