"""Layers: settings of a recipe from files and options, the later over the earlier."""

import math
from collections.abc import Mapping
from typing import Any, get_type_hints

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.recipe import FIELDS, SECTIONS, Recipe, option

BRINGS = {"method": ("coupling", "interpolant", "objective"), "preprocess": ("transform",)}
"""Settings that are names for others, and what they bring."""
LABELS, OFTEN_ONE = ("holdout", "time_order"), ("holdout", "covariates")
"""Lists of times as users call them, and lists that may be given as their only word."""
EXACT = 1e16
"""Whole numbers below it are told digit for digit."""
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
    """A recipe from layers of settings, the later over the earlier.

    A method brings its own parts, and a preparation its chain: they replace what an earlier layer
    has set.

    Args:
        layers: setting name -> value; values of the wrong kind are refused.

    Raises:
        ConfigError: for an unknown setting or a value of the wrong kind.
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
    """The settings of a TOML recipe, flat or by section, as a layer for `from_layers`.

    Raises:
        ConfigError: if it is not TOML, or has a table that is no section of a recipe.
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
    """The value as the field's type: where it has one plain meaning, that; nothing else bends."""
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
    """A number as users write it: 2 for 2.0, and without what rounding left in the last digits."""
    if abs(number) < EXACT and number == int(number):
        return str(int(number))
    short, whole = f"{number:.12g}", str(number).removesuffix(".0")
    return short if math.isclose(float(short), number, rel_tol=1e-14) else whole


def _plain(value: Any) -> Any:
    """Scalars and arrays of NumPy as Python's own, and so the items of a list.

    Of the decimals that float32 cannot tell apart the shortest is taken.
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
    """Whether it is a list of items of these kinds only."""
    return isinstance(value, list) and all(type(v) in kinds for v in value)
