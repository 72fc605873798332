"""Tasks: clouds and fits that several benchmarks share."""

import time
from collections.abc import Sequence

import numpy as np
import torch

from cfmcli.data import toys
from cfmcli.data.arrays import Array
from cfmcli.data.table import Table
from cfmcli.model import Model
from cfmcli.recipe import Recipe
from cfmcli.requests import AUTO, Runtime
from cfmcli.workflows.fit import learn

POINTS = 10_000


def moons_to_gaussians(n: int, seed: int = 0) -> tuple[Array, Array]:
    """Two moons and eight Gaussians, n points each."""
    rng = np.random.default_rng(seed)
    return toys.moons(n, rng), toys.eight_gaussians(n, rng)


def mixtures(n: int, dim: int, seed: int = 0) -> tuple[Array, Array]:
    """Two mixtures of six Gaussians whose spectrum decays."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, dim + 1) ** -0.5
    clouds = []
    for _ in range(2):
        centres = 3 * rng.standard_normal((6, dim)) * spread
        clouds.append(centres[rng.integers(6, size=n)] + rng.standard_normal((n, dim)) * spread)
    return clouds[0], clouds[1]


def table(points: Array) -> Table:
    """Points without names."""
    import pandas as pd

    index = pd.Index([str(row) for row in range(len(points))], dtype=object)
    names = tuple(f"x{k}" for k in range(points.shape[1]))
    return Table(points, names, pd.DataFrame(index=index))


def fitted(
    clouds: Sequence[Array], seed: int = 0, ot_workers: int = AUTO, **settings: object
) -> tuple[Model, float]:
    """A model of two clouds, and the seconds from tables to it, plans and all."""
    recipe = Recipe(transform="none", seed=seed, **settings)  # type: ignore[arg-type]
    tables = [table(cloud) for cloud in clouds]
    start = time.perf_counter()
    model = learn(recipe, tables, Runtime(seed=seed, ot_workers=ot_workers))
    return model, time.perf_counter() - start


def layers(model: Model) -> torch.nn.Module:
    """The bare network of a model."""
    found = next(iter(model.field.heads.values())).layers
    assert isinstance(found, torch.nn.Module)
    return found
