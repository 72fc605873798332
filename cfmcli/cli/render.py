"""Render: formats results as indented text or JSON."""

import math
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

_WIDE = 1000
_MANY, _SOME = 30, 10
"""Length above which lists are abbreviated in text, and number of items shown then."""


def as_text(figures: Mapping[str, Any]) -> str:
    """Format figures as indented lines, omitting empty ones."""
    return "\n".join(_lines(figures, ""))


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows with equal keys as aligned columns, numbers right-aligned."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return ""
    table = Table(box=None, pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(_word(value) for value in row.values()))
    page = StringIO()
    Console(file=page, width=_WIDE, color_system=None, markup=False).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def as_json(figures: Mapping[str, Any]) -> str:
    """Format figures as one JSON object; non-finite numbers become null."""
    import json

    return json.dumps(_plain(figures), ensure_ascii=False, allow_nan=False)


def _lines(figures: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Yield a line for each figure, with nested ones below their name."""
    for key, value in figures.items():
        if isinstance(value, Mapping):
            inner = list(_lines(value, indent + "  "))
            yield from [f"{indent}{key}:", *inner] if inner else []
        elif _is_table(value):
            yield f"{indent}{key}:"
            yield from (f"{indent}  - {_row(row)}" for row in value)
        elif _word(value):
            yield f"{indent}{key}: {_word(value)}"


def _is_table(value: Any) -> bool:
    """Whether a value is a list of mappings."""
    return isinstance(value, list | tuple) and any(isinstance(row, Mapping) for row in value)


def _row(figures: Mapping[str, Any]) -> str:
    """Format figures on one line."""
    return ", ".join(f"{key}: {_word(value)}" for key, value in figures.items() if _word(value))


def _word(value: Any) -> str:
    """Format a value on one line; empty if it has no content."""
    if isinstance(value, list | tuple):
        rest = f", ... ({len(value):,} in all)" if len(value) > _MANY else ""
        return ", ".join(map(_word, value[:_SOME] if rest else value)) + rest
    if isinstance(value, Mapping):
        return f"({_row(value)})" if value else ""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """Convert a value to JSON types; other objects become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
