"""Assemble: builds a triple from its specs and refuses invalid combinations."""

import numpy as np
import torch

from cfmcli.data.conditions import Conditions
from cfmcli.data.moments import ROUNDING
from cfmcli.data.snapshots import Snapshots
from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.couplings import Independent, Paired
from cfmcli.flows.path.interpolants import Interpolant, Linear
from cfmcli.flows.training.triple import Triple
from cfmcli.recipe import Recipe, default
from cfmcli.workflows import runtime

WIDE = 10.0
"""Ratio of the path's noise to the width of a snapshot above which a warning is issued."""


def triple(recipe: Recipe) -> Triple:
    """Build a recipe's triple and refuse invalid combinations.

    Raises:
        ConfigError: for an unknown spec or an invalid combination, with what to use instead.
    """
    built = Triple.of(*recipe.triple())
    for refuse in (_growth, _wrong_source, _no_latent, _wrong_scope, _wrong_pairs, _not_static):
        reason = refuse(recipe, built)
        if reason:
            raise ConfigError(reason)
    return built


def _wrong_source(recipe: Recipe, built: Triple) -> str:
    """Reason why the source does not suit the path; empty if it does."""
    _, interpolant, objective = recipe.triple()
    path = built.interpolant
    if path.needs_gaussian_source and recipe.source != "gaussian":
        return (
            f"The path {interpolant} starts from N(0, I) and would ignore the source points: "
            "use --source gaussian with one cloud, or --method icfm for a source of points."
        )
    if path.needs_mirror_source and recipe.source == "gaussian":
        return (
            f"The path {interpolant} starts and ends at one and the same cloud: leave --source "
            "out and give the file twice."
        )
    if built.objective.needs_normal and not path.needs_gaussian_source:
        return (
            f"The objective {objective} needs a path from the noise itself: use --source gaussian "
            "--interpolant onesided-linear, or --objective velocity+denoiser."
        )
    return ""


def _no_latent(recipe: Recipe, built: Triple) -> str:
    """Reason why path or objective lacks the latent or score that the other needs; else empty."""
    _, interpolant, objective = recipe.triple()
    if built.interpolant.epsilon and not built.objective.has_score:
        return (
            f"The path {interpolant} seeks a bridge by its score, which the objective {objective} "
            "does not tell: use --objective velocity+denoiser."
        )
    if built.objective.needs_latent and not built.interpolant.has_latent:
        own = interpolant.partition(":")[0]
        noisy = f"{own}:gamma=sqrt" if hasattr(built.interpolant, "gamma") else f"{own}-bridge"
        return (
            f"The objective {objective} regresses on a latent that the path {interpolant} has not: "
            f"give it one (--interpolant {noisy}), or use --objective velocity."
        )
    return ""


def _wrong_scope(recipe: Recipe, built: Triple) -> str:
    """Reason why the scope or its batch size makes no sense; empty if it does."""
    if not recipe.ot_batch:
        return ""
    if recipe.scope == "dataset":
        return (
            "--ot-batch sizes minibatch couplings, --scope dataset has none: leave one of them out."
        )
    if isinstance(built.coupling, Independent) and recipe.scope != "minibatch":
        return (
            f"--ot-batch {recipe.ot_batch} sizes minibatch couplings, and coupling "
            f"{recipe.triple()[0]} pairs at random whatever the size: leave it out, or use "
            "--coupling exact."
        )
    return ""


def _wrong_pairs(recipe: Recipe, built: Triple) -> str:
    """Reason why the coupling does not suit the path or the source; empty if it does."""
    coupling, interpolant, _ = recipe.triple()
    path, random = built.interpolant, isinstance(built.coupling, Independent)
    if (path.needs_gaussian_source or path.needs_mirror_source) and not random:
        return (
            f"The path {interpolant} draws its own source, so coupling {coupling} cannot "
            "choose it: use --coupling independent, or --interpolant linear."
        )
    if recipe.from_run and path.needs_tangents:
        return (
            f"--from-run makes the pairs of each gap apart, and the path {interpolant} follows "
            "points through all of them: use --interpolant linear."
        )
    given = isinstance(built.coupling, Paired)
    if recipe.from_run and not given:
        return (
            f"--from-run makes the pairs itself, so coupling {coupling} has no part in it: use "
            "--method rf, or --coupling paired."
        )
    return _wrong_rows(recipe, coupling) if given else ""


def _wrong_rows(recipe: Recipe, coupling: str) -> str:
    """Reason why rows cannot be paired by index; empty if they can."""
    if recipe.scope == "minibatch" or recipe.ot_batch:
        return (
            f"Coupling {coupling} joins whole clouds row by row: leave --scope and --ot-batch out."
        )
    if recipe.from_run:
        return ""
    if recipe.source == "gaussian":
        return (
            f"Coupling {coupling} needs rows that belong together, and N(0, I) has none: use "
            "--method rf --from-run RUN, or --coupling exact."
        )
    return ""


def _not_static(recipe: Recipe, built: Triple) -> str:
    """Reason why a method without training cannot do what is requested; empty if it can."""
    _, interpolant, objective = recipe.triple()
    if built.objective.heads:
        return ""
    if built.interpolant != Linear():
        return (
            f"The objective {objective} moves points along straight lines, so the path "
            f"{interpolant} has no part in it: use --interpolant linear, or --objective velocity."
        )
    if recipe.from_run or recipe.scope == "minibatch" or recipe.ot_batch:
        return (
            f"The objective {objective} moves the points of whole clouds with their pairs: leave "
            "--from-run, --scope and --ot-batch out."
        )
    return ""


def _growth(recipe: Recipe, built: Triple) -> str:
    """Reason why settings of growth are inconsistent; empty if they are not."""
    _, interpolant, objective = recipe.triple()
    grows = built.interpolant.needs_masses
    if grows != built.objective.has_growth:
        return (
            f"The path {interpolant} and the objective {objective}: only the path wfr grows and "
            "only the objective velocity+growth learns how: use --method wfrfm for both."
        )
    if grows and (recipe.source == "gaussian" or recipe.from_run):
        return "Mass grows between observed clouds: leave --source and --from-run out."
    if recipe.mass != "counts" and not grows:
        return f"--mass {recipe.mass} is for populations that grow: add --method wfrfm."
    if recipe.growth_key and recipe.source == "gaussian":
        return "--growth-key is about observed points: leave --source out."
    return ""


def check_conditions(recipe: Recipe) -> None:
    """Refuse settings of conditions without conditions, and covariates without a name.

    Raises:
        ConfigError: with what they require.
    """
    if not all(recipe.covariates):
        raise ConfigError("--covariates: a name is empty: name a column, or leave it out.")
    if recipe.condition_cost != default("condition_cost") and not recipe.covariates:
        raise ConfigError(
            f"--condition-cost {recipe.condition_cost:g} is the weight of covariates in the "
            "coupling, and there are none: leave it out, or name them with --covariates."
        )
    conditional = recipe.label_key or recipe.covariates
    if recipe.condition_dropout != default("condition_dropout") and not conditional:
        raise ConfigError(
            f"--condition-dropout {recipe.condition_dropout:g} leaves out the condition of some "
            "draws, and there is none: leave it out, or name one with --label-key or --covariates."
        )


def check_data(built: Triple, snapshots: Snapshots, conditions: Conditions) -> None:
    """Refuse data that a triple cannot use; warn if its noise is many times their width.

    Raises:
        ConfigError: for a mirror between two different clouds, paired rows in different orders, or
            conditions or a Gaussian source without training.
    """
    if built.interpolant.needs_mirror_source:
        first, *rest = (np.asarray(cloud.points) for cloud in snapshots.kept)
        if any(first.shape != other.shape or (first != other).any() for other in rest):
            raise ConfigError(
                "The path mirror starts and ends at one and the same cloud, and these differ: give "
                "the same file twice, or use --interpolant linear."
            )
    if isinstance(built.coupling, Paired):
        ids, *others = ([str(name) for name in cloud.obs.index] for cloud in snapshots.kept)
        if any(other != ids and sorted(other) == sorted(ids) for other in others):
            raise ConfigError(
                "Coupling paired joins row i with row i, and these files hold the same ids in "
                "different orders: sort them alike."
            )
    if conditions.width and not built.objective.heads:
        raise ConfigError(
            "static-ot learns nothing, so nothing can be conditional: leave --label-key and "
            "--covariates out, or fit with --method otcfm."
        )
    if snapshots.gaussian_source and not built.objective.heads:
        raise ConfigError(
            "static-ot joins observed points, and N(0, I) has none: leave --source out."
        )
    if not snapshots.gaussian_source:
        _not_too_wide(built.interpolant, snapshots)


def _not_too_wide(path: Interpolant, snapshots: Snapshots) -> None:
    """Warn if the noise of a path is much wider than a snapshot."""
    width = float(path.variance(torch.full((1, 1), 0.5)).sqrt())
    if not width:
        return
    moments = snapshots.moments
    rounding = ROUNDING * max(moments.scale, float(np.abs(moments.means).max()))
    least = min((s for s in moments.spreads if s > rounding), default=width)
    if width > WIDE * least:
        runtime.warn(
            f"Half way the path is blurred by {width:.2g}, and the points of a snapshot spread by "
            f"{least:.2g} (flow units): what is learnt of so narrow clouds is rough. Use less "
            "noise (--interpolant brownian:sigma=..., or another path), or --transform standardize."
        )
