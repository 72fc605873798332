"""Laws of exact transport: prices prove that a plan is optimal."""

import numpy as np
import pytest

from cfmcli.flows.coupling.simplex import quantised, solve, solve_with_prices
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
