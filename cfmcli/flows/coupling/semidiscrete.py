"""Semidiscrete transport: from a continuous source, such as N(0, I), to a finite cloud."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.errors import CfmWarning, ConfigError
from cfmcli.flows.coupling import simplex
from cfmcli.flows.coupling.couplings import (
    MAX_EXACT_PAIRS,
    Blocks,
    Coupling,
    fits_exact,
    normalised,
)
from cfmcli.flows.coupling.plans import PairPlan, Plan, squared_distances, summed
from cfmcli.flows.coupling.resampling import systematic

Draw = Callable[[int, np.random.Generator], Array]
"""A sampler of the source: (n, generator) -> n points, shape (n, D)."""

MOST_TARGETS = 4_000
"""Largest cloud whose potential is fitted within a minute or two; the time is quadratic."""

_POOL, _BATCH, _CHUNK = 4_000, 500, 2_000_000
"""Number of source points in the initial pool and per step, and of scores in memory at once."""

_STEP, _SLOWDOWN, _PRIOR = 0.1, 100, 5.0
"""Initial step size, in gaps between a cell and its neighbours; steps after which it decays; prior
points by which the gap of one cell is shrunk toward the mean gap of all."""

_AIM, _EFFORT = 0.8, 6
"""Share of the tolerance to aim for, since the error is an estimate; and the maximum number of
points drawn, as a multiple of the fewest that can tell whether it is met."""


@dataclass(frozen=True, eq=False)
class Potential:
    """A semidiscrete dual potential g_j on target points, whose cells split the source by weight.

    Args:
        x1: target points, shape (n1, D).
        prices: potential g, shape (n1,).
        error: L1 distance of the masses of the cells from the weights, on fresh points, corrected
            for counting noise.
    """

    x1: Array
    prices: Array
    error: float

    def assign(self, x0: Array) -> IntArray:
        """Assign each source point to the target argmin_j |x0 - x1_j|² - g_j.

        Args:
            x0: source points, shape (n, D).

        Returns:
            Row indices of x1, shape (n,).
        """
        scores = _Scores.of(self.x1, self.prices)
        rows = max(_CHUNK // len(self.x1), 1)
        parts = [scores.at(x0[k : k + rows]).argmax(1) for k in range(0, len(x0), rows)]
        return np.concatenate(parts) if parts else np.zeros(0, np.intp)


@dataclass(frozen=True)
class SemiDiscrete(Coupling):
    """Optimal cells: each source point goes whole to one target point.

    j(x0) = argmin_j |x0 - x1_j|² - g_j, with prices g that give every target its weight

    Reference: Mousavi-Hosseini et al. (2025), arXiv 2509.25519; Genevay et al. (2016),
    arXiv 1605.08527
    Use: from N(0, I) to a cloud of up to some thousand points; prices are fitted once.

    Args:
        tolerance: largest L1 error of the target's weights, in (0, 1); time grows as its
            inverse square.
    """

    tolerance: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ConfigError(
                f"semidiscrete: tolerance is {self.tolerance}, expected a number between 0 and 1."
            )

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Pair each source point with one target: w0 holds exactly, w1 nearly, else it warns."""
        w0, w1 = normalised(w0), normalised(w1)
        rows = np.arange(len(x0))
        if fits_exact(len(x0), len(x1)):
            target = _rounded_plan(x0, x1, w0, w1)
        else:
            potential = fit_potential(_sampler(x0, w0), x1, w1, rng, self.tolerance)
            target = potential.assign(x0)
        error = float(np.abs(summed(target, w0, len(x1)) - w1).sum())
        if error > self.tolerance:
            _warn(error, self.tolerance, "whole points of the source cannot meet them; use exact")
        return PairPlan(rows, target, w0, (len(x0), len(x1)))

    def whole(self, n0: int, n1: int) -> Coupling:
        """This coupling up to 4,000 targets or 4,000 x 4,000 points, block refinement beyond."""
        return self if n1 <= MOST_TARGETS or fits_exact(n0, n1) else Blocks()


def fit_potential(
    draw: Draw, x1: Array, w1: Array, rng: np.random.Generator, tolerance: float = 0.05
) -> Potential:
    """Fit the dual potential of semidiscrete transport, for the squared distance.

    max over g of E[min_j |x0 - x1_j|² - g_j] + Σ w_j g_j, by averaged stochastic gradient steps
    g_j += step_j (1 - p_j / w_j), where p_j is the share of a batch that goes to j. It starts from
    the exact plan of a pool of source points, and stops when fresh points meet the weights.

    Reference: Genevay et al. (2016), arXiv 1605.08527, alg. 2; Mousavi-Hosseini et al. (2025),
    arXiv 2509.25519 (test of convergence)

    Args:
        draw: sampler of the source.
        x1: target points, shape (n1, D).
        w1: weights of the target, shape (n1,), > 0; normalised here.
        rng: source of randomness.
        tolerance: largest L1 error of the weights, in (0, 1).

    Returns:
        The potential with its measured error; warns if that exceeds the tolerance.

    Raises:
        NumericsError: distances are not finite.
    """
    x1, w1 = np.asarray(x1, np.float64), normalised(w1)
    goal = np.pi / 2 * (_AIM * tolerance) ** 2
    first = _first_prices(draw, x1, w1, rng)
    check = int(np.ceil(max(10 * np.sqrt(2 * len(x1)) / goal, _POOL)))
    budget, spent, stage = _EFFORT * len(x1) / goal, 0, len(x1) / goal / 2
    descent = _descend(draw, x1, w1, first, rng)
    while True:
        steps = max(int(stage) // _BATCH, _SLOWDOWN)
        prices = [next(descent) for _ in range(steps)][-1]
        error = _distance(Potential(x1, prices, np.nan), draw(check, rng), w1)
        spent += steps * _BATCH
        if error <= _AIM * tolerance or spent >= budget:
            break
        stage = spent / 2
    if not error <= tolerance:
        _warn(error, tolerance, f"{spent:,} source points did not suffice; raise the tolerance")
    return Potential(x1, prices, error)


class _Scores(NamedTuple):
    """Scores 2 x0 · x1_j + offset_j, largest where |x0 - x1_j|² - g_j is least."""

    center: Array
    twice: Array
    offset: Array

    @classmethod
    def of(cls, x1: Array, prices: Array) -> "_Scores":
        """Build the scores of target points; centred to keep precision far from the origin."""
        center = x1.mean(0)
        y = x1 - center
        return cls(center, 2 * y.T, prices - np.einsum("nd,nd->n", y, y))

    def at(self, x0: Array) -> Array:
        """Evaluate the scores of all pairs, shape (n, n1)."""
        return (np.asarray(x0, np.float64) - self.center) @ self.twice + self.offset


def _first_prices(draw: Draw, x1: Array, w1: Array, rng: np.random.Generator) -> Array:
    """Dual potential of the exact plan between a pool of source points and the target."""
    size = max(min(_POOL, MAX_EXACT_PAIRS // len(x1)), 2)
    pool = draw(size, rng)
    q0, q1 = simplex.quantised(np.full(size, 1 / size), w1)
    return simplex.solve_with_prices(q0, q1, squared_distances(pool, x1)).g


def _descend(
    draw: Draw, x1: Array, w1: Array, prices: Array, rng: np.random.Generator
) -> Iterator[Array]:
    """Run stochastic gradient steps indefinitely; yield the averaged potential after each."""
    scores = _Scores.of(x1, prices)
    offset, origin = scores.offset.copy(), scores.offset - prices
    # A single point must not throw the potential of a target of tiny weight far off.
    floor = np.maximum(w1, 0.1 / _BATCH)
    average, total, step = offset.copy(), 0.0, 0
    hits, gaps = np.zeros(len(w1)), np.zeros(len(w1))
    while True:
        target, gap = _best(scores._replace(offset=offset).at(draw(_BATCH, rng)))
        count = summed(target, np.ones(_BATCH), len(w1))
        hits, gaps = hits + count, gaps + summed(target, gap, len(w1))
        width = (gaps + _PRIOR * gaps.sum() / hits.sum()) / (hits + _PRIOR)
        pace = _STEP / np.sqrt(1 + step / _SLOWDOWN)
        offset = offset + pace * width * (w1 - count / _BATCH) / floor
        step += 1
        total += step**2
        average += (offset - average) * (step**2 / total)
        yield average - origin


def _best(scores: Array) -> tuple[IntArray, Array]:
    """Best target of each point, and its margin over the second best."""
    rows = np.arange(len(scores))
    target = scores.argmax(1)
    best = scores[rows, target]
    scores[rows, target] = -np.inf
    return target, np.where(scores.shape[1] > 1, best - scores.max(1), 0.0)


def _distance(potential: Potential, x0: Array, w1: Array) -> float:
    """Estimate the L1 distance of the true cell masses p from the weights, from fresh points.

    By Cauchy-Schwarz it is at most the root of Σ (p_j - w_j)² / v_j for any v of sum 1, and
    sqrt(2 / π) of it for normal errors. The sum is estimated without bias, hence free of the noise
    that inflates the distance of the counts themselves.
    """
    n, v = len(x0), (w1 + 1 / len(w1)) / 2
    counts = summed(potential.assign(x0), np.ones(n), len(w1))
    squares = counts * (counts - 1) / (n * (n - 1.0)) - 2 * w1 * counts / n + w1**2
    return float(np.sqrt(2 / np.pi * max((squares / v).sum(), 0.0)))


def _rounded_plan(x0: Array, x1: Array, w0: Array, w1: Array) -> IntArray:
    """Target that receives most of each source point in the exact plan, shape (n0,)."""
    i, j, mass = simplex.solve(*simplex.quantised(w0, w1), squared_distances(x0, x1))
    order = np.lexsort((mass, i))
    last = np.searchsorted(i[order], np.arange(len(x0)), side="right") - 1
    return j[order[last]]


def _sampler(x0: Array, w0: Array) -> Draw:
    """Make a sampler of a finite weighted cloud."""
    return lambda n, rng: x0[systematic(w0, n, rng)]


def _warn(error: float, tolerance: float, why: str) -> None:
    """Warn that the target's weights are not met."""
    warnings.warn(
        f"semidiscrete: the weights of the target are off by {error:.3f} in total, more than "
        f"{tolerance:g}: {why}.",
        CfmWarning,
        stacklevel=3,
    )
