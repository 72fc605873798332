"""Vectors: fields of them, with their divergence, and as they are seen from somewhere else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

VectorField = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Traced(Protocol):
    """A vector field that knows its own divergence."""

    def traced(self, s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """b(s, x), shape (B, D), and div b, shape (B,)."""

    def of(self, rows: Tensor) -> VectorField:
        """The field of some of its points, where each has a field of its own."""


def about(velocity: VectorField, center: Tensor) -> VectorField:
    """The same vector field of points as they are seen from a center.

    Args:
        velocity: b(s, x) with s of shape (B, 1) and x of shape (B, D).
        center: shape (D,).
    """
    if isinstance(velocity, Traced):
        return _About(velocity, center)
    return lambda s, y: velocity(s, y + center)


@dataclass(frozen=True, eq=False)
class _About:
    """A vector field that knows its own divergence, of points as they are seen from a center.

    Args:
        velocity: b(s, x), a `Traced` one.
        center: shape (D,).
    """

    velocity: VectorField
    center: Tensor

    def __call__(self, s: Tensor, y: Tensor) -> Tensor:
        """b(s, center + y)."""
        return self.velocity(s, y + self.center)

    def traced(self, s: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The same and its divergence."""
        assert isinstance(self.velocity, Traced)
        return self.velocity.traced(s, y + self.center)

    def of(self, rows: Tensor) -> "_About":
        """That of some of the points."""
        assert isinstance(self.velocity, Traced)
        return _About(self.velocity.of(rows), self.center)
