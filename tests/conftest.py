"""Shared by all rooms: one thread, reproducible property tests, and a few tiny runs."""

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

# Where the suite runs in the background, Ctrl-C is ignored, and so it would be in what tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("cfm", database=None, deadline=None, derandomize=True, max_examples=60)
settings.load_profile("cfm")

SAMPLES = Path(__file__).parent.parent / "sample_data"
TINY: dict[str, Any] = {"steps": 50, "batch_size": 64, "field": "mlp:width=16,depth=2"}

Fit = Callable[..., Any]


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample data."""
    return SAMPLES


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Settings of a fit that takes a fraction of a second."""
    return dict(TINY)


@pytest.fixture(scope="session")
def fit_run() -> Fit:
    """A function that fits a tiny run folder; beside its options it takes settings by name.

    The pictures take longer than such a fit, and are drawn where they are asked for.
    """
    from cfmcli import plots
    from cfmcli.layers import from_layers
    from cfmcli.requests import FitRequest, Runtime
    from cfmcli.workflows import fit

    def run(
        folder: Path,
        *inputs: Path | str,
        force: bool = False,
        resume: bool = False,
        dry_run: bool = False,
        pictures: bool = False,
        listen: Callable[[Any], None] = fit.ignore,
        **more: Any,
    ) -> Any:
        recipe = from_layers(TINY, {"inputs": tuple(map(str, inputs))}, more)
        request = FitRequest(str(folder), resume=resume, dry_run=dry_run)
        where = Runtime(device="cpu", threads=1, force=force, seed=recipe.seed, command="test")
        with nullcontext() if pictures else patch.object(plots, "of_run", return_value={}):
            return fit.fit(recipe, request, where, listen)

    return run


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory, fit_run: Fit) -> Path:
    """A run between the two toy clouds, in two dimensions."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    fit_run(folder, SAMPLES / "source.csv", SAMPLES / "target.csv", pictures=True)
    return folder


@pytest.fixture(scope="session")
def days_run(tmp_path_factory: pytest.TempPathFactory, fit_run: Fit) -> Path:
    """A run over the four days, day 1 held out, annotated with `branch`."""
    folder = tmp_path_factory.mktemp("runs") / "days"
    days = [SAMPLES / f"day{d}.csv" for d in ("0", "1", "2.5", "5")]
    fit_run(folder, *days, times=(0, 1, 2.5, 5), holdout=("1",))
    return folder


@pytest.fixture(scope="session")
def cells_run(tmp_path_factory: pytest.TempPathFactory, fit_run: Fit) -> Path:
    """A run over the counts of an AnnData, in PCA space."""
    folder = tmp_path_factory.mktemp("runs") / "cells"
    fit_run(folder, SAMPLES / "timecourse.h5ad", time_key="day", transform="log1p,pca:n=3")
    return folder


@pytest.fixture(scope="session")
def normal_run(tmp_path_factory: pytest.TempPathFactory, fit_run: Fit) -> Path:
    """A generator of the target cloud from N(0, I)."""
    folder = tmp_path_factory.mktemp("runs") / "normal"
    fit_run(folder, SAMPLES / "target.csv", source="gaussian", method="fm")
    return folder
