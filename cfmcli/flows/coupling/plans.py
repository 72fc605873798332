"""Plans: joint distributions of source and target indices, sampled with low variance."""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cfmcli.data.arrays import Array, IntArray
from cfmcli.errors import NumericsError
from cfmcli.flows.coupling.resampling import Line

ROWS = 65_536
"""Number of points gathered at once, to bound memory."""
_DIGITS = 12
"""Decimal digits kept of a share of mass; the rest is rounding error."""


class Plan(ABC):
    """Base class of joint distributions of (i, j), which index the rows of x0 and of x1.

    Attributes:
        shape: the sizes (n0, n1) of the two clouds.
    """

    shape: tuple[int, int]

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw index pairs in random order, by systematic resampling of the mass.

        A pair of mass m appears floor(n m) or ceil(n m) times, n m on average; so a plan that
        is a permutation of n points gives each of its pairs exactly once.

        Reference: Douc, Cappé and Moulines (2005), arXiv cs/0507025

        Args:
            n: number of pairs, >= 0.
            rng: source of randomness.

        Returns:
            i and j, shape (n,) each.
        """

    @abstractmethod
    def arrays(self) -> tuple[IntArray, IntArray, Array]:
        """The pairs that carry mass, as (i, j, mass), sorted by i and then by j."""

    @abstractmethod
    def marginals(self) -> tuple[Array, Array]:
        """The masses of the rows of x0 and of x1, shapes (n0,) and (n1,)."""

    @abstractmethod
    def mean_cost(self, x0: Array, x1: Array) -> float:
        """Mean squared distance of a pair, Σ mass |x0_i - x1_j|² / Σ mass.

        Args:
            x0: source points, shape (n0, D).
            x1: target points, shape (n1, D).
        """

    @abstractmethod
    def between(self, rows: IntArray, columns: IntArray) -> "Plan":
        """Restrict the plan to some rows of x0 and of x1; all other masses become zero.

        Args:
            rows: indices into x0.
            columns: indices into x1.
        """

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of pairs that carry mass."""

    def left_out(self, w0: Array, w1: Array) -> tuple[float, float]:
        """Share of either cloud's mass that the plan's marginals lack relative to the weights.

        Half the L1 distance of each marginal from the weights: 0 for a balanced coupling, and for a
        relaxed one the mass it leaves out, which is spread over the points it keeps.

        Args:
            w0: weights of the source, shape (n0,), sum 1.
            w1: weights of the target, shape (n1,), sum 1.
        """
        lost = (np.maximum(w - m, 0) for w, m in zip((w0, w1), self.marginals(), strict=True))
        first, last = (round(float(part.sum()), _DIGITS) for part in lost)
        return first, last


class ProductPlan(Plan):
    """The independent coupling: mass_ij = w0_i w1_j, in memory O(n0 + n1).

    Args:
        w0: weights of the source, shape (n0,), >= 0.
        w1: weights of the target, shape (n1,), >= 0.
    """

    def __init__(self, w0: Array, w1: Array) -> None:
        self.shape = (len(w0), len(w1))
        self._w0, self._w1 = w0, w1
        self._lines = Line.of_single_items(w0), Line.of_single_items(w1)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw rows and columns independently, each by systematic resampling of its weights."""
        rows, columns = self._lines
        return rows.draw(n, rng), columns.draw(n, rng)

    def arrays(self) -> tuple[IntArray, IntArray, Array]:
        """All n0 n1 pairs; takes as much memory as the dense matrix."""
        return PairPlan.of_matrix(np.outer(self._w0, self._w1)).arrays()

    def between(self, rows: IntArray, columns: IntArray) -> "ProductPlan":
        """The product of the restricted weights."""
        return ProductPlan(only(self._w0, rows), only(self._w1, columns))

    @property
    def count(self) -> int:
        """Number of rows with weight times number of columns with weight."""
        return int(np.count_nonzero(self._w0) * np.count_nonzero(self._w1))

    def marginals(self) -> tuple[Array, Array]:
        """The weights themselves."""
        return self._w0, self._w1

    def mean_cost(self, x0: Array, x1: Array) -> float:
        """Mean squared distance by moments, |E x0 - E x1|² + tr Var x0 + tr Var x1."""
        (mean0, spread0), (mean1, spread1) = _moments(x0, self._w0), _moments(x1, self._w1)
        return float(((mean0 - mean1) ** 2).sum() + spread0 + spread1)


class PairPlan(Plan):
    """A sparse plan: a list of pairs with their masses.

    Args:
        i: rows of x0, shape (k,).
        j: rows of x1, shape (k,).
        mass: masses of the pairs, shape (k,), >= 0; duplicate pairs are summed.
        shape: the sizes (n0, n1) of the two clouds.
        rounds: rounds of refinement that produced it, 0 if it was solved directly.
    """

    def __init__(
        self, i: IntArray, j: IntArray, mass: Array, shape: tuple[int, int], rounds: int = 0
    ) -> None:
        self.shape, self.rounds = shape, rounds
        self._i, self._j, self._mass = merge_pairs(i, j, mass, shape)
        starts = np.flatnonzero(np.diff(self._i, prepend=-1))
        self._line = Line(self._mass, np.append(starts, len(self._i)))

    @classmethod
    def of_matrix(cls, matrix: Array) -> "PairPlan":
        """Build a plan from a mostly zero matrix of masses, shape (n0, n1)."""
        i, j = np.nonzero(matrix)
        return cls(i, j, matrix[i, j], (matrix.shape[0], matrix.shape[1]))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw pairs by systematic resampling, balanced also over the rows of x0."""
        k = self._line.draw(n, rng)
        return self._i[k], self._j[k]

    def arrays(self) -> tuple[IntArray, IntArray, Array]:
        """The pairs, sorted by i and then by j."""
        return self._i, self._j, self._mass

    def between(self, rows: IntArray, columns: IntArray) -> "PairPlan":
        """Keep only the pairs between those rows and columns."""
        n0, n1 = self.shape
        kept = _mask(rows, n0)[self._i] & _mask(columns, n1)[self._j]
        i, j, mass = self._i[kept], self._j[kept], self._mass[kept]
        return PairPlan(i, j, mass, self.shape, self.rounds)

    @property
    def count(self) -> int:
        """Number of pairs in the list."""
        return len(self._mass)

    def marginals(self) -> tuple[Array, Array]:
        """The masses of the rows of x0 and of x1."""
        n0, n1 = self.shape
        return summed(self._i, self._mass, n0), summed(self._j, self._mass, n1)

    def mean_cost(self, x0: Array, x1: Array) -> float:
        """Mean squared distance of a pair."""
        return float(self._mass @ pair_costs(x0, x1, self._i, self._j) / self._mass.sum())


class DensePlan(Plan):
    """A plan stored as a dense matrix.

    Args:
        matrix: masses of all pairs, shape (n0, n1), >= 0.
    """

    def __init__(self, matrix: Array) -> None:
        self.shape = (matrix.shape[0], matrix.shape[1])
        self._matrix = matrix

    @cached_property
    def _line(self) -> "Line":
        """Masses of the matrix in row-major order, one group per row, for systematic resampling."""
        n0, n1 = self.shape
        return Line(self._matrix.ravel(), np.arange(n0 + 1) * n1)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw pairs by systematic resampling, balanced also over the rows of x0."""
        i, j = np.divmod(self._line.draw(n, rng), self.shape[1])
        return i, j

    def arrays(self) -> tuple[IntArray, IntArray, Array]:
        """The pairs that carry mass, sorted by i and then by j."""
        return PairPlan.of_matrix(self._matrix).arrays()

    def between(self, rows: IntArray, columns: IntArray) -> "DensePlan":
        """The matrix with zeros elsewhere."""
        found = np.zeros_like(self._matrix)
        block = np.ix_(rows, columns)
        found[block] = self._matrix[block]
        return DensePlan(found)

    @property
    def count(self) -> int:
        """Number of nonzero entries."""
        return int(np.count_nonzero(self._matrix))

    def marginals(self) -> tuple[Array, Array]:
        """The masses of the rows of x0 and of x1."""
        return self._matrix.sum(1), self._matrix.sum(0)

    def mean_cost(self, x0: Array, x1: Array) -> float:
        """Mean squared distance of a pair."""
        return float(np.vdot(self._matrix, squared_distances(x0, x1)) / self._matrix.sum())


def only(mass: Array, places: IntArray) -> Array:
    """Masses of the items at the given indices, 0 elsewhere."""
    return np.where(_mask(places, len(mass)), mass, 0.0)


def _mask(places: IntArray, n: int) -> npt.NDArray[np.bool_]:
    """Boolean mask of the given indices among n items, shape (n,)."""
    found = np.zeros(n, dtype=bool)
    found[places] = True
    return found


def _moments(x: Array, w: Array) -> tuple[Array, float]:
    """Weighted mean, shape (D,), and trace of the covariance."""
    mean = w @ x / w.sum()
    return mean, float(w @ ((x - mean) ** 2).sum(1) / w.sum())


def summed(index: IntArray, mass: Array, size: int = 0) -> Array:
    """Total mass at each index, shape (size or more,)."""
    return np.bincount(index, mass, size).astype(np.float64, copy=False)


def merge_pairs(
    i: IntArray, j: IntArray, mass: Array, shape: tuple[int, int]
) -> tuple[IntArray, IntArray, Array]:
    """Sort pairs by i and then by j, and sum the masses of duplicates."""
    keys, place = np.unique(i * shape[1] + j, return_inverse=True)
    rows, columns = np.divmod(keys, shape[1])
    return rows, columns, summed(place, mass, len(keys))


def pair_costs(x0: Array, x1: Array, i: IntArray, j: IntArray) -> Array:
    """Squared distances |x0_i - x1_j|² of pairs, shape (k,)."""
    found = np.empty(len(i))
    for start in range(0, len(i), ROWS):
        rows = slice(start, start + ROWS)
        gap = x0[i[rows]] - x1[j[rows]]
        found[rows] = np.einsum("kd,kd->k", gap, gap)
    return found


def squared_distances(x0: Array, x1: Array) -> Array:
    """Compute the squared distances |x0_i - x1_j|² of all pairs.

    Args:
        x0: source points, shape (n0, D).
        x1: target points, shape (n1, D).

    Returns:
        Distances, shape (n0, n1), float64.

    Raises:
        NumericsError: some are not finite.
    """
    from scipy.spatial.distance import cdist

    distances: Array = cdist(x0, x1, "sqeuclidean")
    if not np.isfinite(distances).all():
        raise NumericsError(
            f"The squared distances between {len(x0)} source and {len(x1)} target points are not "
            "all finite; look for missing or extreme values, or standardise the features."
        )
    return distances
