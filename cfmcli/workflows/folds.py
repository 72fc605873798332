"""Folds: a course with one of its interior times left out, for every time in turn."""

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
    """A time left out.

    Args:
        observed: what was observed then, in flow coordinates.
        prepared: the data with that time held out, for each method.
    """

    observed: Cloud
    prepared: tuple[Prepared, ...]

    @property
    def kept(self) -> tuple[Cloud, ...]:
        """The other snapshots."""
        return self.prepared[0].snapshots.kept

    def sizes(self, most: int) -> list[int]:
        """Points before, at and after the time, each at most so many."""
        before, after = score.neighbours(self.kept, self.observed.time)
        return [min(len(cloud), most) for cloud in (before, self.observed, after)]


def folds(recipes: Sequence[Recipe], tables: Sequence[Table], *, strict: bool) -> list[Fold]:
    """A fold for each interior time, or for each that the recipes hold out.

    Args:
        recipes: one of each method, alike but for it.
        tables: the inputs, in the order given.
        strict: whether the transform is fitted without the time left out too.

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
    """The labels of the times to leave out."""
    clouds = intake.snapshots(recipe, tables)[0].clouds
    if len(clouds) < 3:
        raise DataError(
            f"{tables[0].origin}: found {len(clouds)} times, expected at least 3: none lies "
            "between others and can be left out."
        )
    return [c.label for c in clouds[1:-1] if c.held_out or not recipe.holdout]
