"""Fits to every kind of data leave their pictures, as those by every method do elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

NOISE: dict[str, Any] = {"source": "gaussian", "method": "fm"}
CELLS: dict[str, Any] = {"transform": "log1p,pca:n=3"}
GROWING: dict[str, Any] = {"time_key": "day", "where": "day < 2"}

# What is fitted -> the inputs, and settings.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "one feature": ("source.csv target.csv", {"features": "x"}),
    "thirty features": ("day0.csv day1.csv", {}),
    "a day held out": ("day0.csv day1.csv day2.5.csv", {"holdout": ("1",)}),
    "classes from noise": ("day2.5.csv", NOISE | {"label_key": "branch"}),
    "classes": ("day2.5.csv day5.csv", {"label_key": "branch"}),
    "a covariate": ("growing.csv", GROWING | {"covariates": ("true_growth",)}),
    "cells": ("timecourse.h5ad", CELLS | {"time_key": "day"}),
    "cells of classes": ("timecourse.h5ad", CELLS | NOISE | {"label_key": "branch"}),
    "known growth": ("growing.csv", GROWING | {"growth_key": "true_growth"}),
}


def ink(picture: Path) -> float:
    """How much of a picture is not paper."""
    return float((imread(picture)[..., :3].min(axis=-1) < 0.9).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_leaves_its_pictures(
    kind: str, samples: Path, tmp_path: Path, fit_run: Callable[..., Any]
) -> None:
    """Snapshots and loss, neither blank nor black."""
    inputs, settings = KINDS[kind]
    files = [samples / name for name in inputs.split()]
    fit_run(tmp_path / "r", *files, steps=2, pictures=True, **settings)
    left = {path.name: ink(path) for path in (tmp_path / "r" / "figures").iterdir()}
    assert left.keys() == {"clouds.png", "loss.png"}
    assert all(0.005 < share < 0.5 for share in left.values())
