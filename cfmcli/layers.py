"""Layers: recipe settings merged from files and options, with later ones taking precedence."""

import math
from collections.abc import Mapping
from typing import Any, get_type_hints

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.recipe import FIELDS, SECTIONS, Recipe, option

BRINGS = {"method": ("coupling", "interpolant", "objective"), "preprocess": ("transform",)}
"""Settings that imply other settings, and which."""
LABELS, OFTEN_ONE = ("holdout", "time_order"), ("holdout", "covariates")
"""Settings that are lists of time labels, and lists that may be given as a single word."""
EXACT = 1e16
"""Whole numbers below this are written digit for digit."""
_KINDS = get_type_hints(Recipe)
_WORDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    int | str: "a whole number or a word",
    tuple[float, ...]: "a list of numbers, such as [0, 2, 7]",
    tuple[str, ...]: 'a list of texts, such as ["a", "b"]',
}


def from_layers(*layers: Mapping[str, Any]) -> Recipe:
    """Merge layers of settings into a recipe; later layers take precedence.

    A method implies its own parts, and a preparation its chain: they replace what earlier layers
    have set.

    Args:
        layers: setting name -> value; values of the wrong type are refused.

    Raises:
        ConfigError: for an unknown setting or a value of the wrong type.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        replaced = {name for given, names in BRINGS.items() if layer.get(given) for name in names}
        values = {name: value for name, value in values.items() if name not in replaced}
        for name, value in layer.items():
            if name not in FIELDS:
                known = catalog.did_you_mean(name, FIELDS)
                raise ConfigError(f"Unknown setting '{name}'.{known}")
            values[name] = _typed(name, value)
    return Recipe(**values)


def from_toml(text: str, origin: str = "recipe") -> dict[str, Any]:
    """Parse a TOML recipe, flat or by section, into a layer for `from_layers`.

    Raises:
        ConfigError: if it is not TOML, or has a table that is not a recipe section.
    """
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin} is not valid TOML: {error}.") from None
    layer: dict[str, Any] = {}
    for name, value in document.items():
        if not isinstance(value, dict):
            layer[name] = value
        elif name in SECTIONS:
            layer.update(value)
        else:
            raise ConfigError(
                f"{origin} has no section '{name}'.{catalog.did_you_mean(name, SECTIONS)}"
            )
    return layer


def _typed(name: str, value: Any) -> Any:
    """Convert a value to the field's type if that is unambiguous, else raise."""
    kind, given = _KINDS[name], _plain(value)
    if kind is float and type(given) is int:
        return float(given)
    if type(given) is kind or (kind == int | str and type(given) in (int, str)):
        return given
    if name in OFTEN_ONE and type(given) is str and "," not in given:
        return (given,) if given else ()
    if kind == tuple[float, ...] and _all(given, (int, float)):
        return tuple(float(v) for v in given)
    if name in LABELS and _all(given, (int, float, str)):
        return tuple(v if type(v) is str else written(v) for v in given)
    if kind == tuple[str, ...] and _all(given, (str,)):
        return tuple(given)
    raise ConfigError(f"{option(name)}: expected {_WORDS[kind]}, got {value!r}.")


def written(number: float) -> str:
    """Format a number as users write it: 2 for 2.0, without trailing rounding error."""
    if abs(number) < EXACT and number == int(number):
        return str(int(number))
    short, whole = f"{number:.12g}", str(number).removesuffix(".0")
    return short if math.isclose(float(short), number, rel_tol=1e-14) else whole


def _plain(value: Any) -> Any:
    """Convert NumPy scalars and arrays to Python values, recursively in lists.

    For float32, the shortest decimal that identifies the value is used.
    """
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if not hasattr(value, "tolist"):
        return value
    import numpy as np

    array = np.asarray(value)
    if array.ndim:
        return [_plain(item) for item in array]
    own = array.tolist()
    return float(str(array[()])) if type(own) is float else own


def _all(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a value is a list of items of the given types only."""
    return isinstance(value, list) and all(type(v) in kinds for v in value)
