"""POT without what it does not need: a start in a third of the time."""

import sys
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

_DRAWS = "ot.datasets"


def _drawing(name: str) -> Any:
    """What somebody else asks of POT's toy data, which are loaded then."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(import_module(_DRAWS), name)


@cache
def pot() -> Any:
    """POT's module, without what it loads as it starts and does not need.

    These are libraries that it does without where they are not there, and a part of its own that
    draws toy data by all of scipy.stats.
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
