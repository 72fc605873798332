"""Shared by the tests of couplings: small clouds, and plans as matrices."""

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.couplings import Coupling
from cfmcli.flows.coupling.plans import Plan


def solve(coupling: Coupling, x0: Array, x1: Array, *weights: Array, seed: int = 0) -> Plan:
    """The plan of two clouds, by default with uniform weights."""
    w0, w1 = weights or (np.full(len(x0), 1 / len(x0)), np.full(len(x1), 1 / len(x1)))
    return coupling.plan(x0, x1, w0, w1, np.random.default_rng(seed))


def matrix(plan: Plan) -> Array:
    """The plan as its matrix."""
    i, j, mass = plan.arrays()
    dense = np.zeros(plan.shape)
    dense[i, j] = mass
    return dense


def weighted(n0: int, n1: int, dim: int, seed: int) -> tuple[Array, Array, Array, Array]:
    """Two random clouds with random weights."""
    rng = np.random.default_rng(seed)
    x0, x1 = rng.normal(size=(n0, dim)), rng.normal(size=(n1, dim)) + 1
    return x0, x1, rng.dirichlet(np.full(n0, 2.0)), rng.dirichlet(np.full(n1, 2.0))


def plain(n: int, dim: int, seed: int) -> tuple[Array, Array]:
    """Two random clouds of n points of different shape and place."""
    rng = np.random.default_rng(seed)
    x0, x1 = rng.normal(size=(2, n, dim))
    return x0, x1 * np.linspace(0.5, 1.5, dim) + 1
