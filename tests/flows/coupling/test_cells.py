"""Laws of cells: targets get their weights, and pairs the least cost, from fresh points."""

import numpy as np
import pytest

from cfmcli.flows.coupling.cells import CellPairs
from cfmcli.flows.coupling.ends import NormalSource
from cfmcli.flows.streams import Streams

STREAMS = Streams(3)


def cells(x1: np.ndarray, w1: np.ndarray, ruler: np.ndarray | None = None) -> CellPairs:
    """Cells of a cloud on a line under the standard normal."""
    return CellPairs.fitted(NormalSource(1), (x1, w1), 0.03, ruler, np.random.default_rng(0))


def test_on_a_line_the_cells_are_quantiles() -> None:
    """The normal is cut at its quantiles, in the order of the targets, whatever the places."""
    w1 = np.array([0.2, 0.5, 0.3])
    x0, x1 = cells(np.array([[-1.0], [0.0], [5.0]]), w1).draw(0, 20_000, 0, STREAMS)
    values, counts = np.unique(x1, return_counts=True)
    assert values.tolist() == [-1.0, 0.0, 5.0]
    assert counts / 20_000 == pytest.approx(w1, abs=0.015)
    order = np.argsort(x0[:, 0])
    assert (np.diff(x1[order, 0]) >= 0).all()


def test_mean_cost_is_that_of_the_draws() -> None:
    """And every block is drawn afresh, the same block the same way."""
    pairs = cells(np.linspace(-2, 2, 30)[:, None], np.full(30, 1 / 30))
    one, again, other = (pairs.draw(block, 4000, 0, STREAMS) for block in (1, 1, 2))
    assert np.array_equal(one[0], again[0])
    assert np.array_equal(one[1], again[1])
    assert not np.array_equal(one[0], other[0])
    cost = float(np.square(one[0] - one[1]).sum(axis=1).mean())
    assert pairs.mean_cost(STREAMS, 1) == pytest.approx(cost, rel=0.05)


def test_targets_kept_aside_have_cells_of_their_own() -> None:
    """Either part meets the weights of its targets, and no target is of both."""
    x1, w1 = np.linspace(-2, 2, 10)[:, None], np.arange(1, 11) / 55
    train, aside = cells(x1, w1).parted(0.3, np.random.default_rng(1))
    assert aside is not None
    parts = []
    for part, count in ((train, 7), (aside, 3)):
        drawn = part.draw(0, 20_000, 0, STREAMS)[1]
        rows, counts = np.unique(np.abs(drawn - x1[:, 0]).argmin(axis=1), return_counts=True)
        assert len(rows) == count
        assert counts / 20_000 == pytest.approx(w1[rows] / w1[rows].sum(), abs=0.02)
        parts.append(set(rows.tolist()))
    assert parts[0] | parts[1] == set(range(10))
    one = cells(x1[:1], np.ones(1))
    assert one.parted(0.5, np.random.default_rng(1)) == (one, None)
