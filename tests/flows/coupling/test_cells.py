"""Laws of cells: targets get their weights, and pairs the least cost, from fresh points."""

import numpy as np
import pytest

from cfmcli.flows.coupling.cells import CellPairs
from cfmcli.flows.coupling.pairing import NormalSource
from cfmcli.flows.coupling.semidiscrete import fit_potential
from cfmcli.flows.streams import Streams

STREAMS = Streams(3)


def cells(x1: np.ndarray, w1: np.ndarray, ruler: np.ndarray | None = None) -> CellPairs:
    """Cells of a cloud on a line under the standard normal."""
    normal = NormalSource(1)
    potential = fit_potential(normal.draw, x1, w1, np.random.default_rng(0), 0.02)
    return CellPairs(normal, x1, potential, ruler)


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
