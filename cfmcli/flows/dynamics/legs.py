"""Legs: a journey between times, split into stretches within single gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Leg:
    """A stretch of a journey within one gap.

    Args:
        segment: number of the gap.
        times: inner times, at least two, strictly monotone.
    """

    segment: int
    times: list[float]


def journey(times: Sequence[float], segments: int) -> list[Leg]:
    """Split inner times into legs at the knots 0, 1, ..., where the field may change abruptly.

    Args:
        times: inner times in [0, segments], monotone, repeats allowed.
        segments: number of gaps.

    Returns:
        Legs in order; none if all times are equal.
    """
    legs: list[Leg] = []
    for a, b in pairwise(times):
        if a == b:
            continue
        low, high = sorted((a, b))
        knots = [float(k) for k in range(1, segments) if low < k < high]
        stops = [a, *(knots if a < b else knots[::-1]), b]
        for u, v in pairwise(stops):
            segment = min(max(int(min(u, v)), 0), segments - 1)
            if legs and legs[-1].segment == segment:
                legs[-1].times.append(v)
            else:
                legs.append(Leg(segment, [u, v]))
    return legs
