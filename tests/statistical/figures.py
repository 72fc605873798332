"""The table of the statistical suite, and the figures that several of its tests measure."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cfmcli import metrics
from cfmcli.api import Model
from cfmcli.data.table import Array

HEAD = ("what", "ours", "published", "floor", "bound")


@dataclass(frozen=True)
class Row:
    """One measured figure.

    Args:
        what: task, method, figure and seed.
        ours: what was measured.
        published: what a paper reports for the task, as it prints it.
        floor: the best that any method can score, or what needs no model.
        bound: what the test demands.
    """

    what: str
    ours: float
    published: str = ""
    floor: float | None = None
    bound: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        floor = "" if self.floor is None else f"{self.floor:.4g}"
        return self.what, f"{self.ours:.4g}", self.published, floor, self.bound


@dataclass
class Figures:
    """What a session measured, in the order of measuring."""

    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, ours: float, **beside: Any) -> float:
        """Note a figure, and give it back."""
        self.rows.append(Row(what, float(ours), **beside))
        return float(ours)

    def text(self) -> str:
        """The rows in aligned columns; empty where nothing was measured."""
        if not self.rows:
            return ""
        lines = [HEAD, *(row.cells() for row in self.rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(HEAD))]
        padded = (
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines
        )
        return "\n".join(line.rstrip() for line in padded)


@dataclass(frozen=True)
class Carried:
    """Test points of a source carried to the target: where they end, and what it costs.

    Args:
        end: positions at t = 1, shape (n, D), data units.
        energy: E int |v|^2 dt in squared data units.
        points: where they began, shape (n, D).
    """

    end: Array
    energy: float
    points: Array

    def npe(self, target: Array) -> float:
        """|energy - W2^2| / W2^2 on the test sets."""
        return metrics.normalized_path_energy(self.energy, metrics.w2(self.points, target) ** 2)


def carry(model: Model, points: Array, steps: int = 100) -> Carried:
    """Follow points through `steps` equal times of [0, 1], the velocity by central differences."""
    times = np.linspace(0.0, 1.0, steps + 1)
    frames = model.interpolate(points, times.tolist())
    velocities = np.gradient(frames, times, axis=0, edge_order=2)
    return Carried(frames[-1], metrics.path_energy(velocities, times), points)
