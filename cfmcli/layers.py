"""Layers: settings of a recipe from files and options, the later over the earlier."""

from collections.abc import Mapping
from typing import Any, get_type_hints

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.recipe import FIELDS, SECTIONS, Recipe, default, option

BRINGS = {"method": ("coupling", "interpolant", "objective"), "preprocess": ("transform",)}
"""Settings that are names for others, and what they bring."""
_KINDS = get_type_hints(Recipe)


def from_layers(*layers: Mapping[str, Any]) -> Recipe:
    """A recipe from layers of settings, the later over the earlier.

    A method brings its own parts, and a preparation its chain: they replace what an earlier layer
    has set. Where no layer says otherwise, a method brings settings of training as well; a layer
    written for another method does not say otherwise where it has what that one would bring.

    Args:
        layers: setting name -> value; values of the wrong kind are refused.

    Raises:
        ConfigError: for an unknown setting or a value of the wrong kind.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        replaced = _replaced(values, layer)
        values = {name: value for name, value in values.items() if name not in replaced}
        for name, value in layer.items():
            if name not in FIELDS:
                known = catalog.did_you_mean(name, FIELDS)
                raise ConfigError(f"Unknown setting '{name}'.{known}")
            values[name] = _typed(name, value)
    method = catalog.preset(values.get("method", default("method")))
    return Recipe(**{**method.settings, **values})


def _replaced(values: Mapping[str, Any], layer: Mapping[str, Any]) -> set[str]:
    """The earlier settings that a layer's names for others stand against."""
    found = {name for given, names in BRINGS.items() if layer.get(given) for name in names}
    old, new = values.get("method"), layer.get("method")
    if old and new and old != new:
        brought = catalog.preset(old).settings
        found |= {
            name for name, value in values.items() if value == brought.get(name, default(name))
        }
    return found


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
    """The value as the field's type: numbers may widen, lists become tuples, nothing else bends."""
    kind = _KINDS[name]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (str, int, float) and type(value) is kind:
        return value
    if kind == int | str and type(value) in (int, str):
        return value
    if kind == tuple[float, ...] and _all(value, (int, float)):
        return tuple(float(v) for v in value)
    if kind == tuple[str, ...] and _all(value, (str,)):
        return tuple(value)
    wanted = getattr(kind, "__name__", str(kind)) if kind in (str, int, float) else str(kind)
    raise ConfigError(f"{option(name)}: expected {wanted}, got {value!r}.")


def _all(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether it is a list or tuple of items of these kinds only."""
    return isinstance(value, list | tuple) and all(type(v) in kinds for v in value)
