"""Folds: leave-one-out over the interior times of a time course."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Table
from cfmcli.errors import DataError
from cfmcli.recipe import Recipe
from cfmcli.workflows import intake, prepare, score
from cfmcli.workflows.prepare import Prepared


@dataclass(frozen=True)
class Fold:
    """A left-out time with the data for predicting it.

    Args:
        observed: points observed then, in flow coordinates.
        prepared: the data with that time held out, one per method.
    """

    observed: Cloud
    prepared: tuple[Prepared, ...]

    @property
    def kept(self) -> tuple[Cloud, ...]:
        """The other snapshots."""
        return self.prepared[0].snapshots.kept

    def sizes(self, most: int) -> list[int]:
        """Number of points before, at and after the time, each at most `most`."""
        before, after = score.neighbours(self.kept, self.observed.time)
        return [min(len(cloud), most) for cloud in (before, self.observed, after)]


def folds(recipes: Sequence[Recipe], tables: Sequence[Table], *, strict: bool) -> list[Fold]:
    """Build a fold for each interior time, or for each time that the recipes hold out.

    Args:
        recipes: one recipe per method, otherwise identical.
        tables: the inputs, in the order given.
        strict: whether the transform, too, is fitted without the left-out time.

    Raises:
        DataError: if no time lies between others.
    """
    first = replace(recipes[0], holdout=())
    whole = prepare.prepared(first, tables)
    found = []
    for label in _left_out(recipes[0], tables):
        own = prepare.prepared(replace(first, holdout=(label,)), tables) if strict else whole
        clouds = tuple(replace(c, held_out=c.label == label) for c in own.snapshots.clouds)
        snapshots = replace(own.snapshots, clouds=clouds)
        each = (replace(recipe, holdout=(label,)).resolved() for recipe in recipes)
        fits = tuple(replace(own, recipe=recipe, snapshots=snapshots) for recipe in each)
        found.append(Fold(next(c for c in clouds if c.held_out), fits))
    return found


def _left_out(recipe: Recipe, tables: Sequence[Table]) -> list[str]:
    """Labels of the times to leave out."""
    clouds = intake.snapshots(recipe, tables)[0].clouds
    if len(clouds) < 3:
        raise DataError(
            f"{tables[0].origin}: found {len(clouds)} times, expected at least 3: none lies "
            "between others and can be left out."
        )
    return [c.label for c in clouds[1:-1] if c.held_out or not recipe.holdout]
