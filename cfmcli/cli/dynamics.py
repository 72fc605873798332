"""Options of dynamics: how points are carried, and how densities are estimated."""

from typing import Annotated

from cfmcli.cli.declare import option, spec
from cfmcli.cli.options import FLOW

Solver = Annotated[
    str,
    spec(
        "--solver",
        family="solvers",
        meaning="Integrator",
        panel=FLOW,
        unset="dopri5; with --sde stochastic-heun",
    ),
]
OdeSolver = Annotated[
    str,
    spec(
        "--solver", family="solvers", meaning="Integrator of the flow", panel=FLOW, unset="dopri5"
    ),
]
Sde = Annotated[
    str,
    option(
        "--sde",
        meaning="Diffusion epsilon of stochastic dynamics, a number or a spec; "
        "see cfm list diffusions. Needs a run with a score.",
        panel=FLOW,
        metavar="EPS",
        unset="none: the flow itself",
    ),
]
Estimator = Annotated[
    str,
    spec(
        "--estimator",
        family="estimators",
        meaning="How densities are obtained",
        panel=FLOW,
        unset="ode; with --sde sde",
    ),
]
Known = Annotated[
    str,
    option(
        "--known",
        meaning="Where the density is known: source (the first time) or target (the last).",
        panel=FLOW,
        metavar="END",
    ),
]
Atol = Annotated[
    float | None,
    option(
        "--atol",
        meaning="Absolute tolerance, in units of the transformed features.",
        panel=FLOW,
        metavar="FLOAT",
        unset="the solver's",
    ),
]
Rtol = Annotated[
    float | None,
    option(
        "--rtol", meaning="Relative tolerance.", panel=FLOW, metavar="FLOAT", unset="the solver's"
    ),
]
Rounding = Annotated[
    str,
    option(
        "--precision",
        meaning="Arithmetic of the network that carries points: f32, or bf16, whose error is told; "
        "on processors without bf16 units it is slower.",
        panel=FLOW,
        metavar="KIND",
    ),
]
Base = Annotated[
    str, spec("--base", family="bases", meaning="Density at the end that is known", panel=FLOW)
]
Divergence = Annotated[
    str,
    spec("--divergence", family="divergences", meaning="Divergence of the velocity", panel=FLOW),
]
