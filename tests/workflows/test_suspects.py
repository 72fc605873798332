"""Clocks and labels among the features are pointed at, counts and grids are not."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import CfmWarning
from cfmcli.workflows.suspects import warn_of_suspects

RNG = np.random.default_rng(0)
Column = Callable[[float], Array]
PLACE: Column = lambda time: RNG.normal(time, 1, 60)  # noqa: E731
CLOCK: Column = lambda time: np.full(60, 24 * time)  # noqa: E731
DONOR: Column = lambda time: RNG.integers(1, 4, 60).astype(float)  # noqa: E731
STILL: Column = lambda time: np.full(60, 3.0)  # noqa: E731
COUNT: Column = lambda time: RNG.poisson(200, 60).astype(float)  # noqa: E731


def told(*columns: Column) -> list[str]:
    """What is warned of in two clouds of columns f0, f1, ..."""
    pd = pytest.importorskip("pandas")
    clouds = []
    for time in (0.0, 1.0):
        points = np.column_stack([column(time) for column in columns])
        mass = np.full(len(points), 1 / len(points))
        clouds.append(Cloud(points, mass, pd.DataFrame(index=range(60)), f"{time:g}", time))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", CfmWarning)
        warn_of_suspects(Snapshots(tuple(clouds), False), [f"f{k}" for k in range(len(columns))])
    return [str(one.message) for one in heard]


def test_a_clock_is_found() -> None:
    """One number in each cloud, another in the next."""
    (message,) = told(PLACE, CLOCK, PLACE)
    assert "f1" in message
    assert "--time-key" in message
    assert "f0" not in message


def test_a_label_is_found() -> None:
    """Three whole numbers among places."""
    (message,) = told(PLACE, PLACE, DONOR)
    assert "f2" in message
    assert "--label-key" in message


@pytest.mark.parametrize(
    "columns", [(PLACE, PLACE), (PLACE, STILL), (DONOR, DONOR), (PLACE, PLACE, COUNT), (DONOR,)]
)
def test_what_may_be_a_coordinate_is_left_alone(columns: tuple[Column, ...]) -> None:
    """Places, constants, counts, and whole numbers that are all there is."""
    assert told(*columns) == []
