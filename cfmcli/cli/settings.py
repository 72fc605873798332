"""Settings: options of `cfm fit` that correspond to recipe fields."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cfmcli import recipe
from cfmcli.cli.declare import option, spec
from cfmcli.errors import ConfigError
from cfmcli.layers import from_toml
from cfmcli.requests import OWN, Condition

# The files are positional, and the seed is an option of every command.
_ELSEWHERE = ("inputs", "seed")
_REPEATABLE = ("holdout",)
_PANELS = {"data": "Data", "method": "Method", "training": "Training"}
_FAMILIES = {
    "method": "methods",
    "coupling": "couplings",
    "interpolant": "interpolants",
    "objective": "objectives",
    "field": "fields",
    "preprocess": "preparations",
    "transform": "transforms",
}
_NAMED = {"from_run": "RUN", "steps": "INT|auto", "where": "QUERY"}
_METAVARS = {str: "TEXT", int: "INT", float: "FLOAT"}
_UNSET = {
    "id_key": "cell, barcode, id, obs_names, or a column without a name",
    "features": "all numeric columns",
    "where": "all points",
    "layer": "X",
    "use_rep": "X",
    "transform": "standardize; none after --preprocess",
    "times": "0,1,2,...",
    "time_order": "category order, else the numbers in the labels",
    "coupling": "the method's",
    "interpolant": "the method's",
    "objective": "the method's",
}


def recipe_options() -> list[inspect.Parameter]:
    """Build a parameter for each recipe field but inputs and seed, unset unless given."""
    kinds = get_type_hints(recipe.Recipe)
    return [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_annotation(item.name, item.metadata["section"], kinds[item.name]),
        )
        for item in dataclasses.fields(recipe.Recipe)
        if item.name not in _ELSEWHERE
    ]


def layer(given: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the given settings as a layer of a recipe.

    Args:
        given: option values by field name, None if not given.

    Raises:
        ConfigError: if a list cannot be parsed.
    """
    return {
        name: _READERS.get(name, _same)(name, value)
        for name, value in given.items()
        if value is not None and value != []
    }


def stored(path: str) -> dict[str, Any]:
    """Read a recipe file as a layer of a recipe; empty without a file.

    Raises:
        ConfigError: if it cannot be read, or is not a recipe.
    """
    if not path:
        return {}
    try:
        return from_toml(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: it could not be read ({error}).") from None


def words(text: str) -> tuple[str, ...]:
    """Split a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def condition(label: str, covariates: str, guidance: float = OWN.guidance) -> Condition:
    """Parse a condition from options.

    Args:
        label: a class, or empty.
        covariates: `dose=0.5,age=3`, or empty.
        guidance: scale of classifier-free guidance.

    Raises:
        ConfigError: if the covariates cannot be parsed, or a number is out of range.
    """
    pairs = [_assigned(item) for item in words(covariates)]
    if len(dict(pairs)) < len(pairs):
        raise ConfigError(f"--covariate {covariates}: a column stands there twice.")
    return Condition(label, dict(pairs), guidance)


def _assigned(item: str) -> tuple[str, float]:
    """Parse `dose=0.5`."""
    name, _, number = item.rpartition("=")
    with suppress(ValueError):
        if name.strip():
            return name.strip(), float(number)
    raise ConfigError(f"--covariate '{item}': expected a column and a number, such as dose=0.5.")


def _annotation(name: str, section: str, kind: Any) -> Any:
    """Build the annotation of a recipe field's option."""
    default = recipe.default(name)
    common: dict[str, Any] = {
        "meaning": _sentence(recipe.meaning(name), name in _FAMILIES),
        "panel": _PANELS[section],
        "unset": str(default) if default not in ("", ()) else _UNSET.get(name, "none"),
    }
    flag = recipe.option(name)
    if name in _FAMILIES:
        return Annotated[str | None, spec(flag, family=_FAMILIES[name], **common)]
    if name in _REPEATABLE:
        return Annotated[list[str] | None, option(flag, metavar="TIME", **common)]
    if kind not in _METAVARS:
        return Annotated[str | None, option(flag, metavar=_NAMED.get(name, "LIST"), **common)]
    shown = "COLUMN" if name.endswith("_key") else _NAMED.get(name, _METAVARS[kind])
    return Annotated[kind | None, option(flag, metavar=shown, **common)]


def _sentence(meaning: str, is_spec: bool) -> str:
    """Format a field's meaning for help; that of a spec is completed where it is declared."""
    said = meaning[0].upper() + meaning[1:].partition(" (see ")[0]
    return said if is_spec else f"{said}."


def _numbers(name: str, text: str) -> tuple[float, ...]:
    """Parse a list of numbers."""
    try:
        return tuple(float(word) for word in words(text))
    except ValueError:
        raise ConfigError(
            f"{recipe.option(name)} {text}: expected numbers separated by commas, such as 0,2,7."
        ) from None


def _count(name: str, text: str) -> int | str:
    """Parse a number; other words are left to the recipe."""
    with suppress(ValueError):
        return int(text)
    return text


def _words(name: str, text: str) -> tuple[str, ...]:
    """Parse a list of words."""
    return words(text)


def _repeated(name: str, values: list[str]) -> tuple[str, ...]:
    """Convert the values of a repeatable option."""
    return tuple(values)


def _same(name: str, value: Any) -> Any:
    """Keep a value as parsed by Typer."""
    return value


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "steps": _count,
    "times": _numbers,
    "time_order": _words,
    "time_map": _words,
    "holdout": _repeated,
    "covariates": _words,
}
