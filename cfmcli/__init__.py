"""Learn how one distribution turns into another, and carry points along."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfmcli.api import Model, fit

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "fit"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "fit"):
        from cfmcli import api

        return getattr(api, name)
    raise AttributeError(f"module 'cfmcli' has no attribute '{name}'")
