"""The rows of the table."""

import time
from typing import Any

import numpy as np
import torch

from cfmcli.flows.densities import standard_normal
from cfmcli.flows.dynamics.estimates import estimate
from cfmcli.flows.dynamics.estimators import Means, Ode
from cfmcli.flows.dynamics.likelihood import Exact
from cfmcli.flows.dynamics.solvers import Adaptive, FixedStep, Solver
from cfmcli.flows.dynamics.stochastic import STILL
from cfmcli.model import Model
from tests.benchmarks import rivals
from tests.benchmarks.quality import QUALITY
from tests.benchmarks.rows import Row, Side
from tests.benchmarks.start import START
from tests.benchmarks.tasks import POINTS, fitted, layers, mixtures, moons_to_gaussians

STEPS = 3000
MOVED, SCORED = 20_000, 128


def step(dim: int, width: int) -> tuple[Side, Side]:
    """Seconds of a step of a fit whose plan is there, and of the bare network."""
    clouds = mixtures(1000, dim)
    field = f"mlp:width={width}"

    def ours() -> float:
        fitted(clouds, field=field, steps=1)  # what a process does once is no part of a step
        few, many = (fitted(clouds, field=field, steps=n)[1] for n in (100, 900))
        return (many - few) / 800

    def bare() -> float:
        torch.set_num_threads(1)
        network = layers(fitted(clouds, field=field, steps=1)[0])
        rivals.bare_steps(network, dim, 256, 100)
        return rivals.bare_steps(network, dim, 256, 800) / 800

    return ours, bare


def training(dim: int, width: int, batch: int, steps: int) -> tuple[Side, Side]:
    """Seconds of a step of a whole fit, plan and all, and of torchcfm's loop."""

    def clouds() -> tuple[np.ndarray, np.ndarray]:
        return moons_to_gaussians(POINTS) if dim == 2 else mixtures(POINTS, dim)

    def ours() -> float:
        field, given = f"mlp:width={width},activation=selu", clouds()
        fitted(given, field=field, steps=1)  # as the rival's loop is warm before it is timed
        return fitted(given, field=field, steps=STEPS, batch_size=batch)[1] / STEPS

    def theirs() -> float:
        loop = rivals.Torchcfm(clouds(), width, batch)
        loop.train(2)
        return rivals.fastest(lambda: loop.train(steps) / steps)

    return ours, theirs


def transport(solver: Solver) -> tuple[Side, Side]:
    """Seconds for each point and evaluation, of transport and of the bare network."""

    def ours() -> float:
        model, _ = fitted(mixtures(2000, 50), field="mlp:width=256", steps=200)
        x = mixtures(MOVED, 50, seed=1)[0]

        def seconds() -> float:
            start = time.perf_counter()
            found = model.flow.paths(x, (0.0, 1.0), solver)
            return (time.perf_counter() - start) / found.nfe / MOVED

        return rivals.fastest(seconds)

    def bare() -> float:
        model, _ = fitted(mixtures(2000, 50), field="mlp:width=256", steps=1)
        return min(
            rivals.fastest(lambda: rivals.bare_forward(layers(model), MOVED, 50, 3, chunk))  # noqa: B023
            for chunk in (4096, 65536)
        ) / (3 * MOVED)

    return ours, bare


def likelihood() -> tuple[Side, Side]:
    """Seconds of exact log densities of a trained network at the default tolerances of both."""
    x = mixtures(SCORED, 50, seed=1)[1]

    def trained() -> Model:
        return fitted(mixtures(2000, 50), field="mlp:width=256", steps=600)[0]

    def ours() -> float:
        model = trained()
        means = Means(Exact(), Adaptive("dopri5"), torch.Generator())

        def seconds() -> float:
            start = time.perf_counter()
            estimate(model.learnt, x, (1.0, 0.0), (Ode(), STILL, means), standard_normal(50))
            return time.perf_counter() - start

        return rivals.fastest(seconds)

    def theirs() -> float:
        head = next(iter(trained().field.heads.values()))
        return rivals.fastest(lambda: rivals.exact_likelihood(head, x))

    return ours, theirs


def workers(batch: int, steps: int) -> tuple[Side, Side]:
    """Seconds of a fit of minibatch couplings, with two workers ahead and in one process."""

    def seconds(count: int) -> float:
        how: dict[str, Any] = {"scope": "minibatch", "batch_size": batch, "field": "mlp:width=64"}
        clouds = moons_to_gaussians(POINTS)
        fitted(clouds, ot_workers=0, steps=1, **how)
        return fitted(clouds, ot_workers=count, steps=steps, **how)[1]

    return lambda: seconds(2), lambda: seconds(0)


ROWS: dict[str, Row] = {
    "step-2d": Row("a step, 2-D, 3x128, batch 256", "the bare step", *step(2, 128), 1.15, True),
    "step-50d": Row("a step, 50-D, 3x256, batch 256", "the bare step", *step(50, 256), 1.15, True),
    "train-2d": Row("training, 2-D, 3x64, batch 256", "torchcfm", *training(2, 64, 256, 100), 8),
    "train-1024": Row("the same at batch 1024", "torchcfm", *training(2, 64, 1024, 8), 60),
    "train-50d": Row(
        "training, 50-D, 3x256, batch 256", "torchcfm", *training(50, 256, 256, 100), 4
    ),
    "workers-256": Row("minibatches of 256, 2-D, 2 workers", "none", *workers(256, 500), 1.5),
    "workers-1024": Row("the same at batch 1024", "none", *workers(1024, 75), 1.5),
    "transport": Row(
        "transport by dopri5, 50-D, 3x256, 2 x 10^4 points",
        "bare forward x NFE",
        *transport(Adaptive("dopri5")),
        1.3,
        True,
    ),
    "transport-steps": Row(
        "the same by fixed steps, rk4:steps=3",
        "bare forward x NFE",
        *transport(FixedStep("rk4", 3)),
        1.3,
        True,
    ),
    "likelihood": Row(
        "exact log-likelihood, 50-D, 3x256, 128 points", "flow_matching", *likelihood(), 5
    ),
    **QUALITY,
    **START,
}
