"""Laws of points kept aside: what training sees until it turns, and after."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cfmcli.data.table import Table
from cfmcli.errors import CfmWarning, DataError
from cfmcli.flows.coupling.pairing import PlannedPairs
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.trainer import Trainer
from cfmcli.recipe import MOST_STEPS, Recipe
from cfmcli.workflows import training
from cfmcli.workflows.prepare import prepared


def job(recipe: Recipe, *sizes: int, kinds: Sequence[list[str]] = ()) -> training.Job:
    """A fit of clouds of so many points of the plane, perhaps of some kinds, ready to run."""
    rng = np.random.default_rng(0)
    notes = [{"kind": own} for own in kinds] or [{}] * len(sizes)
    tables = [
        Table(rng.random((n, 2)), ("a", "b"), pd.DataFrame(own, index=list(map(str, range(n)))))
        for n, own in zip(sizes, notes, strict=True)
    ]
    return training.job(prepared(recipe, tables), Streams(0), torch.device("cpu"))


def pairs_of(run: Trainer) -> set[tuple[int, int]]:
    """The pairs that training draws now."""
    (planned,) = run.task.pairs
    assert isinstance(planned, PlannedPairs)
    i, j, _ = planned.plan.arrays()
    return set(zip(i.tolist(), j.tolist(), strict=True))


@pytest.mark.parametrize(("size", "aside"), [(300, 30), (1000, 100), (11_000, 500)])
@pytest.mark.parametrize("coupling", ["bsp", "paired"])
def test_the_last_steps_take_all_points(size: int, aside: int, coupling: str) -> None:
    """Until then a tenth of the pairs is kept aside, and they are those of one plan."""
    run = job(Recipe(coupling=coupling, transform="none"), size, size).trainer
    assert run is not None
    early = pairs_of(run)
    run.turn = 1
    late = pairs_of(run)
    assert early < late
    assert (len(early), len(late)) == (size - aside, size)
    if coupling == "paired":
        assert late == {(k, k) for k in range(size)}


def test_points_of_a_validation_that_is_asked_for_never_come_back() -> None:
    """Their loss is told of to the end, and says which weights are kept."""
    run = job(Recipe(steps=50, validation=0.2), 300, 300).trainer
    assert run is not None
    assert run.aside is not None
    assert run.aside.finale is None
    assert len(pairs_of(run)) == 240


def test_classes_that_meet_at_one_point_each_keep_nothing_aside() -> None:
    """A fit that ends by itself takes the usual steps; a validation asked for is refused."""
    kinds = [[f"{k}" for k in range(40)]] * 2
    recipe = Recipe(label_key="kind", transform="none")
    with pytest.warns(CfmWarning, match=f"none are kept aside.* {MOST_STEPS} steps"):
        done = job(recipe, 40, 40, kinds=kinds).trainer
    assert done is not None
    assert done.aside is None
    assert (done.schedule.open, done.end) == (False, MOST_STEPS)
    with pytest.raises(DataError, match=r"No class has two points.*--validation"):
        job(replace(recipe, validation=0.1, steps=50), 40, 40, kinds=kinds)
