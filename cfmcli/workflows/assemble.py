"""Assemble: a triple from its specs, bound to clouds, with the impossible combinations refused."""

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cfmcli import catalog
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.data.table import Array
from cfmcli.errors import ConfigError
from cfmcli.flows.couplings import Coupling, Independent
from cfmcli.flows.interpolants import Interpolant
from cfmcli.flows.objectives import Objective
from cfmcli.flows.pairing import (
    BatchedPairs,
    CloudSource,
    NormalSource,
    PairSource,
    PlannedPairs,
    PooledPairs,
)
from cfmcli.flows.streams import Streams
from cfmcli.flows.training import Task
from cfmcli.recipe import Recipe

POOL = 10_000
MOST_BYTES = 4e9


@dataclass(frozen=True)
class Triple:
    """A method's parts, built.

    Args:
        coupling: joint law of (x0, x1).
        interpolant: path between them.
        objective: what is regressed.
    """

    coupling: Coupling
    interpolant: Interpolant
    objective: Objective


@dataclass(frozen=True)
class PlanNote:
    """What became of a segment's coupling.

    Args:
        segment: labels of its two ends.
        scope: dataset, minibatch or pool.
        coupling: the coupling that was used.
        cost: mean squared distance of its pairs in flow coordinates; NaN inside minibatches.
        independent: the same for random pairs.
        seconds: time to solve it.
    """

    segment: tuple[str, str]
    scope: str
    coupling: str
    cost: float
    independent: float
    seconds: float

    def __str__(self) -> str:
        cost = "" if math.isnan(self.cost) else f", mean cost {self.cost:.4g}"
        ends = f"{self.segment[0]} -> {self.segment[1]}"
        return (
            f"{ends}: {self.coupling} coupling, scope {self.scope}{cost} "
            f"(random pairs {self.independent:.4g}), {self.seconds:.1f} s"
        )

    def figures(self) -> dict[str, Any]:
        """The note as JSON."""
        cost = None if math.isnan(self.cost) else self.cost
        return {
            "from": self.segment[0],
            "to": self.segment[1],
            "scope": self.scope,
            "coupling": self.coupling,
            "mean_cost": cost,
            "independent_cost": self.independent,
            "seconds": self.seconds,
        }


def triple(recipe: Recipe) -> Triple:
    """Build a recipe's triple and refuse what cannot work.

    Raises:
        ConfigError: for an unknown spec or a combination that cannot work, saying what to use.
    """
    coupling, interpolant, objective = recipe.triple()
    built = Triple(
        catalog.build("couplings", coupling),
        catalog.build("interpolants", interpolant),
        catalog.build("objectives", objective),
    )
    if built.interpolant.needs_gaussian_source:
        if recipe.source != "gaussian":
            raise ConfigError(
                f"The path {interpolant} starts from N(0, I) and would ignore the source points: "
                "use --source gaussian with one cloud, or --method icfm for a source of points."
            )
        if not isinstance(built.coupling, Independent):
            raise ConfigError(
                f"The path {interpolant} draws its own source, so coupling {coupling} cannot "
                "choose it: use --coupling independent, or --interpolant linear."
            )
    if recipe.scope == "dataset" and recipe.ot_batch:
        raise ConfigError(
            "--ot-batch sizes minibatch couplings, --scope dataset has none: leave one of them out."
        )
    return built


def task(
    recipe: Recipe, parts: Triple, snapshots: Snapshots, streams: Streams
) -> tuple[Task, list[PlanNote]]:
    """The task of a triple on encoded snapshots, its plans solved.

    Args:
        recipe: scope and batch sizes.
        parts: the triple.
        snapshots: clouds in flow coordinates.
        streams: the run's randomness.

    Raises:
        NumericsError: if a plan cannot be solved.
    """
    kept, labels = snapshots.kept, snapshots.timeline.labels
    targets = kept if snapshots.gaussian_source else kept[1:]
    pairs: list[PairSource] = []
    notes: list[PlanNote] = []
    for k, target in enumerate(targets):
        start = time.perf_counter()
        source = None if snapshots.gaussian_source else kept[k]
        if source is None:
            bound = _from_normal(recipe, parts.coupling, target, streams)
        else:
            bound = _between(recipe, parts.coupling, (source, target), streams.numpy("plan", k))
        pairs.append(bound.pairs)
        notes.append(
            PlanNote(
                (labels[k], labels[k + 1]),
                bound.scope,
                catalog.name_of("couplings", bound.coupling),
                bound.cost,
                _independent_cost(source, target),
                time.perf_counter() - start,
            )
        )
    return Task(pairs, parts.interpolant, parts.objective), notes


class Bound(NamedTuple):
    """A coupling bound to the two ends of a segment.

    Args:
        pairs: where its pairs come from.
        scope: dataset, minibatch or pool.
        coupling: the coupling in use.
        cost: its mean cost, NaN where it is not known beforehand.
    """

    pairs: PairSource
    scope: str
    coupling: Coupling
    cost: float


def _between(
    recipe: Recipe, coupling: Coupling, ends: tuple[Cloud, Cloud], rng: np.random.Generator
) -> Bound:
    """Pairs between two finite clouds."""
    x0, x1 = (np.asarray(cloud.points, dtype=np.float64) for cloud in ends)
    w0, w1 = (cloud.weights for cloud in ends)
    whole = whole_cloud(recipe, coupling, len(x0), len(x1))
    if whole is None:
        size = recipe.ot_batch or recipe.batch_size
        batched = BatchedPairs(CloudSource(x0, w0), CloudSource(x1, w1), coupling, size)
        return Bound(batched, "minibatch", coupling, math.nan)
    plan = whole.plan(x0, x1, w0, w1, rng)
    return Bound(PlannedPairs(x0, x1, plan), "dataset", whole, plan.mean_cost(x0, x1))


def _from_normal(recipe: Recipe, coupling: Coupling, target: Cloud, streams: Streams) -> Bound:
    """Pairs between N(0, I) and a finite cloud; random pairs need no pool."""
    x1 = np.asarray(target.points, dtype=np.float64)
    normal = NormalSource(x1.shape[1])
    size = max(len(x1), POOL)
    whole = whole_cloud(recipe, coupling, size, len(x1))
    if whole is None or isinstance(whole, Independent):
        batch = recipe.ot_batch or recipe.batch_size
        batched = BatchedPairs(normal, CloudSource(x1, target.weights), coupling, batch)
        return Bound(batched, "minibatch", coupling, math.nan)
    pooled = PooledPairs(normal, x1, target.weights, whole, size)
    return Bound(pooled, "pool", whole, pooled.mean_cost(streams))


def whole_cloud(recipe: Recipe, coupling: Coupling, n0: int, n1: int) -> Coupling | None:
    """The coupling for whole clouds of these sizes, None where minibatches are to be coupled."""
    if recipe.scope == "minibatch" or (recipe.scope == "auto" and recipe.ot_batch):
        return None
    affordable = coupling.whole(n0, n1)
    if recipe.scope == "auto" or affordable == coupling:
        return affordable
    if n0 * n1 * 8 > MOST_BYTES:
        raise ConfigError(
            f"--scope dataset: a plan of {n0} x {n1} points needs {n0 * n1 * 8e-9:.0f} GB or more: "
            "use --coupling blocks, or --scope minibatch --ot-batch 1024."
        )
    return coupling


def _independent_cost(source: Cloud | None, target: Cloud) -> float:
    """Mean squared distance of random pairs; None stands for N(0, I)."""
    mean1, spread1 = _moments(target)
    normal = (np.zeros_like(mean1), float(len(mean1)))
    mean0, spread0 = normal if source is None else _moments(source)
    return float(((mean0 - mean1) ** 2).sum() + spread0 + spread1)


def _moments(cloud: Cloud) -> tuple[Array, float]:
    """Weighted mean, shape (D,), and total variance."""
    x = np.asarray(cloud.points, dtype=np.float64)
    mean: Array = cloud.weights @ x
    return mean, float(cloud.weights @ ((x - mean) ** 2).sum(axis=1))
