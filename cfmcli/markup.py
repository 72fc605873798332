"""Markup: HTML elements that escape any text which is not markup already."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

VOID = ("meta", "img")


class Html(str):
    """Text that is markup already; plain strings are escaped when inserted."""

    __slots__ = ()


def tag(element: str, *inside: str, **attributes: str) -> Html:
    """Build an element; content that is not markup is escaped.

    Args:
        element: its name.
        inside: its content.
        attributes: attributes by name, with `class_` for class.
    """
    end = "" if element in VOID else f"</{element}>"
    said = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{element}{said}>{join(inside)}{end}")


def join(parts: Iterator[str] | Sequence[str]) -> Html:
    """Concatenate parts, escaping those that are not markup."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def word(value: Any) -> str:
    """Format a value on one line."""
    if isinstance(value, list | tuple):
        return ", ".join(map(word, value))
    if value is None or value == "":
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Html:
    """Build a table whose first column holds row headers."""
    top = tag("tr", *(tag("th", name, scope="col") for name in head))
    lines = (
        tag("tr", tag("th", word(row[0]), scope="row"), *(_cell(value) for value in row[1:]))
        for row in rows
    )
    return tag("table", tag("caption", title), tag("thead", top), tag("tbody", *lines))


def _cell(value: Any) -> Html:
    """Build a cell; numbers are right-aligned."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return tag("td", word(value), **({"class_": "number"} if number else {}))


def folded(title: str, inside: Html) -> Html:
    """Build a collapsible section."""
    return tag("details", tag("summary", title), inside)
