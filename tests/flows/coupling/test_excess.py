"""Laws of the excess that samples tell."""

import numpy as np
import pytest

from cfmcli.data.table import Array
from cfmcli.flows import processes
from cfmcli.flows.coupling import excess as module
from cfmcli.flows.coupling.couplings import Blocks
from cfmcli.flows.coupling.excess import CANDIDATES, Excess, cheapest, excess

RNG = np.random.default_rng(0)
ENDS = RNG.normal(size=(500, 10)), RNG.normal(size=(400, 10)) + 1
EVEN = np.full(500, 1 / 500), np.full(400, 1 / 400)


def told(coupling: Blocks, ends: tuple[Array, Array] = ENDS) -> Excess:
    """The excess from one seed."""
    return excess(coupling, ends, EVEN, np.random.default_rng(1))


def test_poor_plans_cost_more_than_good_ones_and_none_less_than_exact() -> None:
    poor, good = told(Blocks(size=16, gain=0.9)), told(Blocks(size=16, gain=1e-3))
    assert poor.share > good.share > 0
    assert 0 < good.error < 0.5 * poor.share
    assert poor.points == good.points == 128


def test_samples_that_one_coarse_plan_solves_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCKS", 4)
    assert told(Blocks(size=16)).share == pytest.approx(0, abs=1e-12)


def test_points_that_coincide_have_none() -> None:
    assert told(Blocks(size=4), (np.zeros((500, 2)), np.zeros((400, 2)))).error == 0


def test_workers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = told(Blocks(size=8))
    monkeypatch.setattr(processes, "_allowed", 2)
    assert told(Blocks(size=8)) == alone


@pytest.mark.parametrize("needed", [1.0, 0.0])
def test_the_cheapest_that_will_do_is_taken(needed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first where anything will do; the last where nothing will."""
    poor, good = Blocks(size=8, gain=0.5), Blocks(size=8, gain=1e-3)
    monkeypatch.setattr(module, "CANDIDATES", (poor, good))
    monkeypatch.setattr(module, "NEEDED", needed)
    chosen, found = cheapest(ENDS, EVEN, np.random.default_rng(1))
    assert chosen == (poor if needed else good)
    assert found == told(chosen) or not needed


def test_candidates_get_better() -> None:
    sizes, gains = zip(*((c.size, c.gain) for c in CANDIDATES), strict=True)
    assert list(sizes) == sorted(sizes)
    assert list(gains) == sorted(gains, reverse=True)
