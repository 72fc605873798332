"""POT import without unused dependencies, in a third of the time."""

import sys
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

_DRAWS = "ot.datasets"


def _drawing(name: str) -> Any:
    """Load POT's toy data when another module accesses them."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(import_module(_DRAWS), name)


@cache
def pot() -> Any:
    """Import POT without modules that it loads at start-up but does not need here.

    These are optional dependencies, and its own toy data module, which imports all of scipy.stats.
    """
    draws = ModuleType(_DRAWS)
    unused = {"sklearn": None, "networkx": None, _DRAWS: draws}
    stand_ins = {name: it for name, it in unused.items() if name not in sys.modules}
    sys.modules.update(stand_ins)  # type: ignore[arg-type]
    try:
        import ot
    finally:
        for name in stand_ins:
            del sys.modules[name]
    draws.__getattr__ = _drawing  # type: ignore[method-assign]
    return ot
