"""Vectors: vector fields with divergence, and vector fields in shifted coordinates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

VectorField = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Traced(Protocol):
    """A vector field that can compute its own divergence."""

    def traced(self, s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """b(s, x), shape (B, D), and div b, shape (B,)."""

    def of(self, rows: Tensor) -> VectorField:
        """Restrict to some of the points, where each has a field of its own, as with conditions."""


def about(velocity: VectorField, center: Tensor) -> VectorField:
    """Shift a vector field to coordinates relative to a center.

    Args:
        velocity: b(s, x) with s of shape (B, 1) and x of shape (B, D).
        center: shape (D,).
    """
    if isinstance(velocity, Traced):
        return _About(velocity, center)
    return lambda s, y: velocity(s, y + center)


@dataclass(frozen=True, eq=False)
class _About:
    """A `Traced` vector field in coordinates relative to a center.

    Args:
        velocity: the vector field b(s, x).
        center: shape (D,).
    """

    velocity: VectorField
    center: Tensor

    def __call__(self, s: Tensor, y: Tensor) -> Tensor:
        """b(s, center + y)."""
        return self.velocity(s, y + self.center)

    def traced(self, s: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity and divergence at center + y."""
        assert isinstance(self.velocity, Traced)
        return self.velocity.traced(s, y + self.center)

    def of(self, rows: Tensor) -> "_About":
        """Restrict to some of the points."""
        assert isinstance(self.velocity, Traced)
        return _About(self.velocity.of(rows), self.center)
