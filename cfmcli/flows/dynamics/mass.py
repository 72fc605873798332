"""Mass: what becomes of the weights of points that grow and shrink on the way."""

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.blocks import blocks
from cfmcli.flows.dynamics.displacement import Displacement
from cfmcli.flows.dynamics.flow import Flow
from cfmcli.flows.dynamics.motion import Deterministic
from cfmcli.flows.dynamics.paths import Paths
from cfmcli.flows.dynamics.solvers import Solver
from cfmcli.flows.objective.reading import Guide

Guided = tuple[Array, Guide | None]
"""Points, shape (n, D), and the condition of each, where the flow has conditions."""


def changes(
    flow: Flow | Displacement,
    x: Array,
    times: tuple[float, float],
    paths: Paths,
    guide: Guide | None = None,
) -> dict[str, Array]:
    """Growth of points by name; empty where mass is constant.

    Args:
        flow: what they were carried along.
        x: points at the first time, shape (n, D).
        times: clock times, from where to where.
        paths: how they went.
        guide: the condition of each point, where the flow has conditions.

    Returns:
        `log_mass`, the log of what the mass of each point has become, and before it where growth
        was learnt `growth_rate`, d log m/dtau at the start, per unit of the clock, shape (n,) each.
    """
    if paths.log_mass is None:
        return {}
    grown = {"log_mass": paths.log_mass[-1]}
    if isinstance(flow, Displacement) or not flow.grows:
        return grown
    rate = flow.growth(x, times[0], forward=times[1] >= times[0], guide=guide)
    return {"growth_rate": rate, **grown}


def becoming(flow: Flow, points: Guided, times: tuple[float, float], solver: Solver) -> float:
    """What the unit mass of a population becomes.

    Args:
        flow: a flow along which masses change.
        points: draws of the population at the first time, and their conditions.
        times: clock times, from where to where.
        solver: integrator.
    """
    x, guide = points
    paths = Deterministic(solver).paths(flow, x, times, guide)
    return float(paths.masses(-1, np.ones(len(x))).mean())


def log_gain(
    flow: Flow, asked: Guided, times: tuple[float, float], solver: Solver, most: int
) -> Array:
    """What growth adds to log densities of mass, shape (n,), that of the population left out.

    d log m/ds = -div b + g, so along the paths of points from the second time to the first: their
    own log growth. Less the log of what the unit mass of the population becomes, it is what growth
    adds to log p of the normalised population.

    Args:
        flow: a flow along which masses change.
        asked: points whose density is asked for, at the first time.
        times: clock times, where the density is asked for and where it is known.
        solver: integrator.
        most: points that are carried at once.
    """
    x, guide = asked
    parts = []
    for rows in blocks(len(x), most):
        own = guide and guide.of(rows)
        grown = Deterministic(solver).paths(flow, x[rows], times, own).log_mass
        assert grown is not None
        parts.append(-grown[-1])
    return np.concatenate(parts)
