"""POT without what it does not need: a start in half the time."""

import sys
from functools import cache
from typing import Any


@cache
def pot() -> Any:
    """POT's module.

    It loads scikit-learn for its low-rank solvers where that is there, which takes longer than all
    the rest, and does without where it is not.
    """
    free = "sklearn" not in sys.modules
    if free:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        import ot
    finally:
        if free:
            del sys.modules["sklearn"]
    return ot
