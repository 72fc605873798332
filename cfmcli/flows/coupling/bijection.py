"""Bijections by binary space partition: many cheap ones are merged into a good one."""

from dataclasses import dataclass

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.coupling.couplings import Blocks, Coupling, normalised
from cfmcli.flows.coupling.plans import PairPlan, Plan, pair_costs

_FLOOR = 1e-9
"""Smallest eigenvalue kept in a covariance, as a share of the largest."""

_UNIFORM = 1e-6
"""Relative spread below which weights count as uniform."""

_PASSES = 50
"""Maximum number of swap passes when merging two bijections; a few usually suffice."""


@dataclass(frozen=True)
class BinaryPartition(Coupling):
    """One-to-one pairs by halving space, in log-linear time and linear memory.

    Both clouds are halved along one random direction after another, left half with left half,
    down to single points. Several such bijections are merged by swaps that pay. Directions are
    drawn in coordinates in which the optimal map of the two Gaussian fits is the identity.

    Reference: after Genest et al. (2025), "BSP-OT: sparse transport plans between discrete measures
    in loglinear time", SIGGRAPH Asia
    Use: large clouds of equal size in few dimensions; above about five, blocks comes closer.

    Args:
        plans: number of bijections that are merged, >= 1.
    """

    plans: int = 32

    def __post_init__(self) -> None:
        if self.plans < 1:
            raise ConfigError(f"bsp: plans is {self.plans}, expected 1 or more.")

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute a permutation."""
        n = _common_size(w0, w1)
        points = np.asarray(x0, np.float64), np.asarray(x1, np.float64)
        with np.errstate(all="ignore"):
            finite = all(np.isfinite((x**2).sum()) for x in points)
        if not finite:
            raise NumericsError(
                f"bsp: the squares of the {n} source and {n} target points are not all finite; "
                "look for missing or extreme values, or standardise the features."
            )
        aligned = gaussian_alignment(*points)
        match = partition(*aligned, rng)
        for _ in range(self.plans - 1):
            match = merged(*points, match, partition(*aligned, rng))
        return PairPlan(np.arange(n), match, np.full(n, 1 / n), (n, n))

    def whole(self, n0: int, n1: int) -> Coupling:
        """This coupling for clouds of equal size, block refinement otherwise."""
        return self if n0 == n1 else Blocks()


def _common_size(w0: Array, w1: Array) -> int:
    """Return the number of points, after checking equal sizes and uniform weights."""
    if len(w0) != len(w1):
        raise ConfigError(
            f"bsp pairs clouds of one size, got {len(w0)} and {len(w1)} points: use blocks, or "
            "exact up to about 4,000 points."
        )
    if any(np.ptp(normalised(w)) * len(w) > _UNIFORM for w in (w0, w1)):
        raise ConfigError(
            "bsp pairs points of equal weight, and these have weights: use blocks, or exact up "
            "to about 4,000 points."
        )
    return len(w0)


def gaussian_alignment(x0: Array, x1: Array) -> tuple[Array, Array]:
    """Centre and transform both clouds so that their Gaussian transport map is the identity.

    With A the matrix of the map, x0 goes to A^½ x0 and x1 to A^-½ x1: then a half-space of one
    corresponds to the same half-space of the other, whatever its direction.

    Args:
        x0: source points, shape (n, D).
        x1: target points, shape (n, D).
    """
    x0, x1 = x0 - x0.mean(0), x1 - x1.mean(0)
    root, inverse = _power(x0.T @ x0, 0.5), _power(x0.T @ x0, -0.5)
    matrix = inverse @ _power(root @ (x1.T @ x1) @ root, 0.5) @ inverse
    return x0 @ _power(matrix, 0.5), x1 @ _power(matrix, -0.5)


def _power(matrix: Array, exponent: float) -> Array:
    """Power of a symmetric matrix with small eigenvalues raised; the identity for a zero matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    if values[-1] <= 0:
        return np.eye(len(matrix))
    values = np.maximum(values, _FLOOR * values[-1])
    return np.asarray((vectors * values**exponent) @ vectors.T)


def partition(x0: Array, x1: Array, rng: np.random.Generator) -> IntArray:
    """Compute a bijection by recursively halving both clouds along random member differences.

    Args:
        x0: source points, shape (n, D).
        x1: target points, shape (n, D).
        rng: source of the directions.

    Returns:
        The row of x1 that goes with each row of x0, shape (n,).
    """
    n = len(x0)
    orders = [rng.permutation(n), rng.permutation(n)]
    edges = np.array([0, n])
    while len(edges) <= n:
        sizes = np.diff(edges)
        node = np.repeat(np.arange(len(sizes)), sizes)
        ends = (edges[:-1] + np.floor(rng.random((2, len(sizes))) * sizes)).astype(np.intp)
        source, target = (x[order[ends]] for x, order in zip((x0, x1), orders, strict=True))
        of_source = rng.random((len(sizes), 1)) < 0.5
        step = np.where(of_source, source[0] - source[1], target[0] - target[1])[node]
        for side, x in enumerate((x0, x1)):
            along = np.einsum("nd,nd->n", x[orders[side]], step)
            orders[side] = orders[side][np.lexsort((along, node))]
        edges = np.union1d(edges, edges[:-1] + sizes // 2)
    match = np.empty(n, np.intp)
    match[orders[0]] = orders[1]
    return match


def merged(x0: Array, x1: Array, match: IntArray, other: IntArray) -> IntArray:
    """Improve a bijection by swaps toward another one; the cost never rises.

    Args:
        x0: source points, shape (n, D).
        x1: target points, shape (n, D).
        match: the row of x1 that goes with each row of x0, shape (n,).
        other: another such bijection.
    """
    rows, match = np.arange(len(match)), match.copy()
    wished = pair_costs(x0, x1, rows, other)
    for _ in range(_PASSES):
        owner = np.argsort(match)[other]
        own = pair_costs(x0, x1, rows, match)
        gain = own + own[owner] - wished - pair_costs(x0, x1, owner, match)
        swap = _disjoint(np.where(owner == rows, 0.0, gain), owner, 1e-12 * own.max())
        if len(swap) == 0:
            break
        match[swap], match[owner[swap]] = match[owner[swap]], match[swap]
    return match


def _disjoint(gain: Array, owner: IntArray, least: float) -> IntArray:
    """Select rows whose swap with their owner lowers the cost, no row taking part twice."""
    first = np.full(len(gain), len(gain))
    wish = np.flatnonzero(gain > least)
    np.minimum.at(first, wish, wish)
    np.minimum.at(first, owner[wish], wish)
    return np.asarray(wish[(first[wish] == wish) & (first[owner[wish]] == wish)])
