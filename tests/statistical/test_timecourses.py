"""Published time courses: unseen times, the time a default fit takes, and results scanpy opens."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.statistical.figures import Figures

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the published time courses are not in {DATA}"),
]

FOLDS: dict[str, tuple[str, ...]] = {
    "emt_ae10": ("1", "2"),
    "eb_pca5_sub300": ("1", "2", "3"),
    "guo2010_qpcr": ("1", "2", "3", "4", "5"),
    "moignard2015_qpcr": ("7.5", "7.75"),
}
TIMED = ("--time-key", "time")
ANNOTATED: dict[str, tuple[str, ...]] = {
    "eb_phate2d": ("--features", "phate*"),
    "mouse_hematopoiesis2d": ("--features", "x*"),
    "schiebinger_dm20": ("--features", "DC*"),
}
CELLS = {"larry_clonal_781": "time_info", "dentategyrus_velocity_100": "age(days)"}
SPACES: dict[str, tuple[str, ...]] = {
    "X_pca": ("--use-rep", "X_pca"),
    "genes": ("--transform", "log1p,pca:n=30"),
}
FOLD_BOUND, LIMIT = 1.03, 75.0


def cfm(*words: str | Path) -> float:
    """Run a command in a process of its own, on one thread; the seconds it took."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "cfmcli", *map(str, words), "--threads", "1", "-q"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - begin


def scores(data: str, held_out: str, run: Path) -> dict[str, Any]:
    """Scores of a default fit that has not seen a time."""
    cfm("fit", DATA / f"{data}.csv.gz", *TIMED, "--holdout", held_out, "-o", run)
    found: list[dict[str, Any]] = json.loads((run / "metrics.json").read_text())["holdout"]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("data", list(FOLDS))
def test_unseen_times_are_predicted_as_well_as_by_static_transport(
    data: str, tmp_path: Path, figures: Figures
) -> None:
    # A flow is no worse than displacement interpolation, which a flow of no error would repeat.
    model, static = [], []
    for fold in FOLDS[data]:
        found = scores(data, fold, tmp_path / fold)
        model.append(found["model_w1"])
        static.append(found["static_ot_w1"])
        figures.add(f"{data}, time {fold} unseen: W1", model[-1], floor=static[-1])
    ratio = sum(model) / sum(static)
    mean = sum(static) / len(static)
    figures.add(f"{data}, mean of unseen times: W1", sum(model) / len(model), floor=mean)
    figures.add(f"{data}, W1 over static OT's", ratio, bound=f"<= {FOLD_BOUND}")
    assert ratio <= FOLD_BOUND


@pytest.mark.parametrize("data", [*FOLDS, *ANNOTATED])
def test_a_default_fit_is_quick(data: str, tmp_path: Path, figures: Figures) -> None:
    # From the command to the written run, start-up and reading included.
    asked = (*TIMED, *ANNOTATED.get(data, ()))
    seconds = cfm("fit", DATA / f"{data}.csv.gz", *asked, "-o", tmp_path / "run")
    figures.add(f"{data}, default fit: seconds", seconds, bound=f"< {LIMIT:g}")
    assert seconds < LIMIT


@pytest.mark.parametrize("data", list(CELLS))
@pytest.mark.parametrize("space", list(SPACES))
def test_results_open_in_scanpy_with_cells_and_genes_intact(
    data: str, space: str, tmp_path: Path, figures: Figures
) -> None:
    # Names, annotations and genes come back as they went in, in the order they had; the column of
    # times as ordered numbers, with its labels beside it.
    import numpy as np
    import pandas as pd
    import scanpy

    given, run, key = DATA / f"{data}.h5ad", tmp_path / "run", CELLS[data]
    asked = ("--time-key", key, *SPACES[space])
    seconds = cfm("fit", given, *asked, "-o", run)
    figures.add(f"{data} {space}, default fit: seconds", seconds, bound=f"< {LIMIT:g}")
    cfm("transport", run, given, "-o", tmp_path / "moved.h5ad")
    cfm("interpolate", run, "--frames", "3", "-o", tmp_path / "paths.h5ad")
    old, moved = scanpy.read_h5ad(given), scanpy.read_h5ad(tmp_path / "moved.h5ad")
    assert moved.obs_names.equals(old.obs_names)
    assert moved.var_names.equals(old.var_names)
    others = old.obs.drop(columns=key)
    pd.testing.assert_frame_equal(moved.obs[others.columns], others)
    assert moved.obs[f"{key}_label"].astype(str).tolist() == old.obs[key].astype(str).tolist()
    assert moved.obs[key].cat.ordered
    assert moved.obs[key].astype(float).tolist() == moved.obs["cfm_time"].tolist()
    pd.testing.assert_frame_equal(moved.var[old.var.columns], old.var)
    assert set(moved.obs.columns) == {*old.obs.columns, f"{key}_label", "cfm_time"}
    assert np.array_equal(_dense(moved.X), _dense(old.X))
    assert moved.obsm["X_cfm"].shape[0] == old.n_obs
    assert np.isfinite(moved.obsm["X_cfm"]).all()
    paths = scanpy.read_h5ad(tmp_path / "paths.h5ad")
    assert paths.obs_names.is_unique
    started = old.obs.loc[paths.obs["trajectory"].astype(str)]
    for name in old.obs.columns:
        assert paths.obs[name].astype(str).tolist() == started[name].astype(str).tolist(), name
    if space == "genes":
        assert paths.var_names.equals(old.var_names)
    assert np.isfinite(_dense(paths.X)).all()
    assert seconds < LIMIT


def _dense(matrix: Any) -> Any:
    """A matrix as an array."""
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix
