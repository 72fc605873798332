"""Planes: projections of flow coordinates to the axes of a picture."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.chain import Chain
from cfmcli.data.maps import covariance
from cfmcli.model import Model


class Plane(ABC):
    """Base class of maps from flow coordinates to the two axes of a picture."""

    exact: ClassVar[bool] = True
    """Whether positions are a function of coordinates that is defined everywhere."""
    timed: ClassVar[bool] = False
    """Whether one of the axes is time."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, str]:
        """Names of the axes."""

    @property
    @abstractmethod
    def caption(self) -> str:
        """Note on how points are placed in the plane."""

    @abstractmethod
    def place(self, x: Array, time: float) -> Array:
        """Place points at a clock time, shape (n, D) -> (n, 2)."""

    @abstractmethod
    def push(self, x: Array, v: Array, time: float) -> Array:
        """Project velocities at points, per unit of the clock, shape (n, D) -> (n, 2)."""


@dataclass(frozen=True)
class FeaturePlane(Plane):
    """The two features themselves, in data units."""

    chain: Chain

    @property
    def names(self) -> tuple[str, str]:
        """Names of the features."""
        return self.chain.features[0], self.chain.features[1]

    @property
    def caption(self) -> str:
        """Empty: no note is needed."""
        return ""

    def place(self, x: Array, time: float) -> Array:
        """Transform points to data units."""
        return self.chain.inverse(x)

    def push(self, x: Array, v: Array, time: float) -> Array:
        """Transform velocities to data units per unit of the clock."""
        return self.chain.inverse_tangent(x, v)


@dataclass(frozen=True)
class PrincipalPlane(Plane):
    """The two leading principal axes of the snapshots, in flow coordinates.

    Args:
        centre: shape (D,).
        axes: orthonormal columns, shape (D, 2).
        share: share of the variance, in [0, 1].
    """

    centre: Array
    axes: Array
    share: float

    @property
    def names(self) -> tuple[str, str]:
        """Numbered axis names."""
        return "principal axis 1", "principal axis 2"

    @property
    def caption(self) -> str:
        """Note on the variance that the two axes show."""
        return (
            f"Axes are the first two principal axes of the {len(self.centre)} flow coordinates "
            f"({self.share:.0%} of their variance)."
        )

    def place(self, x: Array, time: float) -> Array:
        """Project points: (x - centre) axes."""
        return np.asarray((x - self.centre) @ self.axes)

    def push(self, x: Array, v: Array, time: float) -> Array:
        """Project velocities: v axes."""
        return np.asarray(v @ self.axes)


@dataclass(frozen=True)
class LinePlane(Plane):
    """A one-dimensional flow, drawn against time.

    Args:
        chain: map from flow coordinates to the units of the picture.
        name: name of its one coordinate.
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
        """Note on the axes."""
        return "The flow has one coordinate, drawn against time."

    def place(self, x: Array, time: float) -> Array:
        """(time, x)."""
        return np.hstack((np.full_like(x, time), self.chain.inverse(x)))

    def push(self, x: Array, v: Array, time: float) -> Array:
        """(1, v)."""
        return np.hstack((np.ones_like(v), self.chain.inverse_tangent(x, v)))


def own_plane(model: Model) -> Plane:
    """Choose the plane for a run without external data."""
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
