"""Markup: elements of HTML, in which any text that is not markup already is escaped."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

VOID = ("meta", "img")


class Html(str):
    """Text that is markup already; any other text is escaped where it is put into markup."""

    __slots__ = ()


def tag(element: str, *inside: str, **attributes: str) -> Html:
    """An element; what is not markup already is escaped.

    Args:
        element: its name.
        inside: its content.
        attributes: by name, `class_` for class.
    """
    end = "" if element in VOID else f"</{element}>"
    said = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{element}{said}>{join(inside)}{end}")


def join(parts: Iterator[str] | Sequence[str]) -> Html:
    """Parts one after the other, escaped where they are no markup."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def word(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, list | tuple):
        return ", ".join(map(word, value))
    if value is None or value == "":
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Html:
    """A table whose first column names its rows."""
    top = tag("tr", *(tag("th", name, scope="col") for name in head))
    lines = (
        tag("tr", tag("th", word(row[0]), scope="row"), *(_cell(value) for value in row[1:]))
        for row in rows
    )
    return tag("table", tag("caption", title), tag("thead", top), tag("tbody", *lines))


def _cell(value: Any) -> Html:
    """A cell; numbers stand to the right."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return tag("td", word(value), **({"class_": "number"} if number else {}))


def folded(title: str, inside: Html) -> Html:
    """Something that opens when it is asked for."""
    return tag("details", tag("summary", title), inside)
