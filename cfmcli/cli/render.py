"""Figures for people and for machines: indented lines, and JSON."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any


def as_text(figures: Mapping[str, Any]) -> str:
    """Figures as indented lines, those without content left out."""
    return "\n".join(_lines(figures, ""))


def as_json(figures: Mapping[str, Any]) -> str:
    """Figures as one JSON object: what is not finite becomes null."""
    return json.dumps(_plain(figures), ensure_ascii=False, allow_nan=False)


def _lines(figures: Mapping[str, Any], indent: str) -> Iterator[str]:
    """A line for each figure, nested ones below their name."""
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
    """Whether it is a list of mappings."""
    return isinstance(value, list | tuple) and any(isinstance(row, Mapping) for row in value)


def _row(figures: Mapping[str, Any]) -> str:
    """Figures on one line."""
    return ", ".join(f"{key}: {_word(value)}" for key, value in figures.items() if _word(value))


def _word(value: Any) -> str:
    """A figure on one line, empty where it says nothing."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_word, value))
    if isinstance(value, Mapping):
        return f"({_row(value)})" if value else ""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """A value as JSON allows: what is not plain becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
