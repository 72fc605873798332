"""Mass: changes of point weights along paths with growth."""

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
    """Collect growth of points by name; empty if mass is constant.

    Args:
        flow: the flow that carried them.
        x: points at the first time, shape (n, D).
        times: clock times of start and end.
        paths: paths of the points.
        guide: the condition of each point, where the flow has conditions.

    Returns:
        `log_mass`, the log ratio of each point's final to its initial mass, and before it, if
        growth was learnt, `growth_rate`, d log m/dtau at the start, per unit of the clock; shape
        (n,) each.
    """
    if paths.log_mass is None:
        return {}
    grown = {"log_mass": paths.log_mass[-1]}
    if isinstance(flow, Displacement) or not flow.grows:
        return grown
    rate = flow.growth(x, times[0], forward=times[1] >= times[0], guide=guide)
    return {"growth_rate": rate, **grown}


def becoming(flow: Flow, points: Guided, times: tuple[float, float], solver: Solver) -> float:
    """Final mass of a population of unit mass.

    Args:
        flow: a flow with growth.
        points: samples of the population at the first time, and their conditions.
        times: clock times of start and end.
        solver: integrator.
    """
    x, guide = points
    paths = Deterministic(solver).paths(flow, x, times, guide)
    return float(paths.masses(-1, np.ones(len(x))).mean())


def log_gain(
    flow: Flow, asked: Guided, times: tuple[float, float], solver: Solver, most: int
) -> Array:
    """Contribution of growth to log densities, shape (n,), before normalising the population.

    d log m/ds = -div b + g, so it is the log growth of the points along their paths from the
    second time to the first. Less the log of what a population of unit mass becomes, it is what
    growth adds to log p of the normalised population.

    Args:
        flow: a flow with growth.
        asked: points at which the density is evaluated, at the first time.
        times: clock times of the points and of the known density.
        solver: integrator.
        most: number of points carried at once.
    """
    x, guide = asked
    parts = []
    for rows in blocks(len(x), most):
        own = guide and guide.of(rows)
        grown = Deterministic(solver).paths(flow, x[rows], times, own).log_mass
        assert grown is not None
        parts.append(-grown[-1])
    return np.concatenate(parts)
