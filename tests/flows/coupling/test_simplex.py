"""Laws of exact transport: prices prove that a plan is optimal."""

import numpy as np
import pytest

from cfmcli.errors import NumericsError
from cfmcli.flows.coupling.simplex import ASSIGNED, quantised, solve, solve_with_prices
from tests.flows.clouds import weighted


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("empty", [0, 3])
def test_prices_are_feasible_and_tight(seed: int, empty: int) -> None:
    """f + g <= cost, with equality on the plan, also where some points carry no mass."""
    x0, x1, w0, w1 = weighted(12, 17, 2, seed)
    w0[:empty], w1[2 : 2 + empty] = 0, 0
    cost = ((x0[:, None] - x1) ** 2).sum(2)
    q0, q1 = quantised(w0, w1)
    vertex = solve_with_prices(q0, q1, cost)
    slack = cost - vertex.f[:, None] - vertex.g
    assert slack.min() > -1e-10
    assert slack[vertex.i, vertex.j] == pytest.approx(0, abs=1e-10)
    dual = vertex.f @ q0 + vertex.g @ q1
    assert dual == pytest.approx(vertex.mass @ cost[vertex.i, vertex.j], rel=1e-10)
    for one, other in zip(vertex[:3], solve(q0, q1, cost), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("n", [1, 2, 60, ASSIGNED, ASSIGNED + 1])
def test_points_of_one_mass_are_assigned_at_the_cost_that_prices_prove(n: int) -> None:
    """A permutation, whichever way it is found, of the cost of the dual."""
    x0, x1, *_ = weighted(n, n, 3, seed=n)
    cost = ((x0[:, None] - x1 - 4) ** 2).sum(2)
    q0, q1 = quantised(np.ones(n), np.ones(n))
    i, j, mass = solve(q0, q1, cost)
    assert np.array_equal(i, np.arange(n))
    assert np.array_equal(np.sort(j), np.arange(n))
    assert np.array_equal(mass, q0)
    vertex = solve_with_prices(q0, q1, cost)
    assert mass @ cost[i, j] == pytest.approx(vertex.f @ q0 + vertex.g @ q1, rel=1e-10)


def test_points_of_other_masses_are_not_assigned() -> None:
    """As many points on both sides, but the heavy one, on either, feeds two."""
    cost, heavy, even = np.array([[0.0, 1.0], [5.0, 5.0]]), np.array([3.0, 1.0]), np.full(2, 2.0)
    i, j, mass = solve(heavy, even, cost)
    assert list(zip(i, j, mass, strict=True)) == [(0, 0, 2.0), (0, 1, 1.0), (1, 1, 1.0)]
    j, i, mass = solve(even, heavy, cost.T)
    assert sorted(zip(i, j, mass, strict=True)) == [(0, 0, 2.0), (0, 1, 1.0), (1, 1, 1.0)]


@pytest.mark.filterwarnings("ignore:Problem infeasible")
@pytest.mark.parametrize("n", [3, ASSIGNED + 1])
def test_costs_that_are_not_finite_are_refused(n: int) -> None:
    cost = np.ones((n, n))
    cost[0] = np.nan
    with pytest.raises(NumericsError, match=rf"between {n} and {n} points failed \(.*\w\)\. Check"):
        solve(np.ones(n), np.ones(n), cost)
