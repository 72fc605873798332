"""Binding: applies a coupling to the points of each segment and solves its plans."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.conditions import Conditions
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.cells import CellPairs
from cfmcli.flows.coupling.couplings import Coupling, Independent, Paired
from cfmcli.flows.coupling.ends import CloudSource, NormalSource
from cfmcli.flows.coupling.excess import Solved, judged
from cfmcli.flows.coupling.layout import Layout
from cfmcli.flows.coupling.pairing import (
    STRIDE,
    BatchedPairs,
    PairSource,
    PlannedPairs,
    measured,
)
from cfmcli.flows.coupling.plans import Plan
from cfmcli.flows.coupling.pools import PooledPairs
from cfmcli.flows.coupling.semidiscrete import SemiDiscrete
from cfmcli.flows.path.interpolants import Interpolant, Linear
from cfmcli.flows.streams import Streams
from cfmcli.recipe import Recipe
from cfmcli.workflows import growth, runtime
from cfmcli.workflows.bound import Bound, grouped
from cfmcli.workflows.scope import whole_cloud
from cfmcli.workflows.sides import Codes, Piece, PlanNote, Side, independent_cost
from cfmcli.workflows.tangents import led

POOL = 10_000
LEAST_POOL = 1_000
"""Smallest pool of N(0, I) per class if there are many classes."""
RECTIFIED = 4
"""Size of the pool of N(0, I) for pairs made by a trained flow, in multiples of the usual pool."""
STRAIGHT = Linear()
LARGE = 0.5
"""Fraction of left-out mass above which a warning is issued."""


@dataclass(frozen=True)
class Binder:
    """Applies a recipe's coupling to the segments of snapshots.

    Args:
        recipe: scope, batch sizes and the cost of conditions.
        coupling: joint distribution of (x0, x1).
        conditions: how annotations become conditions.
        streams: the run's randomness.
        carry: for pairs made by a trained flow: (points, conditions, segment) -> end points.
    """

    recipe: Recipe
    coupling: Coupling
    conditions: Conditions
    streams: Streams
    carry: Callable[[Array, Array | None, int], Array] | None = None

    def segments(
        self, snapshots: Snapshots, path: Interpolant = STRAIGHT
    ) -> tuple[list[PairSource], Layout, list[PlanNote]]:
        """Bind every segment; return pair sources, column layout and notes on the plans.

        Args:
            snapshots: clouds in flow coordinates.
            path: path between the pairs, which may require tangents or masses at their ends.

        Raises:
            ConfigError: if tangents are needed but the pairs are not planned over whole clouds.
            NumericsError: if a plan cannot be solved.
        """
        kept, labels = snapshots.kept, snapshots.timeline.labels
        pairs: list[PairSource] = []
        notes: list[PlanNote] = []
        for k, (source, target) in enumerate(self._gaps(snapshots, path)):
            start = time.perf_counter()
            bound = self._grouped(source, target, k)
            pairs.append(bound.pairs)
            notes.append(
                PlanNote(
                    (labels[k], labels[k + 1]),
                    bound.scope,
                    growth.spoken(bound.coupling, bound.lengths),
                    bound.cost,
                    independent_cost(source, target),
                    time.perf_counter() - start,
                    bound.left_out,
                    bound.pieces,
                    bound.excess,
                )
            )
            _say_what_is_left_out(notes[-1])
        dim = int(kept[0].points.shape[1])
        layout = Layout(dim, self.conditions.width, path.needs_tangents, path.needs_masses)
        pairs = led(pairs, path, snapshots, self.streams)
        return pairs, layout, notes

    def _gaps(self, snapshots: Snapshots, path: Interpolant) -> Iterable[tuple[Side | None, Side]]:
        """Source and target of every segment."""
        kept, grows = snapshots.kept, path.needs_masses
        sides = [self.side(cloud) for cloud in kept]
        if snapshots.gaussian_source:
            return [(None, sides[0])]
        if grows or self.recipe.growth_key:
            return growth.gaps(self.recipe, sides, kept, grows)
        return pairwise(sides)

    def side(self, cloud: Cloud) -> Side:
        """Convert a cloud to one end of a segment."""
        points = np.asarray(cloud.points, dtype=np.float64)
        if not self.conditions.known(cloud.obs):
            return Side(points, cloud.weights)
        origin = f"time {cloud.label}"
        classes = self.conditions.codes(cloud.obs, origin) if self.conditions.classes else None
        return Side(points, cloud.weights, self.conditions.encode(cloud.obs, origin), classes)

    def _grouped(self, source: Side | None, target: Side, k: int) -> Bound:
        """Bind within each class of the target, or over all points without classes.

        Rows that are paired by index are of the same class already.
        """
        given = isinstance(self.coupling, Paired) and self.carry is None
        if target.classes is None or given:
            return self._bound(source, target, k, 0)
        found = np.unique(target.classes)
        if source is not None and source.classes is not None:
            self._say_what_ends(source.classes, found)
        shares = np.array([target.weights[target.classes == c].sum() for c in found])
        each = list(zip(found.tolist(), (shares / shares.sum()).tolist(), strict=True))
        ends = [(self._source_of(source, c, share), target.of_class(c)) for c, share in each]
        bounds = [self._bound(*own, k, place, len(found)) for place, own in enumerate(ends)]
        none = np.arange(0)
        places = [(source.places(c) if source else none, target.places(c)) for c in found]
        drawn = np.array([growth.between(*own, s) for own, (_, s) in zip(ends, each, strict=True)])
        return grouped(bounds, shares / shares.sum(), drawn, places)

    def _say_what_ends(self, before: Codes, after: Codes) -> None:
        """Warn about classes that are absent from the target of a gap."""
        gone = [self.conditions.classes[c] for c in np.setdiff1d(before, after)]
        if gone:
            runtime.warn(
                f"Of the source of a gap nothing becomes {', '.join(gone)}: its target holds no "
                "point of that class, so these points take no part."
            )

    def _source_of(self, source: Side | None, c: int, share: float) -> Side | None:
        """Points of a class in the source; if there are none, all with a share of the weight."""
        if source is None or source.classes is None:
            return source and source.scaled(share)
        if (source.classes == c).any():
            return source.of_class(c)
        runtime.warn(
            f"The class '{self.conditions.classes[c]}' is absent from the source of a gap: any of "
            "its points may become it."
        )
        return replace(source, condition=None, classes=None).scaled(share)

    def _bound(
        self, source: Side | None, target: Side, k: int, group: int, groups: int = 1
    ) -> Bound:
        """Bind one group of a segment."""
        if source is None:
            return self._from_normal(target, k, group, groups)
        return self._between(source, target, k, group)

    def _between(self, source: Side, target: Side, k: int, group: int) -> Bound:
        """Bind two finite clouds."""
        rng = self.streams.numpy("plan", k, *([group] if group else []))
        told = source.condition is not None and self.conditions.covariates
        if told and isinstance(self.coupling, Independent):
            raise ConfigError(
                "Random pairs ignore the covariates of the source, so points would end where "
                "others of their covariates do not: use --coupling exact, or leave the covariates "
                "out of the source file."
            )
        source = source.under(target, rng)
        if self.carry is not None:
            moved = self.carry(source.points, source.condition, k)
            target = Side(moved, source.weights, source.condition)
        x0, x1, ruler = source.rows, target.rows, self._ruler(target)
        whole = whole_cloud(self.recipe, self.coupling, len(x0), len(x1))
        if source.masses is not None:
            size = 0 if whole else self.recipe.ot_batch or self.recipe.batch_size
            own, scope = whole or self.coupling, "dataset" if whole else "minibatch"
            pairs, lengths, cost = growth.paired(source, target, own, size, ruler, rng)
            return Bound(pairs, scope, own, cost, lengths=lengths)
        if whole is None:
            ends = CloudSource(x0, source.weights), CloudSource(x1, target.weights)
            size = self.recipe.ot_batch or self.recipe.batch_size
            batched = BatchedPairs(*ends, self.coupling, size, ruler)
            return Bound(batched, "minibatch", self.coupling)
        seen = measured(x0, ruler), measured(x1, ruler)
        weights = source.weights, target.weights

        def solve(coupling: Coupling) -> Solved[Plan]:
            plan = coupling.plan(*seen, *weights, rng)
            return plan, seen, plan

        choices = self.streams.numpy("excess", k + group * STRIDE)
        most, stands_in = max(len(x0), len(x1)), whole != self.coupling
        whole, plan, excess = judged(whole, solve, most, choices, stands_in=stands_in)
        cost = plan.mean_cost(source.points, target.points)
        left_out = plan.left_out(source.weights, target.weights)
        pieces = (Piece(plan, np.arange(len(x0)), np.arange(len(x1))),) if not self.carry else ()
        return Bound(PlannedPairs(x0, x1, plan), "dataset", whole, cost, left_out, pieces, excess)

    def _from_normal(self, target: Side, k: int, group: int, groups: int) -> Bound:
        """Bind N(0, I) to a finite cloud; random pairs need no pool."""
        dim = target.points.shape[1]
        size = max(len(target.points), POOL // groups, min(POOL, LEAST_POOL))
        if self.carry is not None:
            size *= RECTIFIED
            drawn = NormalSource(dim).draw(size, self.streams.numpy("pool", k, group))
            return self._between(Side(drawn, np.full(size, 1 / size)), target, k, group)
        normal = NormalSource(dim, target.condition, target.weights)
        ruler = self._ruler(target)
        whole = whole_cloud(self.recipe, self.coupling, size, len(target.points))
        if whole is None or isinstance(whole, Independent):
            batch = self.recipe.ot_batch or self.recipe.batch_size
            ends = normal, CloudSource(target.rows, target.weights)
            batched = BatchedPairs(*ends, self.coupling, batch, ruler)
            return Bound(batched, "minibatch", self.coupling)
        if isinstance(whole, SemiDiscrete):
            return self._cells(normal, target, whole, k + group * STRIDE)
        place = k + group * STRIDE

        def solve(coupling: Coupling) -> Solved[PooledPairs]:
            pooled = PooledPairs(normal, target.rows, target.weights, coupling, size, ruler)
            first = pooled.first(place, self.streams)
            return pooled, (measured(first.x0, ruler), measured(first.x1, ruler)), first.plan

        choices = self.streams.numpy("excess", place)
        most, stands_in = max(size, len(target.points)), whole != self.coupling
        whole, pooled, excess = judged(whole, solve, most, choices, stands_in=stands_in)
        cost = pooled.mean_cost(place, self.streams, dim)
        left_out = pooled.left_out(place, self.streams)
        return Bound(pooled, "pool", whole, cost, left_out, excess=excess)

    def _cells(
        self, normal: NormalSource, target: Side, coupling: SemiDiscrete, number: int
    ) -> Bound:
        """Bind N(0, I) to the cells of a semidiscrete potential, which is fitted once."""
        ends, rng = (target.rows, target.weights), self.streams.numpy("potential", number)
        ruler = self._ruler(target)
        cells = CellPairs.fitted(normal, ends, coupling.tolerance, ruler, rng)
        cost = cells.mean_cost(self.streams, target.points.shape[1])
        return Bound(cells, "cells", coupling, cost)

    def _ruler(self, target: Side) -> Array | None:
        """Factor of each column in distances: covariates count, classes do not.

        Reference: Cheng & Schwing (2025), arXiv 2503.10636 (condition-aware cost)
        """
        if target.condition is None:
            return None
        mean = target.weights @ target.points
        deviations = np.sqrt(target.weights @ (target.points - mean) ** 2)
        spread = deviations.mean() * self.recipe.condition_cost
        numbers = len(self.conditions.covariates)
        plain = target.condition.shape[1] - numbers
        factors = [np.ones(target.points.shape[1]), np.zeros(plain), np.full(numbers, spread)]
        return np.concatenate(factors)


def _say_what_is_left_out(note: PlanNote) -> None:
    """Warn if a relaxed coupling leaves out most of a cloud."""
    if note.loss > LARGE:
        before, after = note.left_out
        runtime.warn(
            f"{note.ends}: {note.coupling} leaves out {before:.0%} of the mass at the start and "
            f"{after:.0%} at the end, so the flow learns little of those points: raise reg_m (in "
            f"squared flow units; random pairs are {note.independent:.3g} apart) or mass."
        )
