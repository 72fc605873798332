"""Laws of costs: they are POT's and SciPy's, brute force agrees, and unknown ones are refused."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from cfmcli import catalog
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.coupling.costs import METRICS, SQUARED, cost_matrix, relative_costs
from cfmcli.flows.coupling.couplings import Coupling, Exact, Sinkhorn
from cfmcli.flows.coupling.matching import Heuristic, Stable
from cfmcli.flows.coupling.plans import squared_distances
from cfmcli.flows.coupling.relaxed import Partial, Unbalanced
from tests.flows.clouds import matrix, plain, solve

WITH_COST = ["exact", "sinkhorn", "unbalanced", "partial", "stable", "heuristic"]


@pytest.mark.parametrize("metric", METRICS)
def test_costs_are_those_of_pot(metric: str) -> None:
    """The same matrix as ot.dist, finite and not negative."""
    import ot

    x0, x1 = np.random.default_rng(0).normal(size=(2, 9, 4)) + 1
    costs = cost_matrix(x0, x1, metric)
    assert costs == pytest.approx(ot.dist(x0, x1, metric), abs=1e-9)
    assert (costs >= 0).all()


@pytest.mark.parametrize("metric", ["euclidean", "cityblock", "chebyshev", "cosine", "sqeuclidean"])
def test_exact_is_brute_force_in_any_cost(metric: str) -> None:
    """The least total over all permutations; the plan reports squared distances all the same."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        x0, x1 = rng.normal(size=(2, 5, 2))
        costs = cost_matrix(x0, x1, metric)
        least = min(costs[range(5), p].sum() for p in permutations(range(5)))
        plan = solve(Exact(cost=metric), x0, x1)
        i, j, _ = plan.arrays()
        assert sorted(j) == [0, 1, 2, 3, 4]
        assert costs[i, j].sum() == pytest.approx(least, rel=1e-12)
        squares = squared_distances(x0, x1)[i, j].mean()
        assert plan.mean_cost(x0, x1) == pytest.approx(squares, rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda cost: Exact(cost=cost),
        lambda cost: Sinkhorn(reg=0.1, cost=cost),
        lambda cost: Unbalanced(reg_m=2.0, cost=cost),
        lambda cost: Unbalanced(reg_m=2.0, reg=0.0, cost=cost),
        lambda cost: Partial(mass=0.6, cost=cost),
        lambda cost: Heuristic(cost=cost),
        lambda cost: Stable(cost=cost),
    ],
)
def test_every_cost_option_reaches_the_plan(make: Callable[[str], Coupling]) -> None:
    """Angles ignore lengths: with cosine, stretching each point changes nothing."""
    x0, x1 = plain(20, 2, seed=2)
    lengths = np.random.default_rng(2).uniform(0.2, 5, size=(20, 1))
    plan = matrix(solve(make("cosine"), x0, x1))
    assert matrix(solve(make("cosine"), lengths * x0, x1)) == pytest.approx(plan, abs=1e-4)
    assert np.abs(matrix(solve(make("sqeuclidean"), x0, x1)) - plan).sum() > 0.1


@pytest.mark.parametrize("name", WITH_COST)
def test_unknown_costs_are_refused_when_built(name: str) -> None:
    """Before any data is read, with the nearest name and the list."""
    with pytest.raises(ConfigError, match=f"{name}: unknown cost 'cosin'.*mean 'cosine'.*citybl"):
        catalog.build("couplings", f"{name}:cost=cosin")


def test_costs_that_are_not_defined_are_refused() -> None:
    """A zero vector has no angle; too few points have no covariance."""
    x0, x1 = plain(5, 3, seed=3)
    with pytest.raises(NumericsError, match=r"cost 'cosine'.*zero vector"):
        cost_matrix(x0 * 0, x1, "cosine")
    with pytest.raises(NumericsError, match=r"cost 'mahalanobis'.*cost=euclidean"):
        cost_matrix(x0[:1], x1[:1], "mahalanobis")


@pytest.mark.parametrize("metric", METRICS)
def test_relative_costs_differ_by_what_depends_on_one_end(metric: str) -> None:
    """Their double differences are those of the costs; squared distances do not see a shift."""
    rng = np.random.default_rng(0)
    x0, x1 = rng.normal(size=(7, 3)) + 9, rng.normal(size=(5, 3))
    costs, relative = cost_matrix(x0, x1, metric), relative_costs(x0, x1, metric)
    if metric != SQUARED:
        assert np.array_equal(relative, costs)
        return
    gap = relative - costs
    np.testing.assert_allclose(gap - gap[:1] - gap[:, :1] + gap[0, 0], 0, atol=1e-10)
    np.testing.assert_allclose(relative_costs(x0 - 50, x1, metric), relative, rtol=1e-10)
    assert relative.mean() < costs.mean() / 10


def test_relative_costs_of_single_precision_are_of_double() -> None:
    """No digit of a cloud that lies far off is lost on the way."""
    rng = np.random.default_rng(1)
    ends: list[Any] = [(rng.normal(size=(6, 3)) + k).astype(np.float32) for k in (1000, 0)]
    exact = relative_costs(*(x.astype(np.float64) for x in ends))
    np.testing.assert_allclose(relative_costs(*ends), exact, rtol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("extreme", [1e200, 1e308])
def test_relative_costs_that_overflow_are_refused_in_words(extreme: float) -> None:
    """Whether it is their difference or already their mean that is too large."""
    x = extreme * np.random.default_rng(2).random((4, 2))
    with pytest.raises(NumericsError, match="not all finite"):
        relative_costs(x, x[::-1])
