"""Couplings: how source and target points are paired."""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from cfmcli.data.table import Array
from cfmcli.errors import CfmWarning, ConfigError, NumericsError
from cfmcli.flows import blocks, simplex, sinkhorn
from cfmcli.flows.plans import DensePlan, PairPlan, Plan, ProductPlan, squared_distances

MAX_EXACT_PAIRS = 4_000 * 4_000
"""Largest n0 n1 at which one exact plan takes seconds and less than 1 GiB."""

_TOLERANCE, _ITERATIONS = 1e-4, 10_000


def fits_exact(n0: int, n1: int) -> bool:
    """Whether an exact or entropic plan of clouds of n0 and n1 points is cheap enough.

    Args:
        n0: number of source points.
        n1: number of target points.

    Returns:
        True up to 4,000 x 4,000; beyond that, `Blocks` does it in linear time and memory.
    """
    return n0 * n1 <= MAX_EXACT_PAIRS


class Coupling(ABC):
    """A rule that turns two weighted clouds into a plan, for the cost |x0 - x1|²."""

    @abstractmethod
    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """The joint law of the rows of x0 and x1.

        Args:
            x0: source points, shape (n0, D), finite.
            x1: target points, shape (n1, D), finite.
            w0: weights of the source, shape (n0,), > 0; normalised here.
            w1: weights of the target, shape (n1,), > 0; normalised here.
            rng: source of randomness, for couplings that need one.

        Returns:
            A plan with marginals w0 and w1.

        Raises:
            NumericsError: costs or plan are not finite.
        """

    @abstractmethod
    def whole(self, n0: int, n1: int) -> "Coupling | None":
        """What to solve once over whole clouds of these sizes, in seconds and in memory.

        Returns:
            This coupling where it is cheap enough, another that comes close to it, or None where
            minibatches have to be coupled instead.
        """


@dataclass(frozen=True)
class Independent(Coupling):
    """Random pairs: source and target are drawn apart.

    π = q0 ⊗ q1

    Reference: Tong et al. (2023), arXiv 2302.00482
    Use: as the baseline, and wherever the score must follow from the velocity.
    """

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """The product of the weights; the points do not matter."""
        return ProductPlan(_normalised(w0), _normalised(w1))

    def whole(self, n0: int, n1: int) -> Coupling:
        """Itself, at any size."""
        return self


@dataclass(frozen=True)
class Exact(Coupling):
    """Optimal pairs: the plan of least mean squared distance.

    π = argmin over plans with marginals q0, q1 of Σ π_ij |x0_i - x1_j|²

    Reference: Tong et al. (2023), arXiv 2302.00482; Pooladian et al. (2023),
    arXiv 2304.14772
    Use: by default, for batches and for clouds of up to about 4,000 points.
    """

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """A vertex of the polytope; a permutation where the sizes and all weights are equal."""
        q0, q1 = simplex.quantised(_normalised(w0), _normalised(w1))
        i, j, mass = simplex.solve(q0, q1, squared_distances(x0, x1))
        return PairPlan(i, j, mass / q0.sum(), (len(x0), len(x1)))

    def whole(self, n0: int, n1: int) -> Coupling:
        """Itself up to 4,000 x 4,000 points, block refinement beyond."""
        return self if fits_exact(n0, n1) else Blocks()


@dataclass(frozen=True)
class Sinkhorn(Coupling):
    """Entropic pairs: optimal ones, blurred by a regularisation.

    π = argmin over plans with marginals q0, q1 of Σ π_ij |x0_i - x1_j|² + reg Σ π_ij log π_ij

    reg → 0 gives `Exact`, reg → ∞ gives `Independent`; reg = 2 sigma² makes a Brownian bridge
    of scale sigma between the pairs a Schrödinger bridge.

    Reference: Cuturi (2013), arXiv 1306.0895, eq. 2; Tong et al. (2023), arXiv 2302.00482
    Use: for Schrödinger bridges, with reg = 2 sigma².

    Args:
        reg: regularisation, > 0, in the unit of the squared distance.
    """

    reg: float = 0.05

    def __post_init__(self) -> None:
        if not (np.isfinite(self.reg) and self.reg > 0):
            raise ConfigError(
                f"sinkhorn: reg is {self.reg}, expected a positive number; for reg = 0 use exact."
            )

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """A dense plan with exact marginals; warns where it is not quite the entropic one."""
        cost = squared_distances(x0, x1)
        problem = sinkhorn.Entropic(cost, _normalised(w0), _normalised(w1))
        with np.errstate(all="ignore"):
            matrix, error = sinkhorn.solve(problem, self.reg, _TOLERANCE, _ITERATIONS)
        if not np.isfinite(matrix).all():
            raise NumericsError(
                f"sinkhorn: the plan is not finite with reg = {self.reg:g} and squared distances "
                f"from {cost.min():g} to {cost.max():g}; raise reg or use exact."
            )
        if error > _TOLERANCE:
            warnings.warn(
                f"sinkhorn: not converged after {_ITERATIONS} iterations with reg = "
                f"{self.reg:g}; the marginals were off by {error:.1e} in total and have been "
                "put right. Raise reg or use exact.",
                CfmWarning,
                stacklevel=2,
            )
        return DensePlan(matrix)

    def whole(self, n0: int, n1: int) -> Coupling | None:
        """Itself up to 4,000 x 4,000 points, minibatches beyond."""
        return self if fits_exact(n0, n1) else None


@dataclass(frozen=True)
class Blocks(Coupling):
    """Nearly optimal pairs of clouds too large for `Exact`, in linear time and memory.

    A coarse plan between 4 size cells of points, then rounds of exact transport inside blocks
    of neighbouring pairs. Marginals are exact, the cost never rises, and a permutation stays
    one; optimal where neither cloud has more than 4 size points.

    Reference: akin to hierarchical refinement, Halmos et al. (2025), arXiv 2503.03025
    Use: for one plan of clouds of more than about 4,000 points.

    Args:
        size: points of the larger cloud in a block, >= 2; a block holds at most 2 size pairs.
        rounds: largest number of rounds, >= 0; it stops early when a round gains too little.
    """

    size: int = 256
    rounds: int = 8

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ConfigError(f"blocks: size is {self.size}, expected 2 or more.")
        if self.rounds < 0:
            raise ConfigError(f"blocks: rounds is {self.rounds}, expected 0 or more.")

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """A sparse plan of one to three times n0 + n1 pairs."""
        weights = _normalised(w0), _normalised(w1)
        points = np.asarray(x0, np.float64), np.asarray(x1, np.float64)
        return blocks.refined_plan(*points, weights, self.size, self.rounds, rng)

    def whole(self, n0: int, n1: int) -> Coupling:
        """Itself, at any size."""
        return self


def _normalised(w: Array) -> Array:
    """Weights of sum one in float64."""
    weights = np.asarray(w, np.float64)
    return np.asarray(weights / weights.sum())
