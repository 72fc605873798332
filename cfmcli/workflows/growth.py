"""Growth: masses of snapshots, prior growth, and pairs with masses."""

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
"""Fraction of a snapshot's mass out of reach of the other above which a warning is issued."""


def massive(how: str, clouds: Sequence[Cloud]) -> list[Cloud]:
    """Assign total masses to the clouds, in units of the first.

    Args:
        how: counts (sum of the weights, or number of points), equal, or numbers in time order.
        clouds: in time order, with mass equal to the sum of their weights.

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
    """Parse a list of numbers; empty if it is not one."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        return []


def prior(recipe: Recipe, cloud: Cloud) -> Array:
    """Read a recipe's growth column for the points of a cloud, shape (n,).

    Raises:
        DataError: if it is missing or holds invalid values.
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
    """Weight the source of a gap by the growth expected over the gap.

    Args:
        recipe: settings of the fit, including the growth column.
        side: the source.
        ends: the clouds at both ends of the gap.
        grows: whether pairs have masses.

    Raises:
        DataError: if the column is unusable.
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
    """Ends of every gap: the source weighted by `expecting`, the target as observed.

    Args:
        recipe: settings of the fit, including the growth column.
        sides: the points of each snapshot.
        kept: the snapshots.
        grows: whether pairs have masses.

    Raises:
        DataError: if the column is unusable.
    """
    found = []
    for (source, target), ends in zip(pairwise(sides), pairwise(kept), strict=True):
        masses = ends[1].mass * ends[1].weights if grows else None
        found.append((expecting(recipe, source, ends, grows), replace(target, masses=masses)))
    return found


def between(source: Side | None, target: Side, share: float) -> float:
    """Mass by which the pairs of a group are drawn: the mean of its ends.

    Args:
        source: points of the group in the source; None for N(0, I).
        target: points of the group in the target.
        share: returned if there are no masses.
    """
    if source is None or source.masses is None or target.masses is None:
        return share
    return float(source.masses.sum() + target.masses.sum()) / 2


def described(recipe: Recipe, kept: Sequence[Cloud]) -> tuple[str, ...]:
    """Describe the effect of a recipe's growth column, one line per gap."""
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
    """Build pairs with masses; return them with the growth length δ of each axis and the mean cost.

    Args:
        source: points with masses.
        target: points with masses.
        coupling: coupling of the two.
        size: number of points of a minibatch; 0 for one plan over whole clouds.
        ruler: factor of each column in distances.
        rng: source of randomness for the plan.
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
    """Relative mass of a population, with the observed one if both times are snapshots.

    Args:
        model: the model with its snapshots.
        times: clock times of start and end.
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
    """Name of a coupling, with the growth lengths it found."""
    name = catalog.name_of("couplings", coupling)
    return name if lengths is None else f"{name} ({wfr.told(lengths)})"


def _say_what_is_left(dying: float, born: float) -> None:
    """Warn about mass that is out of reach of the other end of a gap."""
    if max(dying, born) > ALONE:
        runtime.warn(
            f"Out of reach over a gap: {dying:.1%} of the mass before, which dies where it is, and "
            f"{born:.1%} of the mass after, which no flow can bring there. Raise delta: "
            "--coupling wfr:delta=..."
        )
