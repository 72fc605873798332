import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA as ReferencePCA

from cfmcli.data import transforms
from cfmcli.data.arrays import Array
from cfmcli.data.chain import Chain, fit_chain, load_chain
from cfmcli.data.maps import moments
from cfmcli.errors import CfmWarning, ConfigError, DataError

D = 4
INVERTIBLE = [
    "none",
    "standardize",
    "log1p",
    f"pca:n={D}",
    f"log1p,pca:n={D},standardize",
    "log1p,standardize,standardize",
    f"standardize,pca:n={D}",
]
DROPPING = ["pca:n=2", "log1p,pca:n=3", "standardize,pca:n=2,standardize", "log1p,hvg:n=3,pca:n=2"]
SEEDS = st.integers(0, 10**6)


def counts(seed: int, n: int = 40, d: int = D) -> Array:
    """Correlated positive points with zeros and very different scales."""
    rng = np.random.default_rng(seed)
    mixed = np.abs(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)))
    scaled = mixed * 10.0 ** rng.uniform(-3, 3, size=d)
    return np.where(rng.random((n, d)) < 0.3, 0.0, scaled)


def fitted(spec: str, x: Any) -> Chain:
    """The chain of a spec, fitted to points."""
    return fit_chain(spec, x, tuple(f"g{k}" for k in range(x.shape[1])))


def jacobian(chain: Chain, x: Array) -> Array:
    """df/dx at one point, shape (D, d), by central differences with relative steps."""
    columns = []
    for k in range(len(x)):
        step = np.zeros_like(x)
        step[k] = 1e-6 * (1 + abs(x[k]))
        ends = chain.forward(np.stack([x + step, x - step]))
        columns.append((ends[0] - ends[1]) / (2 * step[k]))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("spec", INVERTIBLE)
@given(seed=SEEDS)
def test_inverse_undoes_forward(spec: str, seed: int) -> None:
    """inverse(forward(x)) = x and forward(inverse(y)) = y, on points seen and unseen."""
    chain = fitted(spec, counts(seed))
    for x in (counts(seed), counts(seed + 1)):
        scale = np.abs(x).max() + 1
        np.testing.assert_allclose(chain.inverse(chain.forward(x)), x, rtol=1e-9, atol=1e-9 * scale)
        y = chain.forward(x)
        np.testing.assert_allclose(chain.forward(chain.inverse(y)), y, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("spec", INVERTIBLE)
@given(seed=SEEDS)
def test_log_abs_det_is_the_jacobians(spec: str, seed: int) -> None:
    """log |det df/dx| agrees with the determinant of finite differences."""
    x = counts(seed)
    chain = fitted(spec, x)
    expected = [np.linalg.slogdet(jacobian(chain, point))[1] for point in x[:5]]
    np.testing.assert_allclose(chain.log_abs_det(x)[:5], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("spec", INVERTIBLE + DROPPING)
@given(seed=SEEDS)
def test_velocities_are_carried_by_the_jacobian(spec: str, seed: int) -> None:
    """inverse_tangent(y, v) is the derivative of inverse along v."""
    x = counts(seed)
    chain = fitted(spec, x)
    y = chain.forward(x)
    v = np.random.default_rng(seed).normal(size=y.shape)
    h = 1e-6
    expected = (chain.inverse(y + h * v) - chain.inverse(y - h * v)) / (2 * h)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(chain.inverse_tangent(y, v), expected, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("spec", INVERTIBLE + DROPPING)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sparse_and_dense_agree(spec: str, dtype: type) -> None:
    """The same map and the same coordinates from a CSR matrix, up to the sign of components."""
    x: Any = counts(3, 60).astype(dtype)
    one, other = fitted(spec, x), fitted(spec, sparse.csr_matrix(x))
    tolerance = 1e-4 if dtype is np.float32 else 1e-8
    a, b = one.forward(x), other.forward(sparse.csr_matrix(x))
    signs = np.sign((a * b).sum(axis=0))
    np.testing.assert_allclose(b * signs, a, rtol=tolerance, atol=tolerance * np.abs(a).max())
    np.testing.assert_allclose(
        other.log_abs_det(sparse.csr_matrix(x)), one.log_abs_det(x), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("spec", DROPPING)
def test_dropping_chains_project(spec: str) -> None:
    """Where dimensions are dropped, forward undoes inverse, and inverse(forward) is idempotent."""
    chain = fitted(spec, counts(5))
    y = chain.forward(counts(6))
    np.testing.assert_allclose(chain.forward(chain.inverse(y)), y, rtol=1e-9, atol=1e-8)


@given(seed=SEEDS, n=st.integers(1, 5))
def test_the_preimage_is_the_nearest_point(seed: int, n: int) -> None:
    """inverse(forward(x)) is the least-squares reconstruction: residuals orthogonal to the span."""
    x = np.random.default_rng(seed).normal(size=(30, 6))
    chain = fitted(f"pca:n={n}", x)
    residual = x - chain.inverse(chain.forward(x))
    span = chain.maps[0].arrays()["components"]
    np.testing.assert_allclose(residual @ span.T, 0, atol=1e-10)


@given(seed=SEEDS)
def test_pca_agrees_with_the_covariance(seed: int) -> None:
    """Components are orthonormal eigenvectors, the scores' variances the leading eigenvalues."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(50, 6)) * np.array([5, 3, 2, 1, 0.5, 0.1]) @ rng.normal(size=(6, 6))
    chain = fitted("pca:n=3", x)
    w = chain.maps[0].arrays()["components"]
    covariance = np.cov(x.T)
    values = np.linalg.eigvalsh(covariance)[::-1][:3]
    np.testing.assert_allclose(w @ w.T, np.eye(3), atol=1e-10)
    np.testing.assert_allclose(covariance @ w.T, w.T * values, rtol=1e-7, atol=1e-8 * values[0])
    scores = chain.forward(x)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(scores.T), np.diag(values), atol=1e-8 * values[0])


def test_pca_agrees_with_scikit_learn() -> None:
    """The same scores up to sign, from dense and from sparse points."""
    x = counts(7, 80, 12)
    expected = ReferencePCA(4).fit_transform(x)
    for points in (x, sparse.csr_matrix(x)):
        found = fitted("pca:n=4", points).forward(points)
        np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-5, atol=1e-6)


def test_standardize_agrees_with_its_name() -> None:
    """Zero mean and unit variance, whatever the scales."""
    y = fitted("standardize", counts(8)).forward(counts(8))
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), 1, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, 1e-9])
@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_constant_feature_warns_and_keeps_its_scale(
    value: float, layout: Any, dtype: type
) -> None:
    """It is named, and its unit stays, so that it cannot blow up."""
    x = counts(9, 300)
    x[:, 2] = value
    with pytest.warns(CfmWarning, match=r"1 constant feature.*g2"):
        chain = fitted("standardize", layout(x.astype(dtype)))
    assert chain.maps[0].arrays()["scale"][0, 2] == 1.0


@given(seed=SEEDS, offset=st.sampled_from([0.0, 1.0, 1e3]))
def test_sparse_moments_are_the_dense_ones(seed: int, offset: float) -> None:
    """Without a dense copy, and without cancellation where the mean is large."""
    x = counts(seed)
    x[:, 1] = offset + 1e-3 * np.random.default_rng(seed).normal(size=len(x))
    for kind in (np.float64, np.float32):
        stored = x.astype(kind)
        mean, variance = moments(sparse.csr_matrix(stored))
        np.testing.assert_allclose(mean, stored.astype(np.float64).mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(variance, stored.astype(np.float64).var(axis=0), rtol=1e-8)


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("spec", ["standardize", "pca:n=3", "pca:n=4", "log1p,pca:n=2,standardize"])
@given(seed=SEEDS)
def test_whole_weights_are_repeated_rows(spec: str, layout: Any, seed: int) -> None:
    """A point of weight 3 counts as three of weight 1, and a common factor says nothing."""
    rng, x = np.random.default_rng(seed), counts(seed)
    weights = rng.integers(1, 4, len(x))
    features = tuple(f"g{k}" for k in range(x.shape[1]))
    weighted = fit_chain(spec, layout(x), features, np.asarray(1e-7 * weights, dtype=np.float64))
    repeated = fit_chain(spec, layout(np.repeat(x, weights, axis=0)), features)
    scale = np.abs(repeated.forward(x)).max()
    np.testing.assert_allclose(
        weighted.forward(x), repeated.forward(x), rtol=1e-6, atol=1e-9 * scale
    )


def test_more_components_than_there_are_warns() -> None:
    """As many as the points and features have, and it is said."""
    with pytest.warns(CfmWarning, match="keeps 4 components, not 9"):
        assert len(fitted("pca:n=9", counts(1)).outputs) == 4
    with pytest.warns(CfmWarning, match="keeps 2 components, not 4"):
        assert len(fitted("pca:n=4", counts(1, n=3)).outputs) == 2


def test_log1p_refuses_what_has_no_logarithm() -> None:
    """Values at or below -1 are named, with the remedy."""
    with pytest.raises(DataError, match=r"got -1.*standardize"):
        fitted("log1p", counts(1) - 1)


@pytest.mark.parametrize("spec", ["pca:n=0", "pca:n=-3", "zscore", "pca:k=3", "", "log1p,,pca"])
def test_wrong_specs_are_refused(spec: str) -> None:
    """As usage errors, before any fitting."""
    with pytest.raises(ConfigError):
        fitted(spec, counts(1))


@pytest.mark.parametrize("spec", INVERTIBLE + DROPPING)
def test_a_chain_survives_its_arrays(spec: str) -> None:
    """load_chain(kinds, arrays) maps to the same bits."""
    x = counts(11)
    chain = fitted(spec, x)
    again = load_chain(chain.kinds, chain.arrays(), chain.features)
    assert np.array_equal(again.forward(x), chain.forward(x))
    assert np.array_equal(again.inverse(chain.forward(x)), chain.inverse(chain.forward(x)))
    assert again.outputs == chain.outputs
    assert again.coordinates == chain.coordinates


def test_coordinates_and_names_say_where_one_is() -> None:
    """Data units and feature names, unless PCA drops dimensions."""
    assert all(fitted(spec, counts(2)).coordinates == "data units" for spec in INVERTIBLE)
    assert all(fitted(spec, counts(2)).coordinates == "PCA space" for spec in DROPPING)
    assert fitted("log1p", counts(2)).outputs == ("g0", "g1", "g2", "g3")
    assert fitted("pca:n=2,standardize", counts(2)).outputs == ("pca1", "pca2")


def test_densities_in_pca_space_count_only_what_follows() -> None:
    """After a projection the determinant is that of the later maps, here of standardize."""
    x = counts(4)
    chain = fitted("log1p,pca:n=2,standardize", x)
    projected = Chain(chain.maps[:2], chain.features).forward(x)
    np.testing.assert_allclose(
        chain.log_abs_det(x), -np.log(projected.std(axis=0)).sum(), rtol=1e-9
    )


def test_clean_points_make_no_noise() -> None:
    """No warning of any kind for ordinary points."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for spec in INVERTIBLE + DROPPING:
            fitted(spec, counts(12))
    assert transforms.some(["a"] * 7) == "a, a, a, a, a, ..."
