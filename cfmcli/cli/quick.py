"""Quick: a faster Typer, which parses plain values itself and skips unused imports in help.

Typer reads every value with Pydantic and loads Markdown for every page of help. Each takes longer
than starting cfm itself. Values that are not plain, and all errors, are still left to Typer.
"""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, get_args

import typer

HELP = ["-h", "--help"]
_TEXTS = (str, str | None, list[str], list[str] | None)
_NUMBERS = {int: int, int | None: int, float: float, float | None: float}
_UNUSED = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}


def quick(command: Any, annotations: Mapping[str, Any]) -> Any:
    """Speed up a Typer command.

    Args:
        command: the command.
        annotations: annotations of its function: a type, and the option's declaration.
    """
    context = typer.Context(command, help_option_names=HELP)
    for item in command.get_params(context):  # including --help
        kind, declared = get_args(annotations.get(item.name)) or (None, None)
        item.process_value = _reader(item, kind, declared, item.process_value)
    command.format_help = _page(command.format_help)
    return command


def _reader(
    item: Any, kind: Any, declared: Any, usual: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """Build a value parser: plain values directly, others through Typer."""

    def read(context: Any, value: Any) -> Any:
        missing = value in (None, ())
        known = None if missing else _plain(value, kind, declared)
        if item.required if missing else known is None:
            return usual(context, value)
        return item.callback(context, item, known) if item.callback else known

    return read


def _plain(value: Any, kind: Any, declared: Any) -> Any:
    """Convert a plain value and check its bounds; None if Typer has to handle it."""
    if isinstance(value, bool) or kind in _TEXTS:
        return value
    try:
        number = _NUMBERS[kind](value)
    except (KeyError, TypeError, ValueError):
        return None
    low, high = declared.min, declared.max
    inside = (low is None or number >= low) and (high is None or number <= high)
    return number if inside else None


def _page(usual: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Wrap Typer's help page to skip imports of Markdown and tracebacks, which it never shows."""

    def show(context: Any, formatter: Any) -> None:
        stand_ins = {name: ModuleType(name) for name in _UNUSED if name not in sys.modules}
        for name, module in stand_ins.items():
            setattr(module, _UNUSED[name], type(_UNUSED[name], (), {}))
        sys.modules.update(stand_ins)
        try:
            import typer.rich_utils  # noqa: F401
        finally:
            for name in stand_ins:
                del sys.modules[name]
        usual(context, formatter)

    return show
