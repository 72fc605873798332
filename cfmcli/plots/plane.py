"""Planes: where the points of a flow are drawn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.chain import Chain
from cfmcli.data.maps import covariance
from cfmcli.model import Model


class Plane(ABC):
    """Flow coordinates -> the two axes of a picture."""

    exact: ClassVar[bool] = True
    """Whether places are a function of coordinates, known everywhere."""
    timed: ClassVar[bool] = False
    """Whether one of the axes is time."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, str]:
        """What the axes are called."""

    @property
    @abstractmethod
    def caption(self) -> str:
        """How points came into the plane."""

    @abstractmethod
    def place(self, x: Array, time: float) -> Array:
        """Points at a clock time, shape (n, D) -> (n, 2)."""

    @abstractmethod
    def push(self, x: Array, v: Array, time: float) -> Array:
        """Velocities at points, per unit of the clock, shape (n, D) -> (n, 2)."""


@dataclass(frozen=True)
class FeaturePlane(Plane):
    """The two features themselves, in data units."""

    chain: Chain

    @property
    def names(self) -> tuple[str, str]:
        """The features."""
        return self.chain.features[0], self.chain.features[1]

    @property
    def caption(self) -> str:
        """Nothing needs to be said."""
        return ""

    def place(self, x: Array, time: float) -> Array:
        """Back to data units."""
        return self.chain.inverse(x)

    def push(self, x: Array, v: Array, time: float) -> Array:
        """Back to data units per unit of the clock."""
        return self.chain.inverse_tangent(x, v)


@dataclass(frozen=True)
class PrincipalPlane(Plane):
    """The two leading principal axes of the snapshots, in flow coordinates.

    Args:
        centre: shape (D,).
        axes: orthonormal columns, shape (D, 2).
        share: of the variance, in [0, 1].
    """

    centre: Array
    axes: Array
    share: float

    @property
    def names(self) -> tuple[str, str]:
        """Their numbers."""
        return "principal axis 1", "principal axis 2"

    @property
    def caption(self) -> str:
        """How much the two axes show."""
        return (
            f"Axes are the first two principal axes of the {len(self.centre)} flow coordinates "
            f"({self.share:.0%} of their variance)."
        )

    def place(self, x: Array, time: float) -> Array:
        """(x - centre) axes."""
        return np.asarray((x - self.centre) @ self.axes)

    def push(self, x: Array, v: Array, time: float) -> Array:
        """Linear: v axes."""
        return np.asarray(v @ self.axes)


@dataclass(frozen=True)
class LinePlane(Plane):
    """A flow on a line, drawn against time.

    Args:
        chain: flow coordinates -> the units that it is drawn in.
        name: what its one coordinate is called.
    """

    timed: ClassVar[bool] = True

    chain: Chain
    name: str

    @property
    def names(self) -> tuple[str, str]:
        """Time, and the coordinate."""
        return "time", self.name

    @property
    def caption(self) -> str:
        """What the axes are."""
        return "The flow has one coordinate, drawn against time."

    def place(self, x: Array, time: float) -> Array:
        """(time, x)."""
        return np.hstack((np.full_like(x, time), self.chain.inverse(x)))

    def push(self, x: Array, v: Array, time: float) -> Array:
        """(1, v)."""
        return np.hstack((np.ones_like(v), self.chain.inverse_tangent(x, v)))


def own_plane(model: Model) -> Plane:
    """The plane that needs nothing beside the run."""
    if model.dim == 1:
        one, names = len(model.features) == 1, model.chain.outputs
        chain = model.chain if one else Chain((), names)
        return LinePlane(chain, chain.features[0])
    if len(model.features) == 2:
        return FeaturePlane(model.chain)
    center, spread = covariance([cloud.points for cloud in model.kept])
    values, axes = np.linalg.eigh(spread)
    leading = axes[:, ::-1][:, :2]
    leading = leading * np.sign(leading[np.abs(leading).argmax(axis=0), [0, 1]])
    share = float(values[-2:].sum() / (values.sum() or 1.0))
    return PrincipalPlane(center, leading, share)
