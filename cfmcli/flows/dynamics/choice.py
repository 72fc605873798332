"""Choice: selects and validates the solver for deterministic or stochastic dynamics."""

from dataclasses import replace

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.pace import Auto
from cfmcli.flows.dynamics.sde import StochasticSolver
from cfmcli.flows.dynamics.solvers import Adaptive, Solver

AnySolver = Solver | StochasticSolver | Auto | str


def deterministic(solver: AnySolver) -> Solver:
    """Build a solver for deterministic dynamics from a spec, or check a given one.

    Raises:
        ConfigError: if the spec is wrong, or names `auto` or a solver for stochastic dynamics.
    """
    found = catalog.build("solvers", solver) if isinstance(solver, str) else solver
    if isinstance(found, Solver):
        return found
    if isinstance(found, Auto):
        raise ConfigError(
            f"The solver {_label(solver)} chooses steps for points that are carried (sample, "
            "transport, interpolate, fate, genes, evaluate), not for densities: use one of "
            f"{_fitting(Solver)}."
        )
    raise ConfigError(
        f"The solver {_label(solver)} is for stochastic dynamics, and these are deterministic: "
        f"use one of {_fitting(Solver)}, or give a diffusion."
    )


def with_tolerances(spec: str, atol: float | None, rtol: float | None) -> Solver:
    """Build a solver for deterministic dynamics from its spec, with tolerances given separately.

    Args:
        spec: name and options.
        atol: absolute tolerance, None for the solver's own.
        rtol: relative tolerance, None for the solver's own.

    Raises:
        ConfigError: if the solver has fixed steps, or a tolerance of its own.
    """
    if (atol, rtol) != (None, None) and isinstance(catalog.build("solvers", spec), Auto):
        raise ConfigError(
            f"--solver {spec} has a tolerance of its own, such as auto:tolerance=1e-2: leave "
            "--atol and --rtol out, or use dopri5."
        )
    solver = deterministic(spec)
    if isinstance(solver, Adaptive):
        return replace(
            solver,
            atol=solver.atol if atol is None else atol,
            rtol=solver.rtol if rtol is None else rtol,
        )
    if atol is not None or rtol is not None:
        raise ConfigError(
            f"--solver {spec} has fixed steps and knows no --atol or --rtol: leave them out, or "
            "use dopri5."
        )
    return solver


def stochastic(solver: AnySolver) -> StochasticSolver:
    """Build a solver for stochastic dynamics from a spec, or check a given one.

    Raises:
        ConfigError: if the spec is wrong, or names `auto` or a solver for deterministic dynamics.
    """
    found = catalog.build("solvers", solver) if isinstance(solver, str) else solver
    if isinstance(found, StochasticSolver):
        return found
    raise ConfigError(
        f"The solver {_label(solver)} is for deterministic dynamics, and these are stochastic: "
        f"use one of {_fitting(StochasticSolver)}, or no diffusion."
    )


def _label(solver: AnySolver) -> str:
    """Name of a solver in messages."""
    return solver if isinstance(solver, str) else type(solver).__name__


def _fitting(kind: type) -> str:
    """Comma-separated names of all solvers of a kind."""
    names = catalog.names("solvers")
    return ", ".join(n for n in names if issubclass(catalog.entry("solvers", n).load(), kind))
