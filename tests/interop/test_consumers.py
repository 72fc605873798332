"""scVelo and CellRank on files of cfm as they are; skipped where these are not installed."""

import os
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

from tests.conftest import SAMPLES

scv = pytest.importorskip("scvelo", reason="scVelo is not installed: pip install '.[interop]'")
cr = pytest.importorskip("cellrank", reason="CellRank is not installed: pip install '.[interop]'")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with couplings, and the cells with what the run tells of them."""
    from tests.cli.room import carry_out

    place, before = tmp_path_factory.mktemp("interop"), Path.cwd()
    os.chdir(place)
    try:
        fit = f"fit {SAMPLES}/timecourse.h5ad --time-key day --preprocess scanpy:genes=25,pcs=8"
        assert carry_out(f"{fit} --steps 100 --write-couplings -o run") == 0
        assert carry_out(f"transport run {SAMPLES}/timecourse.h5ad --from own -o moved.h5ad") == 0
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def cells(folder: Path) -> Any:
    """The cells as any user reads them, with neighbours in X_pca."""
    import scanpy

    data = anndata.read_h5ad(folder / "moved.h5ad")
    scanpy.pp.neighbors(data, use_rep="X_pca")
    return data


def row_stochastic(kernel: Any) -> bool:
    """Whether a kernel's transition matrix has rows that add up to one."""
    return bool(np.allclose(np.asarray(kernel.transition_matrix.sum(axis=1)), 1, atol=1e-6))


def test_velocity_kernel(cells: Any) -> None:
    """CellRank on obsm."""
    kernel = cr.kernels.VelocityKernel(cells, attr="obsm", xkey="X_pca", vkey="velocity_pca")
    assert row_stochastic(kernel.compute_transition_matrix(show_progress_bar=False))


def test_velocity_kernel_over_all_days(cells: Any) -> None:
    """Each cell has the velocity of its own day, so neighbours of later days come next."""
    kernel = cr.kernels.VelocityKernel(cells, attr="obsm", xkey="X_pca", vkey="velocity_pca")
    kernel.compute_transition_matrix(show_progress_bar=False)
    times = cells.obs["cfm_time"].to_numpy()
    near = (cells.obsp["connectivities"] > 0).astype(float)
    onward = kernel.transition_matrix @ times - near @ times / np.asarray(near.sum(axis=1)).ravel()
    between = (times > 0) & (times < 5)
    assert (onward[between] > 0).mean() > 0.6


def test_real_time_kernel(cells: Any, folder: Path) -> None:
    """CellRank on the folder of couplings: mass goes from each day to the next."""
    place = folder / "run" / "couplings"
    kernel = cr.kernels.RealTimeKernel.from_wot(cells, place, time_key="day")
    kernel.compute_transition_matrix(self_transitions="all", conn_weight=0.2)
    assert row_stochastic(kernel)
    times = cells.obs["day"].astype(float).to_numpy()
    onward = kernel.transition_matrix @ times
    assert (onward[times < 5] > times[times < 5]).all()


def test_pseudotime_kernel(cells: Any) -> None:
    """CellRank on the numeric time."""
    kernel = cr.kernels.PseudotimeKernel(cells, time_key="cfm_time")
    assert row_stochastic(kernel.compute_transition_matrix(show_progress_bar=False))


def test_velocity_graph(cells: Any) -> None:
    """scVelo on layers, with its default keys."""
    scv.tl.velocity_graph(cells, show_progress_bar=False)
    assert cells.uns["velocity_graph"].nnz > 0


def test_velocity_embeddings(cells: Any, tmp_path: Path) -> None:
    """scVelo's stream and grid on obsm alone."""
    import matplotlib as mpl

    mpl.use("Agg")
    for name, draw in (
        ("s", scv.pl.velocity_embedding_stream),
        ("g", scv.pl.velocity_embedding_grid),
    ):
        draw(cells, basis="pca", show=False, save=str(tmp_path / f"{name}.png"))
        assert (tmp_path / f"{name}.png").stat().st_size > 0
