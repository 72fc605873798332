"""Quadrature: integrals along paths of expensive functions, at few nodes.

A path takes many small steps, but the integrand along it is smooth: nested rules that double the
nodes each time converge geometrically, and the difference of two bounds the error of the later.
Rules may agree by chance if something sharp lies between their nodes, so two successive agreements
are required, and a check that the nodes resolve the path: the velocity must integrate to the
displacement.
"""

from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cfmcli.data.arrays import Array
from cfmcli.flows.dynamics.solvers import Adaptive

INTERVALS = {False: (8, 16, 32, 64, 128), True: (32, 64, 128)}
"""Numbers of intervals of the nested rules, in float32 and in float64."""
STEPS = 10.0
"""Allowed error of an integral in units of the step tolerance, as a path takes some ten steps."""
EARLIER = 100.0
"""Factor by which the previous difference of rules may exceed the allowed error."""
PART = 0.1
"""Fraction of the tolerances used for paths, since they are interpolated between steps."""


class Integrand(Protocol):
    """A function of points along their paths."""

    def path(
        self, x: Tensor, times: list[float], solver: Adaptive, every: int
    ) -> tuple[list[Tensor], int]:
        """Carry points; return positions, shape (B, D), at each time, and evaluations.

        Each point keeps to the tolerances; steps end at every `every`-th time.
        """

    def at(self, time: float, x: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity of points at a time, shape (B, D), and values of the integrand, shape (B, P)."""

    def of(self, rows: Tensor) -> "Integrand":
        """Restrict to some of the points."""


def integrate(
    integrand: Integrand, x: Tensor, times: tuple[float, float], solver: Adaptive
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Integrate over time along the paths of points, by Clenshaw-Curtis rules.

    Points whose last two rules differ by at most 10 (atol + rtol int |f|) are done, if the two
    before differed by at most 100 times that, and the velocity adds up to the way as closely; the
    others go on to the next rule. That difference is the error of the rule before, so what is
    returned is better than the tolerance where convergence is geometric. Paths are solved once, by
    steps that end at the nodes of the first rule and keep each point to a tenth of the tolerance,
    and interpolated at the nodes of later rules; anew for each rule where interpolants are rough.

    Reference: Clenshaw & Curtis (1960), doi 10.1007/BF01386223; Trefethen (2008),
        doi 10.1137/060659831

    Args:
        integrand: the paths, and the function f.
        x: points at the first time, shape (B, D).
        times: first and last time.
        solver: integrator whose tolerances apply.

    Returns:
        End points, shape (B, D); integrals, shape (B, P); mask of converged points, shape (B,); and
        the largest number of evaluations of any point.
    """
    start, span = times[0], times[1] - times[0]
    left = torch.arange(len(x), device=x.device)
    values = ends = found = x.new_empty(0)
    stops: list[float] = []
    places: list[Tensor] = []
    dim, reach, nfe = x.shape[1], 0, 0
    finest, finer = INTERVALS[solver.double][-1], solver.finer(PART)
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for fine in INTERVALS[solver.double][1:]:
        here = integrand.of(left)
        if fine > reach:
            reach, means = (finest, finer) if solver.dense else (fine, solver)
            stops = [*(start + span * rule(reach)[0][:-1]).tolist(), times[1]]
            places, calls = here.path(x[left], stops, means, reach // fine)
            nfe += calls
        fresh = range(1, fine, 2) if len(values) else range(fine + 1)
        nodes = [k * reach // fine for k in fresh]
        added = torch.stack([torch.cat(here.at(stops[k], places[k]), dim=1) for k in nodes])
        values = _woven(values, added) if len(values) else added
        nfe += len(added)
        better, size = (span * _sum(rule(fine)[1], part) for part in (values, values.abs()))
        if not len(ends):
            ends, found = torch.empty_like(x), torch.empty_like(better[:, dim:])
        allowed = STEPS * (solver.atol + solver.rtol * size.abs())
        good, fair = (
            span * _sum(rule(fine // part)[1], values[::part, :, dim:]) for part in (2, 4)
        )
        off = torch.cat([places[-1] - x[left], good], dim=1) - better
        close = (off.abs() <= allowed).all(dim=1)
        close &= ((good - fair).abs() <= EARLIER * allowed[:, dim:]).all(dim=1)
        ends[left], found[left], done[left] = places[-1], better[:, dim:], close
        left, values = left[~close], values[:, ~close]
        if not len(left):
            break
        places = [place[~close] for place in places]
    return ends, found, done, nfe


@cache
def rule(intervals: int) -> tuple[Array, Array]:
    """Nodes (1 - cos(k pi / n)) / 2 and weights of the Clenshaw-Curtis rule on [0, 1].

    Args:
        intervals: n, even.

    Returns:
        Ascending nodes and their weights, shape (n + 1,) each.
    """
    angle = np.pi * np.arange(intervals + 1) / intervals
    order = 2 * np.arange(1, intervals // 2 + 1)
    share = np.where(order == intervals, 1, 2) / (order**2 - 1)
    weights = (1 - np.cos(np.outer(angle, order)) @ share) / intervals
    weights[[0, -1]] /= 2
    return (1 - np.cos(angle)) / 2, weights


def _sum(weights: Array, values: Tensor) -> Tensor:
    """Weighted sum over nodes of values, shape (N, B, P), with weights of shape (N,)."""
    added: Tensor = torch.einsum("n,nbp->bp", torch.as_tensor(weights).to(values), values)
    return added


def _woven(old: Tensor, new: Tensor) -> Tensor:
    """Interleave the values of the previous rule with those at the new nodes."""
    pairs = torch.stack((old[:-1], new), dim=1).flatten(0, 1)
    return torch.cat((pairs, old[-1:]))
