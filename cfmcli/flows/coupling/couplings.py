"""Couplings: rules that pair source and target points."""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning, ConfigError, NumericsError
from cfmcli.flows.coupling import blocks, costs, simplex, sinkhorn
from cfmcli.flows.coupling.plans import DensePlan, PairPlan, Plan, ProductPlan

MAX_EXACT_PAIRS = 4_000 * 4_000
"""Largest n0 n1 for which one exact plan takes seconds and less than 1 GiB."""

CHEAP_EXACT_PAIRS = 2_500 * 2_500
"""Largest n0 n1 solved exactly by default: 2 to 3 s, against 0.2 to 0.6 s by block refinement."""

_TOLERANCE, _ITERATIONS = 1e-4, 10_000

_ENTROPY_ERROR = 5e-3
"""Deviation from the requested entropy above which a warning is issued."""


def fits_exact(n0: int, n1: int) -> bool:
    """Whether an exact or entropic plan of clouds of n0 and n1 points is cheap enough.

    Args:
        n0: number of source points.
        n1: number of target points.

    Returns:
        True up to 4,000 x 4,000; beyond that, `Blocks` does it in linear time and memory.
    """
    return n0 * n1 <= MAX_EXACT_PAIRS


def normalised(w: Array) -> Array:
    """Normalise weights to sum one in float64, shape (n,)."""
    weights = np.asarray(w, np.float64)
    return np.asarray(weights / weights.sum())


class Coupling(ABC):
    """Base class of rules that turn two weighted clouds into a plan."""

    @abstractmethod
    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute the joint distribution of the rows of x0 and x1.

        Args:
            x0: source points, shape (n0, D), finite.
            x1: target points, shape (n1, D), finite.
            w0: weights of the source, shape (n0,), > 0; normalised here.
            w1: weights of the target, shape (n1,), > 0; normalised here.
            rng: source of randomness, for couplings that need one.

        Returns:
            A plan of sum 1; its marginals are w0 and w1 unless the coupling says otherwise.

        Raises:
            NumericsError: costs or plan are not finite.
        """

    @abstractmethod
    def whole(self, n0: int, n1: int) -> "Coupling | None":
        """Choose the coupling to solve once over whole clouds of these sizes.

        Returns:
            This coupling if it is cheap enough in time and memory, another one that approximates
            it, or None if minibatches have to be coupled instead.
        """


@dataclass(frozen=True)
class Independent(Coupling):
    """Random pairs: source and target are drawn apart.

    π = q0 ⊗ q1

    Reference: Tong et al. (2023), arXiv 2302.00482
    Use: as the baseline, and wherever the score must follow from the velocity.
    """

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Return the product of the weights; the points do not matter."""
        return ProductPlan(normalised(w0), normalised(w1))

    def whole(self, n0: int, n1: int) -> Coupling:
        """This coupling, at any size."""
        return self


@dataclass(frozen=True)
class Exact(Coupling):
    """Optimal pairs: the plan of least mean cost.

    π = argmin over plans with marginals q0, q1 of Σ π_ij c(x0_i, x1_j)

    Reference: Tong et al. (2023), arXiv 2302.00482; Pooladian et al. (2023),
    arXiv 2304.14772
    Use: by default; with --scope auto blocks stands in for it above 2,500 points.

    Args:
        cost: cost c of a pair: sqeuclidean, euclidean, cosine, or another distance of SciPy.
    """

    cost: str = costs.SQUARED

    def __post_init__(self) -> None:
        costs.check_metric("exact", self.cost)

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute at most n0 + n1 - 1 pairs; a permutation if sizes and all weights are equal."""
        q0, q1 = simplex.quantised(normalised(w0), normalised(w1))
        i, j, mass = simplex.solve(q0, q1, costs.relative_costs(x0, x1, self.cost))
        return PairPlan(i, j, mass / q0.sum(), (len(x0), len(x1)))

    def whole(self, n0: int, n1: int) -> Coupling | None:
        """This coupling up to 2,500 x 2,500 points, block refinement beyond.

        Block refinement knows only the squared distance: with other costs this coupling up to
        4,000 x 4,000 points, minibatches beyond.
        """
        if self.cost != costs.SQUARED:
            return self if fits_exact(n0, n1) else None
        return self if n0 * n1 <= CHEAP_EXACT_PAIRS else Blocks()


@dataclass(frozen=True)
class Sinkhorn(Coupling):
    """Entropic pairs: optimal ones, blurred by a regularisation.

    π = argmin over plans with marginals q0, q1 of Σ π_ij c(x0_i, x1_j) + reg Σ π_ij log π_ij

    reg → 0 gives `Exact`, reg → ∞ gives `Independent`; reg = 2 sigma² makes a Brownian bridge
    of scale sigma between the pairs a Schrödinger bridge.

    Reference: Cuturi (2013), arXiv 1306.0895, eq. 2; Tong et al. (2023), arXiv 2302.00482
    Use: for Schrödinger bridges, with reg = 2 sigma²; for large batches, with entropy = 0.2.

    Args:
        reg: regularisation, > 0, in the unit of the cost, for instance squared distance.
        entropy: finds reg instead: blur of the plan, from 0 for a permutation to 1 for random
            pairs, below 1; 0 means that reg decides.
        cost: cost c of a pair: sqeuclidean, euclidean, cosine, or another distance of SciPy.
    """

    reg: float = 0.05
    entropy: float = 0.0
    cost: str = costs.SQUARED

    def __post_init__(self) -> None:
        if not (np.isfinite(self.reg) and self.reg > 0):
            raise ConfigError(
                f"sinkhorn: reg is {self.reg}, expected a positive number; for reg = 0 use exact."
            )
        if not 0 <= self.entropy < 1:
            raise ConfigError(
                f"sinkhorn: entropy is {self.entropy}, expected a number from 0 to below 1; for "
                "entropy = 1 use independent."
            )
        if self.entropy and self.reg != type(self).reg:
            raise ConfigError(
                f"sinkhorn: entropy = {self.entropy:g} finds reg, and reg = {self.reg:g} is given "
                "too: leave one of them out."
            )
        costs.check_metric("sinkhorn", self.cost)

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute a dense plan with exact marginals; warn if it is not the one asked for."""
        cost = costs.cost_matrix(x0, x1, self.cost)
        problem = sinkhorn.Entropic(cost, normalised(w0), normalised(w1))
        with np.errstate(all="ignore"):
            reg, solution = self._solution(problem)
            matrix = sinkhorn.rounded(solution.plan, problem.w0, problem.w1)
        if not np.isfinite(matrix).all():
            raise NumericsError(
                f"sinkhorn: the plan is not finite with reg = {reg:g} and costs from "
                f"{cost.min():g} to {cost.max():g}; raise reg or use exact."
            )
        self._warn(solution.error, matrix, reg)
        return DensePlan(matrix)

    def whole(self, n0: int, n1: int) -> Coupling | None:
        """This coupling up to 4,000 x 4,000 points, minibatches beyond."""
        return self if fits_exact(n0, n1) else None

    def _solution(self, problem: sinkhorn.Entropic) -> tuple[float, sinkhorn.Solution]:
        """Return the regularisation and the solution it gives."""
        if self.entropy:
            return sinkhorn.solve_to_entropy(problem, self.entropy, _TOLERANCE, _ITERATIONS)
        return self.reg, sinkhorn.solve(problem, self.reg, _TOLERANCE, _ITERATIONS)

    def _warn(self, error: float, matrix: Array, reg: float) -> None:
        """Warn if the plan is not converged or misses the requested entropy."""
        if error > _TOLERANCE:
            warnings.warn(
                f"sinkhorn: not converged after {_ITERATIONS} iterations with reg = "
                f"{reg:g}; the marginals were off by {error:.1e} in total and have been "
                "put right. Raise reg or use exact.",
                CfmWarning,
                stacklevel=3,
            )
        found = sinkhorn.renormalised_entropy(matrix) if self.entropy else 0.0
        if self.entropy and abs(found - self.entropy) > _ENTROPY_ERROR:
            warnings.warn(
                f"sinkhorn: the plan has entropy {found:.3f} with reg = {reg:g}, not "
                f"{self.entropy:g}: unequal weights, ties and points that coincide leave no plan "
                "of less, or none that can be found. Raise entropy or use exact.",
                CfmWarning,
                stacklevel=3,
            )


@dataclass(frozen=True)
class Blocks(Coupling):
    """Nearly optimal pairs of clouds too large for `Exact`, in linear time and memory.

    A coarse plan between 4 size cells of points, then rounds of exact transport inside blocks
    of neighbouring pairs. Marginals are exact, the cost never rises, and a permutation stays
    one; optimal where neither cloud has more than 4 size points.

    Reference: akin to hierarchical refinement, Halmos et al. (2025), arXiv 2503.03025
    Use: for one plan of clouds of more than about 2,500 points.

    Args:
        size: points of the larger cloud in a block, >= 2; a block holds at most 2 size pairs.
        gain: share of the cost between aligned clouds, above 0 and below 1; the first round of
            blocks that lowers the cost by no more than this is the last.
    """

    size: int = 128
    gain: float = 2e-3

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ConfigError(f"blocks: size is {self.size}, expected 2 or more.")
        if not 0 < self.gain < 1:
            raise ConfigError(f"blocks: gain is {self.gain}, expected a number between 0 and 1.")

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Compute a sparse plan: a permutation, or about one to three times n0 + n1 pairs."""
        weights = normalised(w0), normalised(w1)
        return blocks.refined_plan(x0, x1, weights, self.size, self.gain, rng)

    def whole(self, n0: int, n1: int) -> Coupling:
        """This coupling, at any size."""
        return self


@dataclass(frozen=True)
class Paired(Coupling):
    """Pairs as they stand: row i of the source with row i of the target.

    Reference: Liu et al. (2022), arXiv 2209.03003 (pairs made by a trained flow)
    Use: data whose rows belong together, and pairs that a trained flow makes.
    """

    def plan(self, x0: Array, x1: Array, w0: Array, w1: Array, rng: np.random.Generator) -> Plan:
        """Return the diagonal plan, with the weights of the source as masses."""
        if len(x0) != len(x1):
            raise ConfigError(
                f"paired: {len(x0)} source and {len(x1)} target rows; rows can only be paired "
                "where there are as many of both. Use exact."
            )
        rows = np.arange(len(x0))
        return PairPlan(rows, rows, normalised(w0), (len(x0), len(x1)))

    def whole(self, n0: int, n1: int) -> Coupling:
        """This coupling, at any size."""
        return self
