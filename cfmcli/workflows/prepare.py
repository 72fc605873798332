"""Prepare: converts input tables to everything that training needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cfmcli.data.chain import Chain, fit_chain
from cfmcli.data.conditions import Conditions, fit_conditions
from cfmcli.data.snapshots import Snapshots
from cfmcli.data.table import Table
from cfmcli.data.times import TimeMap
from cfmcli.errors import DataError
from cfmcli.flows.training.triple import Triple
from cfmcli.io import Selection
from cfmcli.recipe import Recipe
from cfmcli.workflows import intake, runtime
from cfmcli.workflows.counted import told_of_counts
from cfmcli.workflows.suspects import warn_of_suspects

WIDE = 500
FAR = 1e4
"""Distance from the origin, in spreads, at which float32 loses a thousandth of the spread."""
WRITTEN, GROWN = ("id", "time", "trajectory"), ("weight", "growth_rate", "log_mass")
"""Names of columns that commands write, and of those written with growth."""


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs.

    Args:
        recipe: settings of the fit, with the triple resolved.
        snapshots: clouds in flow coordinates.
        chain: the fitted transform.
        times: how times were determined.
        conditions: conditions of the flow.
        notes: notes on the data for the user, one line each.
    """

    recipe: Recipe
    snapshots: Snapshots
    chain: Chain
    times: TimeMap
    conditions: Conditions
    notes: tuple[str, ...] = ()


def selection(recipe: Recipe) -> Selection:
    """Columns that the recipe reads from a file."""
    keys = (recipe.time_key, recipe.label_key, recipe.weight_key, recipe.growth_key)
    return Selection(
        features=recipe.features,
        drop=recipe.drop,
        annotations=tuple(key for key in (*keys, *recipe.covariates) if key),
        id_key=recipe.id_key,
        layer=recipe.layer,
        use_rep=recipe.use_rep,
        decode=True,
    )


def prepared(recipe: Recipe, tables: Sequence[Table]) -> Prepared:
    """Order the clouds, fit the transform to the kept ones, and encode all.

    Raises:
        DataError: unusable points.
        ConfigError: options that do not suit the data.
    """
    raw, times = intake.snapshots(recipe, tables)
    resolved = recipe.resolved()
    warn_of_suspects(raw, tables[0].features)
    chain, notes = _fitted(resolved.transform, raw, tables[0])
    encoded, given = raw.encoded(chain.forward), conditions(recipe, raw)
    _not_too_far(resolved.transform, encoded)
    decoder = tables[0].decoder
    notes += (str(decoder),) if decoder else ()
    notes += (_left(recipe.where, tables, raw),) if recipe.where else ()
    notes += _told_of_scales(recipe)
    chain = replace(chain, decoder=decoder)
    return Prepared(resolved, encoded, chain, times, given, notes)


def free_names(recipe: Recipe, table: Table) -> None:
    """Refuse features named like columns that commands write beside them in tables.

    Args:
        recipe: settings of the fit.
        table: the first input.

    Raises:
        DataError: with the first such feature, before any training.
    """
    grows = Triple.of(*recipe.triple()).interpolant.needs_masses
    taken = [name for name in (*WRITTEN, *(GROWN if grows else ())) if name in table.features]
    if taken:
        name = taken[0]
        key = f"say that it is one with --{name}-key {name}, " if name in ("time", "weight") else ""
        raise DataError(
            f"{table.origin}: '{name}' would be a feature, and is what cfm sample, interpolate or "
            f"transport call a column of their own: {key}leave it out with --drop {name}, or "
            "rename it."
        )


def _fitted(transform: str, raw: Snapshots, first: Table) -> tuple[Chain, tuple[str, ...]]:
    """Fit the transform to the training points; return it with notes for the user."""
    points = raw.stacked()
    _not_too_wide(transform, first)
    chain = fit_chain(transform, points, first.features, raw.stacked_weights)
    return chain, told_of_counts(transform, points, first.origin)


def conditions(recipe: Recipe, found: Snapshots) -> Conditions:
    """Determine the conditions of the flow from a recipe; the first cloud may lack them.

    Raises:
        DataError: if a later cloud lacks a column, or a value is missing.
    """
    keys = [key for key in (recipe.label_key, *recipe.covariates) if key]
    told = [key for key in keys if key in found.clouds[0].obs.columns]
    if 0 < len(told) < len(keys):
        runtime.warn(
            f"The source has {', '.join(told)}, but not all of {', '.join(keys)}: its points come "
            "under conditions of the next cloud instead of their own."
        )
    frames = [
        cloud.obs
        for k, cloud in enumerate(found.clouds)
        if k or found.gaussian_source or all(key in cloud.obs.columns for key in keys)
    ]
    return fit_conditions(recipe.label_key, recipe.covariates, frames)


def _left(query: str, tables: Sequence[Table], raw: Snapshots) -> str:
    """Describe how many points a condition leaves."""
    left = sum(len(cloud) for cloud in raw.clouds)
    return f'--where "{query}" leaves {left} of {sum(map(len, tables))} points'


def _told_of_scales(recipe: Recipe) -> tuple[str, ...]:
    """Note if PCA components, which have scales of their own, are standardised to equal weight."""
    if "pca" not in recipe.use_rep.lower() or recipe.transform or recipe.preprocess:
        return ()
    return (
        f"{recipe.use_rep}: each component is scaled to the same variance, the last ones like the "
        "first; --transform none keeps their own",
    )


def _not_too_far(transform: str, encoded: Snapshots) -> None:
    """Warn if points lie so far from the origin that float32 cannot resolve their differences."""
    moments = encoded.moments
    away = float(np.abs(moments.center).max()) / moments.scale
    if away > FAR:
        runtime.warn(
            f"The points lie {away:.2g} times their spread away from the origin, where the single "
            f"precision of a flow blurs them. --transform {transform} leaves them there; use "
            "--transform standardize, or subtract their mean first."
        )


def _not_too_wide(transform: str, table: Table) -> None:
    """Warn if a flow would have very many dimensions."""
    if len(table.features) > WIDE and "pca" not in transform:
        runtime.warn(
            f"A flow in {len(table.features)} dimensions is slow and hard to learn: reduce them "
            'with --preprocess scanpy (raw counts) or --transform "log1p,pca:n=50", or use a '
            "representation (--use-rep X_pca)."
        )
