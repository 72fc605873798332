"""A PCA whose scores are scaled before the flow is written as scanpy writes one."""

from pathlib import Path

import anndata
import numpy as np
import pytest

from cfmcli.flows.dynamics.choice import with_tolerances
from cfmcli.requests import InterpolateRequest, Runtime, TransportRequest
from cfmcli.stored import load
from cfmcli.workflows import interpolate, transport
from cfmcli.workflows.fit import ignore
from tests.conftest import SAMPLES, Fit

CHAIN = "log1p,pca:n=3,standardize"


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory, fit_run: Fit) -> Path:
    """A run in standardised scores, and cells of the first day carried by it."""
    folder = tmp_path_factory.mktemp("scaled")
    fit_run(folder / "run", SAMPLES / "timecourse.h5ad", time_key="day", transform=CHAIN)
    data = anndata.read_h5ad(SAMPLES / "timecourse.h5ad")
    data[data.obs["day"] == 0].copy().write_h5ad(folder / "in.h5ad")
    run, given, out = (str(folder / name) for name in ("run", "in.h5ad", "out.h5ad"))
    moved = TransportRequest(run, given, out)
    transport.transport(moved, Runtime(), ignore)
    return folder


def test_scores_are_those_of_the_loadings(scaled: Path) -> None:
    """X_pca, before and after the move, is (log counts - mean) times the loadings."""
    after = anndata.read_h5ad(scaled / "out.h5ad")
    assert set(after.obsm) == {"X_cfm", "X_pca", "velocity_pca"}
    assert set(after.varm) == {"PCs", "X_mean"}
    assert set(after.uns["pca"]) == {"params", "variance", "variance_ratio"}
    loadings, mean = after.varm["PCs"], after.varm["X_mean"].ravel()
    for counts, place in ((after.X.toarray(), "X_pca"), (after.layers["cfm"], "X_cfm")):
        scores = (np.log1p(counts) - mean) @ loadings
        np.testing.assert_allclose(after.obsm[place], scores, rtol=1e-4, atol=1e-4)


def test_velocities_are_rates_of_scores(scaled: Path) -> None:
    """velocity_pca is the difference quotient of X_pca along the flow."""
    after, h = anndata.read_h5ad(scaled / "out.h5ad"), 1e-3
    model = load(scaled / "run")
    x = model.encode(after.X)
    end = model.flow.paths(x, (0.0, h), with_tolerances("dopri5", 1e-10, 1e-10)).points[-1]
    scores = [np.log1p(model.chain.inverse(y)) @ after.varm["PCs"] for y in (x, end)]
    rate = (scores[1] - scores[0]) / h
    np.testing.assert_allclose(after.obsm["velocity_pca"], rate, atol=0.01 * np.abs(rate).max())


def test_changes_are_told_in_scores(scaled: Path) -> None:
    """X_cfm_delta is the difference of X_cfm with and without what is set."""
    gene = anndata.read_h5ad(scaled / "in.h5ad").var_names[0]
    run, given, out = (str(scaled / name) for name in ("run", "in.h5ad", "set.h5ad"))
    request = TransportRequest(run, given, out, changes=(f"{gene}=0",))
    told = transport.transport(request, Runtime(), ignore)
    changed, plain = (anndata.read_h5ad(scaled / f) for f in ("set.h5ad", "out.h5ad"))
    gap = changed.obsm["X_cfm"] - plain.obsm["X_cfm"]
    np.testing.assert_allclose(changed.obsm["X_cfm_delta"], gap, atol=1e-3)  # dopri5
    assert told.figures["mean_shift"] == pytest.approx(np.linalg.norm(gap, axis=1).mean(), rel=1e-4)
    start = np.linalg.norm(changed.obsm["X_pca"] - plain.obsm["X_pca"], axis=1).mean()
    assert told.figures["mean_start_shift"] == pytest.approx(start, rel=1e-4)


def test_trajectories_hold_scores_and_flow_coordinates(scaled: Path) -> None:
    """X_rep is where the flow lives, X_pca its scores."""
    out = scaled / "frames.h5ad"
    request = InterpolateRequest(str(scaled / "run"), str(out), frames=3)
    interpolate.interpolate(request, Runtime(), ignore)
    found, model = anndata.read_h5ad(out), load(scaled / "run")
    scores = (np.log1p(found.X) - found.varm["X_mean"].ravel()) @ found.varm["PCs"]
    np.testing.assert_allclose(found.obsm["X_pca"], scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.obsm["X_rep"], model.encode(found.X), rtol=1e-4, atol=1e-4)
