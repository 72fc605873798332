"""Laws of points kept aside: what training sees until it turns, and after."""

import numpy as np
import pandas as pd
import pytest
import torch

from cfmcli.data.table import Table
from cfmcli.flows.coupling.pairing import PlannedPairs
from cfmcli.flows.streams import Streams
from cfmcli.recipe import Recipe
from cfmcli.workflows import training
from cfmcli.workflows.prepare import prepared


def job(recipe: Recipe, *sizes: int) -> training.Job:
    """A fit of clouds of so many points of the plane, ready to run."""
    rng = np.random.default_rng(0)
    tables = [
        Table(rng.random((n, 2)), ("a", "b"), pd.DataFrame(index=list(map(str, range(n)))))
        for n in sizes
    ]
    return training.job(prepared(recipe, tables), Streams(0), torch.device("cpu"))


@pytest.mark.parametrize(("size", "last"), [(300, 300), (11_000, 10_500)])
def test_the_last_steps_take_all_points_unless_few_were_kept_aside(size: int, last: int) -> None:
    """Of three hundred, thirty come back; of many, five hundred are done without to the end."""
    done = job(Recipe(coupling="bsp", transform="none"), size, size)
    run = done.trainer
    assert run is not None
    seen = [len(pairs.x0) for pairs in run.task.pairs if isinstance(pairs, PlannedPairs)]
    run.turn = 1
    late = [len(pairs.x0) for pairs in run.task.pairs if isinstance(pairs, PlannedPairs)]
    assert (seen, late) == ([size - min(size // 10, 500)], [last])
    assert [len(cloud) for cloud in done.seen.kept] == [last, last]


def test_points_of_a_validation_that_is_asked_for_never_come_back() -> None:
    """Their loss is told of to the end, and says which weights are kept."""
    done = job(Recipe(steps=50, validation=0.2), 300, 300)
    assert done.trainer is not None
    assert done.trainer.aside is not None
    assert done.trainer.aside.finale is None
    assert [len(cloud) for cloud in done.seen.kept] == [240, 240]
