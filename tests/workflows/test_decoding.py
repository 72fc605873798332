"""The way back to genes from a PCA that scanpy made."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import scanpy

from cfmcli.errors import CfmWarning
from cfmcli.requests import Runtime, SampleRequest, TransportRequest
from cfmcli.stored import load
from cfmcli.workflows import fit
from cfmcli.workflows.sample import sample
from cfmcli.workflows.transport import transport
from tests.conftest import Fit


def prepared(samples: Path, place: Path) -> anndata.AnnData:
    """The cells with scanpy's own PCA of logged counts, X as it was before that."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    data.layers["logged"] = data.X.log1p()
    logged = data.copy()
    logged.X = data.layers["logged"].copy()
    scanpy.pp.pca(logged, n_comps=5, dtype="float64")
    data.obsm["X_pca"], data.varm["PCs"] = logged.obsm["X_pca"], logged.varm["PCs"]
    data.write_h5ad(place)
    return data


@pytest.mark.parametrize("part", [slice(None), slice(0, 1200)], ids=["whole", "part"])
def test_results_return_to_genes(samples: Path, tmp_path: Path, fit_run: Fit, part: slice) -> None:
    """By the layer that fits, its mean recomputed, also from a part of the cells."""
    data = prepared(samples, tmp_path / "whole.h5ad")
    data[part].copy().write_h5ad(tmp_path / "in.h5ad")
    done: Any = fit_run(tmp_path / "r", tmp_path / "in.h5ad", time_key="day", use_rep="X_pca")
    assert any("layer:logged" in note for note in done.notes)
    chain = load(tmp_path / "r").chain
    logged = data.layers["logged"].toarray()
    assert chain.decoder is not None
    back = chain.decoder.map.inverse(data.obsm["X_pca"])
    best = data.obsm["X_pca"] @ data.varm["PCs"].T + logged.mean(axis=0)
    error = np.sqrt(((back - logged) ** 2).mean() / ((best - logged) ** 2).mean())
    assert error == pytest.approx(1, abs=1e-2 if part.stop else 1e-6)
    np.testing.assert_allclose(chain.decoder.map.forward(logged), data.obsm["X_pca"], atol=1e-4)
    out = str(tmp_path / "out.h5ad")
    early = data[data.obs["day"] == 0].copy()
    early.write_h5ad(tmp_path / "early.h5ad")
    where = Runtime(device="cpu", threads=1)
    transport(
        TransportRequest(str(tmp_path / "r"), str(tmp_path / "early.h5ad"), out), where, fit.ignore
    )
    moved = anndata.read_h5ad(out)
    np.testing.assert_allclose(
        moved.layers["cfm"],
        moved.obsm["X_cfm"] @ data.varm["PCs"].T + moved.varm["X_mean"].ravel(),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        moved.layers["velocity"], moved.obsm["velocity_pca"] @ data.varm["PCs"].T, atol=1e-5
    )
    sample(SampleRequest(str(tmp_path / "r"), str(tmp_path / "s.h5ad"), 7), where, fit.ignore)
    drawn = anndata.read_h5ad(tmp_path / "s.h5ad")
    assert list(drawn.var_names) == list(data.var_names)
    assert drawn.obsm["X_pca"].shape == (7, 5)


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [("scores", "does not give"), ("few", "too few"), ("stretched", "not orthonormal")],
)
def test_loadings_that_do_not_fit_are_not_used(
    spoilt: str, says: str, samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """It is said, and results stay in the representation."""
    data = prepared(samples, tmp_path / "in.h5ad")
    if spoilt == "scores":
        data.obsm["X_pca"] = data.obsm["X_pca"] ** 3
    elif spoilt == "few":
        data.varm["PCs"] = data.varm["PCs"][:, :3]
    else:
        data.varm["PCs"] = 2 * data.varm["PCs"]
    data.write_h5ad(tmp_path / "in.h5ad")
    with pytest.warns(CfmWarning, match=says):
        fit_run(tmp_path / "r", tmp_path / "in.h5ad", time_key="day", use_rep="X_pca")
    assert load(tmp_path / "r").chain.decoder is None


@pytest.mark.parametrize(
    ("transform", "told"), [("", True), ("none", False), ("standardize", False)]
)
def test_components_made_to_weigh_alike_are_told_of(
    samples: Path, tmp_path: Path, fit_run: Fit, transform: str, told: bool
) -> None:
    """Only where nobody asked for it."""
    prepared(samples, tmp_path / "in.h5ad")
    how = {"time_key": "day", "use_rep": "X_pca", "transform": transform, "dry_run": True}
    notes = fit_run(tmp_path / "r", tmp_path / "in.h5ad", **how).notes
    assert any("--transform none keeps their own" in note for note in notes) == told
