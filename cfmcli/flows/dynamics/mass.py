"""Mass: what becomes of the weights of points that grow and shrink on the way."""

from cfmcli.data.table import Array
from cfmcli.flows.dynamics.displacement import Displacement
from cfmcli.flows.dynamics.flow import Flow, Paths
from cfmcli.flows.objective.reading import Guide


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
        `growth_rate`, d log m/dtau at the start, per unit of the clock, and `log_mass`, the log of
        what the mass of each point has become, shape (n,) each.
    """
    if isinstance(flow, Displacement) or paths.log_mass is None:
        return {}
    rate = flow.growth(x, times[0], forward=times[1] >= times[0], guide=guide)
    return {"growth_rate": rate, "log_mass": paths.log_mass[-1]}
