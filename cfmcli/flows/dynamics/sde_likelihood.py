"""Likelihood of stochastic dynamics: averages of weighted paths through all gaps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cfmcli.flows.dynamics.estimators import Carried, Estimator, Means, Ode
from cfmcli.flows.dynamics.sde import Process

Stretch = tuple[Process, tuple[float, float]]
Journey = Callable[[Tensor], Sequence[Stretch]]
LogDensity = Callable[[Tensor], Tensor]
TANGENTS = 2**13
"""Number of tangents of stochastic paths that are propagated at once."""
COORDINATES = 2**16
"""Number of point coordinates carried at once along the flow itself."""


@dataclass(frozen=True)
class Estimate:
    """Log densities from weighted paths, in nats.

    Args:
        log_prob: logarithm of the mean weight, shape (B,); biased low by half its squared error, on
            average.
        error: its standard error, shape (B,), 0 where exact; from the spread of the weights, so
            too small where few of them dominate.
        bound: mean logarithm of the weights, shape (B,), at most log_prob: in expectation a lower
            bound of the log density.
        effective: effective number of paths, (sum w)^2 / sum w^2, shape (B,), at least 1; where it
            is a small share of the paths, trust neither log_prob nor error.
        nfe: largest number of evaluations of velocity and score of any chunk.
    """

    log_prob: Tensor
    error: Tensor
    bound: Tensor
    effective: Tensor
    nfe: int = 0


def weigh(estimator: Estimator, journey: Journey, x: Tensor, means: Means) -> Carried:
    """Carry all paths of all points through the gaps, in chunks of points.

    Args:
        estimator: the density estimator.
        journey: index -> processes and times of the gaps in order, from the points to the time of
            known density; row r of a process's state is a path of point index[r].
        x: points, shape (B, D).
        means: numerical settings.

    Returns:
        End points, shape (P, B, D), changes and errors, shape (P, B), and the largest number of
        evaluations of any chunk.

    Raises:
        ConfigError: if the estimator needs a score and there is none.
        NumericsError: if paths become non-finite.
    """
    rows = at_once(estimator, x.shape[1])
    points = torch.arange(len(x), device=x.device)
    chunks = [points[k : k + rows] for k in range(0, max(len(x), 1), rows)]
    parts = [_through(estimator, journey, x, chunk, means) for chunk in chunks]
    return Carried(
        torch.cat([part.x for part in parts], dim=1),
        torch.cat([part.change for part in parts], dim=1),
        torch.cat([part.error for part in parts], dim=1),
        max(part.nfe for part in parts),
    )


def at_once(estimator: Estimator, dim: int) -> int:
    """Number of points processed at once.

    Args:
        estimator: the density estimator.
        dim: dimension of the points.
    """
    most = COORDINATES if estimator.paths == 1 else TANGENTS // estimator.paths
    return max(1, most // dim)


def average(log_weights: Tensor, errors: Tensor) -> Estimate:
    """Estimate log densities from log weights, as log mean exp over paths.

    Args:
        log_weights: log w = log rho_end(Y_end) + change, shape (P, B).
        errors: their standard errors due to probes, shape (P, B).
    """
    count = len(log_weights)
    total = log_weights.logsumexp(dim=0)
    shares = (log_weights - total).exp()
    effective = 1 / shares.square().sum(dim=0)
    # The delta method: var(log mean w) = var(w) / (P mean(w)^2).
    spread = (count / effective - 1).clamp_min(0) / max(count - 1, 1)
    probes = (shares * errors).square().sum(dim=0)
    return Estimate(
        total - math.log(count),
        (spread + probes).sqrt(),
        log_weights.mean(dim=0),
        effective,
    )


def log_density(
    estimator: Estimator, journey: Journey, log_base: LogDensity, x: Tensor, means: Means
) -> Estimate:
    """Estimate the log density of a model at points, by paths to a known density.

    Args:
        estimator: the density estimator.
        journey: index -> processes and times of the gaps in order, from the points to the time of
            known density; row r of a process's state is a path of point index[r].
        log_base: log rho_end, shape (N, D) -> (N,).
        x: points, shape (B, D).
        means: numerical settings.

    Raises:
        ConfigError: if the estimator needs a score and there is none.
        NumericsError: if paths become non-finite.
    """
    found = weigh(estimator, journey, x, means)
    base = log_base(found.x.flatten(0, 1)).view_as(found.change)
    return replace(average(base + found.change, found.error), nfe=found.nfe)


def _through(
    estimator: Estimator, journey: Journey, x: Tensor, chunk: Tensor, means: Means
) -> Carried:
    """Carry all paths of a chunk of points through all gaps."""
    index = chunk.repeat(estimator.paths)
    y = x[index]
    change, variance, nfe = torch.zeros_like(y[:, 0]), torch.zeros_like(y[:, 0]), 0
    for process, times in journey(index):
        how = Ode() if process.still else estimator
        found = how.carry(process, y, times, means)
        y, change, nfe = found.x, change + found.change, nfe + found.nfe
        variance = variance + found.error.square()
    shape = (estimator.paths, len(chunk))
    return Carried(y.view(*shape, x.shape[1]), change.view(shape), variance.sqrt().view(shape), nfe)
