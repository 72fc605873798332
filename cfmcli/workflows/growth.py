"""Growth: the mass of snapshots, what is known of its change, and pairs that take it along."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from cfmcli import catalog
from cfmcli.data.arrays import Array
from cfmcli.data.growth import expected
from cfmcli.data.snapshots import Cloud
from cfmcli.errors import ConfigError, DataError
from cfmcli.flows.coupling import wfr
from cfmcli.flows.coupling.couplings import Coupling
from cfmcli.flows.coupling.growing import GrowingBatches, Masses, alone, growing
from cfmcli.flows.coupling.pairing import PairSource, PlannedPairs, measured
from cfmcli.flows.coupling.wfr import FisherRao
from cfmcli.model import Model
from cfmcli.recipe import Recipe
from cfmcli.workflows import runtime
from cfmcli.workflows.sides import Side

ALONE = 0.01
"""Share of a snapshot's mass beyond the reach of the other that is worth a warning."""


def massive(how: str, clouds: Sequence[Cloud]) -> list[Cloud]:
    """Clouds with the total masses asked for, in units of the first.

    Args:
        how: counts (sum of the weights, or number of points), equal, or numbers in time order.
        clouds: in time order, their mass the sum of their weights.

    Raises:
        ConfigError: if it is none of these.
    """
    totals = {"counts": [cloud.mass for cloud in clouds], "equal": [1.0] * len(clouds)}
    found = totals.get(how) or _numbers(how)
    if len(found) != len(clouds) or not all(0 < mass < math.inf for mass in found):
        raise ConfigError(
            f"--mass {how}: expected counts, equal, or a positive number for each of the "
            f"{len(clouds)} snapshots in time order, such as 1,2.5,4."
        )
    return [replace(c, mass=mass / found[0]) for c, mass in zip(clouds, found, strict=True)]


def _numbers(text: str) -> list[float]:
    """The numbers of a list; none where it is no such list."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        return []


def prior(recipe: Recipe, cloud: Cloud) -> Array:
    """What a recipe's growth column says of the points of a cloud, shape (n,).

    Raises:
        DataError: if it is not there, or holds something that cannot be growth.
    """
    key = recipe.growth_key
    if key not in cloud.obs.columns:
        raise DataError(
            f"The points at {cloud.label} have no column '{key}' (--growth-key): every snapshot "
            "but the last needs it."
        )
    try:
        values = np.asarray(cloud.obs[key], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"--growth-key '{key}' at {cloud.label}: the values are no numbers."
        ) from None
    scores = recipe.growth_kind == "score"
    bad = np.flatnonzero(~(np.isfinite(values) & ((values > 0) | (not scores))))
    if len(bad):
        raise DataError(
            f"--growth-key '{key}': {values[bad[0]]:g} of point {cloud.obs.index[bad[0]]} at "
            f"{cloud.label}: expected {'positive scores' if scores else 'finite rates'} "
            f"({len(bad)} are not)."
        )
    return values


def expecting(recipe: Recipe, side: Side, ends: tuple[Cloud, Cloud], grows: bool) -> Side:
    """The source of a gap with the weights that are expected of it after the gap.

    Args:
        recipe: which column says so.
        side: the source.
        ends: the clouds at both ends of the gap.
        grows: whether mass takes part.

    Raises:
        DataError: if the column cannot be used.
    """
    cloud, after = ends
    own = become = cloud.mass * cloud.weights
    if recipe.growth_key:
        become = expected(cloud, after, prior(recipe, cloud), recipe.growth_kind)
        if not np.isfinite(become).all():
            raise DataError(
                f"--growth-key '{recipe.growth_key}': a point at {cloud.label} would become more "
                f"than can be counted at {after.label}: give rates per unit of the clock, or "
                "--growth-kind score where they are relative offspring."
            )
    if not grows:
        return replace(side, weights=become / become.sum())
    return replace(side, weights=become / become.sum(), masses=own, expected=become)


def gaps(
    recipe: Recipe, sides: Sequence[Side], kept: Sequence[Cloud], grows: bool
) -> list[tuple[Side, Side]]:
    """The ends of every gap: the source as `expecting` has it, the target as it was observed.

    Args:
        recipe: which column says how points grow.
        sides: the points of each snapshot.
        kept: the snapshots.
        grows: whether mass takes part.

    Raises:
        DataError: if the column cannot be used.
    """
    found = []
    for (source, target), ends in zip(pairwise(sides), pairwise(kept), strict=True):
        masses = ends[1].mass * ends[1].weights if grows else None
        found.append((expecting(recipe, source, ends, grows), replace(target, masses=masses)))
    return found


def between(source: Side | None, target: Side, share: float) -> float:
    """What the pairs of a group are drawn by: the mean mass of its ends, as pairs in it are.

    Args:
        source: the points of the group before; None for N(0, I).
        target: the points of the group after.
        share: what counts where mass plays no role.
    """
    if source is None or source.masses is None or target.masses is None:
        return share
    return float(source.masses.sum() + target.masses.sum()) / 2


def described(recipe: Recipe, kept: Sequence[Cloud]) -> tuple[str, ...]:
    """A line for each gap on what a recipe's growth column makes of the points before it."""
    if not recipe.growth_key:
        return ()
    lines = []
    for before, after in pairwise(kept):
        side = expecting(recipe, Side(before.points, before.weights), (before, after), True)
        assert side.masses is not None
        assert side.expected is not None
        times, share = side.expected / side.masses, side.expected / side.expected.sum()
        told = f"counts {times.min():.3g} to {times.max():.3g} times at {after.label}"
        lines.append(
            f"growth by '{recipe.growth_key}': a point of {before.label} {told}; {len(before)} "
            f"weigh as many as {1 / (share @ share):.0f} equal ones"
        )
    return tuple(lines)


def paired(
    source: Side,
    target: Side,
    coupling: Coupling,
    size: int,
    ruler: Array | None,
    rng: np.random.Generator,
) -> tuple[PairSource, Array | None, float]:
    """Pairs that take along their masses, the length δ of each axis, and their mean cost.

    Args:
        source: points with masses.
        target: likewise.
        coupling: of the two.
        size: points of a minibatch; 0 for one plan over whole clouds.
        ruler: factor of each column where distances are measured.
        rng: randomness of the plan.
    """
    before, expected, after = source.masses, source.expected, target.masses
    assert before is not None
    assert expected is not None
    assert after is not None
    x0, x1 = source.rows, target.rows
    seen = measured(x0, ruler), measured(x1, ruler)
    lengths: Array | None = None
    if isinstance(coupling, FisherRao):
        lengths = coupling.lengths(source.points, target.points, expected, after, rng)
        coupling = replace(coupling, delta=1.0)
        ruler = np.ones(x0.shape[1]) if ruler is None else ruler.copy()
        ruler[: len(lengths)] /= lengths
        ruler[len(lengths) :] /= lengths.mean()
        seen = measured(x0, ruler), measured(x1, ruler)
    masses = Masses(before, after, math.inf if lengths is None else lengths)
    if size:
        batches = GrowingBatches(x0, x1, masses, expected, coupling, size, ruler)
        return batches, lengths, math.nan
    plan = coupling.plan(*seen, expected, after, rng)
    _say_what_is_left(*alone(plan, masses))
    cost = plan.mean_cost(source.points, target.points)
    return PlannedPairs(*growing(x0, x1, plan, masses)), lengths, cost


def totals(model: Model, times: tuple[float, float], ratio: float) -> dict[str, float]:
    """What a population became, beside what was observed where both times were.

    Args:
        model: whose snapshots are meant.
        times: clock times, from where to where.
        ratio: mass at the second time over mass at the first.
    """
    first, last = (model.cloud(time, held_out=True) for time in times)
    figures = {"relative_mass": float(ratio)}
    if first is None or last is None:
        return figures
    observed = last.mass / first.mass
    error = abs(ratio / observed - 1)
    return figures | {"observed_relative_mass": observed, "mass_error": float(error)}


def spoken(coupling: Coupling, lengths: Array | None) -> str:
    """A coupling by name, with the lengths that it found."""
    name = catalog.name_of("couplings", coupling)
    return name if lengths is None else f"{name} ({wfr.told(lengths)})"


def _say_what_is_left(dying: float, born: float) -> None:
    """Warn of mass that the other end of a gap does not reach."""
    if max(dying, born) > ALONE:
        runtime.warn(
            f"Out of reach over a gap: {dying:.1%} of the mass before, which dies where it is, and "
            f"{born:.1%} of the mass after, which no flow can bring there. Raise delta: "
            "--coupling wfr:delta=..."
        )
