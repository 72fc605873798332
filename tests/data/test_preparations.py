"""The preparation of counts, against scanpy."""

from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from cfmcli import catalog
from cfmcli.data.arrays import Array
from cfmcli.data.chain import Chain, fit_chain, load_chain
from cfmcli.data.counts import raw_counts
from cfmcli.errors import CfmWarning, ConfigError, DataError

D = 200
LAYOUTS = [np.asarray, sparse.csr_matrix]


def counts(seed: int, n: int = 90, d: int = D) -> Array:
    """Counts of cells along a gradient, of unequal depth, most of them zero."""
    rng = np.random.default_rng(seed)
    place, slope = rng.random((n, 1)), rng.normal(size=(1, d))
    rate = rng.gamma(1.0, 2.0, (1, d)) * np.exp(3 * place * slope) * rng.uniform(0.3, 2, (n, 1))
    return rng.poisson(np.minimum(rate, 500)).astype(np.float64)


def fitted(spec: str, x: Any) -> Chain:
    """The chain of a spec, fitted to points."""
    return fit_chain(spec, x, tuple(f"g{k}" for k in range(x.shape[1])))


def by_scanpy(x: Any, flavor: str, genes: int, pcs: int, target: float | None) -> anndata.AnnData:
    """The same points, prepared by scanpy's own functions in float64."""
    names = pd.DataFrame(index=[f"g{k}" for k in range(x.shape[1])])
    data = anndata.AnnData(x.copy(), var=names)
    scanpy.pp.normalize_total(data, target_sum=target)
    scanpy.pp.log1p(data)
    scanpy.pp.highly_variable_genes(data, n_top_genes=genes, flavor=flavor)
    data = data[:, data.var["highly_variable"]].copy()
    scanpy.pp.pca(data, n_comps=pcs, dtype="float64")
    return data


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
@pytest.mark.parametrize("target", [1e4, 0])
def test_the_chain_is_scanpys(layout: Any, flavor: str, target: float) -> None:
    """The same genes and the same coordinates, up to the sign of a component."""
    x = layout(counts(0))
    spec = f"scanpy:genes=60,pcs=8,target={target:g},flavor={flavor}"
    chain = fitted(catalog.build("preparations", spec).chain, x)
    expected = by_scanpy(x, flavor, 60, 8, target or None)
    assert chain.maps[2].names(chain.features) == tuple(expected.var_names)
    found, wanted = chain.forward(x), expected.obsm["X_pca"]
    signs = np.sign((found * wanted).sum(axis=0))
    np.testing.assert_allclose(found * signs, wanted, atol=1e-5 * np.abs(wanted).max())
    np.testing.assert_allclose(
        np.abs(chain.maps[3].arrays()["components"]), np.abs(expected.varm["PCs"].T), atol=1e-5
    )


def test_all_genes_may_stay() -> None:
    """genes=0 leaves the choice out."""
    assert catalog.build("preparations", "scanpy:genes=0,pcs=4").chain == (
        "normalize:target=10000,log1p,pca:n=4"
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_back_to_genes_is_as_near_as_scanpys_reconstruction(layout: Any) -> None:
    """Chosen genes by X_pca PCs^T + mean, the others at their mean, in normalised units."""
    x = layout(counts(1))
    chain = fitted("normalize,log1p,hvg:n=60,pca:n=8", x)
    data = by_scanpy(x, "seurat", 60, 8, 1e4)
    logged = data.X.toarray() if sparse.issparse(data.X) else data.X
    rebuilt = data.obsm["X_pca"] @ data.varm["PCs"].T + logged.mean(axis=0)
    mask = np.isin(chain.features, data.var_names)
    back = np.log1p(chain.inverse(chain.forward(x)))
    np.testing.assert_allclose(back[:, mask], rebuilt, atol=1e-6)
    error = np.abs(back[:, mask] - logged).mean()
    assert error == pytest.approx(np.abs(rebuilt - logged).mean(), rel=1e-6)
    whole = fitted("normalize,log1p", x).forward(x)
    np.testing.assert_allclose(back[:, ~mask], np.tile(whole.mean(axis=0), (90, 1))[:, ~mask])


@given(seed=st.integers(0, 10**6), depth=st.integers(2, 50))
def test_depth_does_not_matter(seed: int, depth: int) -> None:
    """A cell sequenced deeper is at the same place; totals are the target; doing it twice is once.

    What comes back are normalised data.
    """
    x = counts(seed, 20, 12) + np.eye(20, 12)
    x[0] = 0
    chain = fitted("normalize:target=500", x)
    y = chain.forward(x)
    np.testing.assert_allclose(chain.forward(x * depth), y, rtol=1e-12)
    np.testing.assert_allclose(y.sum(axis=1), [0, *[500] * 19])
    np.testing.assert_allclose(chain.forward(y), y, rtol=1e-12)
    np.testing.assert_array_equal(chain.inverse(y), y)


@pytest.mark.parametrize("spec", ["normalize:target=0", "normalize,log1p,hvg:n=60,pca:n=8"])
def test_new_cells_need_no_other_cell(spec: str) -> None:
    """The fitted chain treats a cell alike, alone or among others, after a file too."""
    chain = fitted(spec, counts(2))
    other = counts(3)
    whole = chain.forward(other)
    again = load_chain(chain.kinds, chain.arrays(), chain.features)
    np.testing.assert_array_equal(again.forward(other), whole)
    np.testing.assert_array_equal(again.inverse(whole), chain.inverse(whole))
    np.testing.assert_allclose(chain.forward(other[5:6]), whole[5:6], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(chain.forward(sparse.csr_matrix(other)), whole, atol=1e-9)


def test_velocities_return_to_the_chosen_genes() -> None:
    """Zero at the others; at the chosen ones the derivative of the way back."""
    x = counts(4)
    chain = fitted("normalize,log1p,hvg:n=60,pca:n=8", x)
    y = chain.forward(x)
    v = np.random.default_rng(0).normal(size=y.shape)
    h = 1e-6
    expected = (chain.inverse(y + h * v) - chain.inverse(y - h * v)) / (2 * h)
    found = chain.inverse_tangent(y, v)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    mask = np.isin(chain.features, chain.maps[2].names(chain.features))
    assert not found[:, ~mask].any()
    assert found[:, mask].any(axis=0).all()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("normalize", "normalised data"),
        ("log1p,hvg:n=20", "the variable features"),
        ("normalize,log1p,hvg:n=60,pca:n=8,standardize", "PCA space"),
    ],
)
def test_densities_say_where_they_live(spec: str, says: str) -> None:
    """In the space after the last step that loses something."""
    assert fitted(spec, counts(5)).coordinates == says


@pytest.mark.parametrize("layout", LAYOUTS)
def test_raw_counts_are_known(layout: Any) -> None:
    """Whole, none negative, some large, of many features; nothing else is."""
    x = counts(6)
    assert raw_counts(layout(x))
    assert raw_counts(layout(x.astype(np.float32)))
    for other in (np.log1p(x), x + 0.5, -x, np.minimum(x, 9), x[:, :4], x[:0]):
        assert not raw_counts(layout(other))


@pytest.mark.parametrize(
    ("spec", "x", "says"),
    [
        ("normalize", counts(7) - 1, "got -1.*leave"),
        ("normalize", np.zeros((3, 4)), "all are zero"),
        ("hvg:n=300", counts(7), "keeps 200 features, not 300"),
    ],
)
def test_unsuitable_points_are_told(spec: str, x: Array, says: str) -> None:
    """What is wrong with them, and what to do."""
    with pytest.raises((DataError, CfmWarning), match=says):
        fitted(spec, x)


def test_a_new_cell_with_a_negative_total_is_refused() -> None:
    """Slightly negative genes, as reconstructions have, are not."""
    chain = fitted("normalize", counts(8))
    assert np.isfinite(chain.forward(counts(9) - 0.01)).all()
    with pytest.raises(DataError, match=r"point 3 has the total -"):
        chain.forward(counts(9) - 1e3 * (np.arange(90) == 2)[:, None])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reconstructed_counts_below_zero_stay_as_they_are(layout: Any) -> None:
    """Also where the others of a poor cell are made many times as large."""
    chain, x = fitted("normalize", counts(8)), counts(9) / 100
    x[:, 0] = -0.7
    y, logged = (
        found if isinstance(found, np.ndarray) else found.toarray()
        for found in (
            chain.forward(layout(x)),
            fitted("normalize,log1p", counts(8)).forward(layout(x)),
        )
    )
    factor = chain.maps[0].arrays()["target"] / x.sum(axis=1)
    assert (y[:, 0] == x[:, 0]).all()
    assert y[:, 1:] == pytest.approx(x[:, 1:] * factor[:, None])
    assert logged == pytest.approx(np.log1p(y))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_new_cells_that_are_no_counts_are_told_so(layout: Any) -> None:
    """Negative values in positive totals: by the step that wants counts."""
    chain, x = fitted("normalize,log1p,pca:n=4", counts(8)), counts(9)
    x[:, 0] = -50
    with pytest.raises(DataError, match=r"normalize needs counts, got -50: .* leave --preprocess"):
        chain.forward(layout(x))


def test_weights_count_in_the_means_of_features_that_are_left_out() -> None:
    """A point of weight 3 counts as three."""
    x, heavy = counts(10), np.random.default_rng(0).integers(1, 4, 90)
    names = tuple(f"g{k}" for k in range(D))
    chain = fit_chain("hvg:n=50", x, names, heavy.astype(float))
    gone = ~chain.maps[0].arrays()["chosen"][0].astype(bool)
    filled = chain.inverse(chain.forward(x))[:, gone]
    np.testing.assert_allclose(filled, np.tile(np.repeat(x, heavy, 0).mean(0)[gone], (90, 1)))


@pytest.mark.parametrize(
    "spec", ["normalize:target=-1", "normalize:target=nan", "hvg:n=0", "hvg:flavor=seurrat"]
)
def test_wrong_options_are_refused(spec: str) -> None:
    """As usage errors."""
    with pytest.raises(ConfigError):
        fitted(spec, counts(1))
