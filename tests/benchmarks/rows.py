"""Rows: a task, done by us and by a rival, and the ratio that is wanted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

Side = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """A task that two sides do in turn.

    Args:
        task: what is done.
        rival: what the other side is.
        ours: does it and tells its cost: seconds, or another figure of which less is better.
        theirs: the same of the other side.
        goal: the ratio wanted: theirs / ours at least, or ours / theirs at most.
        floor: whether the other side is a floor, so that the goal is a ratio at most.
        needs: variable of the environment that says where its data are, if any.
    """

    task: str
    rival: str
    ours: Side
    theirs: Side
    goal: float
    floor: bool = False
    needs: str = ""

    def ratios(self, ours: Sequence[float], theirs: Sequence[float]) -> "Ratios":
        """The ratios of paired runs.

        Raises:
            ValueError: if a cost is not positive, as a difference of two noisy times can be.
        """
        if min(*ours, *theirs) <= 0:
            raise ValueError(f"{self.task}: costs {ours} and {theirs}, expected positive ones.")
        pairs = list(zip(ours, theirs, strict=True))
        found = sorted(a / b if self.floor else b / a for a, b in pairs)
        middle = median(found)
        met = middle <= self.goal if self.floor else middle >= self.goal
        return Ratios(middle, found[0], found[-1], met)


@dataclass(frozen=True)
class Ratios:
    """Ratios of paired runs.

    Args:
        median: of the pairs.
        least: the smallest.
        most: the largest.
        met: whether the median meets the goal.
    """

    median: float
    least: float
    most: float
    met: bool
