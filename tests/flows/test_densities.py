"""Laws of densities: rival libraries, brute force, total mass, and weights as repeated points."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from cfmcli import catalog
from cfmcli.data.arrays import Array
from cfmcli.errors import ConfigError, DataError
from cfmcli.flows.bases import Base, Gaussian, GaussianMixture, KernelDensity
from cfmcli.flows.densities import Density, Fitted, Normal, standard_normal, thin

MODES = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 6.0]])
BASES = catalog.names("bases")
each_base = pytest.mark.parametrize("name", BASES)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def uniform(n: int) -> Array:
    return np.full(n, 1 / n)


def modes(n: int = 600, dim: int = 2) -> Array:
    """Points of three separated modes of unequal spread."""
    k = rng(1).integers(3, size=n)
    return (MODES[k] + rng(2).standard_normal((n, 2)) * (0.5 + 0.3 * k[:, None]))[:, :dim]


def fitted(name: str, x: Array, weights: Array | None = None) -> Density:
    base: Base = catalog.build("bases", "flow:steps=120" if name == "flow" else name)
    return base.fit(x, uniform(len(x)) if weights is None else weights, rng())


@each_base
def test_densities_integrate_to_one(name: str) -> None:
    axis = np.linspace(-12, 13, 126)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(fitted(name, modes()).log_prob(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=2e-3)


@each_base
@pytest.mark.parametrize("centre", MODES, ids=str)
def test_draws_are_of_the_density(name: str, centre: Array) -> None:
    """E[q(x) / p(x)] = 1 under p, for a normal density q on each of its modes."""
    density = fitted(name, modes())
    x = density.draw(2**15, rng(4))
    narrow = multivariate_normal(centre, 0.3).logpdf(x)
    ratio = np.exp(narrow - density.log_prob(x))
    error = ratio.std() / np.sqrt(len(x))
    assert error < 0.05
    assert ratio.mean() == pytest.approx(1, abs=4 * error)


@each_base
@pytest.mark.parametrize("dim", [1, 2])
def test_shapes_and_repeatability(name: str, dim: int) -> None:
    x = modes(dim=dim)
    first = fitted(name, x)
    assert first.log_prob(x[:7]).shape == (7,)
    assert first.log_prob(x[:7]).dtype == np.float64
    assert np.array_equal(first.log_prob(x), fitted(name, x).log_prob(x))
    assert first.name.split(":")[0] in (*BASES, "N(0, I)")


@each_base
def test_densities_move_and_scale_with_the_cloud(name: str) -> None:
    """log p_{c x + m}(c x + m) = log p_x(x) - D log c."""
    x = modes(200)
    moved = 3 * x + 5
    change = fitted(name, moved).log_prob(moved) - fitted(name, x).log_prob(x)
    np.testing.assert_allclose(change, -2 * np.log(3), atol=2e-3)


def test_normal_agrees_with_scipy() -> None:
    slope = rng(3).standard_normal((4, 4))
    covariance, mean, x = slope @ slope.T + np.eye(4), rng(4).random(4), rng(5).random((9, 4))
    found = Normal(mean, np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)).log_prob(x)
    np.testing.assert_allclose(found, multivariate_normal(mean, covariance).logpdf(x), rtol=1e-12)
    standard = multivariate_normal(np.zeros(4), np.eye(4)).logpdf(x)
    np.testing.assert_allclose(standard_normal(4).log_prob(x), standard, rtol=1e-12)


def test_gaussian_is_the_maximum_of_the_likelihood() -> None:
    x = modes(300)
    expected = multivariate_normal(x.mean(axis=0), np.cov(x.T, bias=True)).logpdf(x)
    np.testing.assert_allclose(fitted("gaussian", x).log_prob(x), expected, atol=1e-4)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_bic_finds_the_number_of_separated_modes(k: int) -> None:
    x = np.concatenate(
        [centre + 0.6 * rng(i).standard_normal((150, 2)) for i, centre in enumerate(MODES[:k])]
    )
    assert fitted("gmm", x).name == f"gmm:k={k}"
    assert fitted("auto", x).name == f"gmm:k={k}"
    assert fitted("gmm:k=2", x).name == "gmm:k=2"


def test_bic_sees_no_modes_where_there_are_none() -> None:
    """One Gaussian stays one, also when few points leave room for more."""
    names = [fitted("gmm", rng(seed).standard_normal((60, 2))).name for seed in range(12)]
    assert names.count("gmm:k=1") == 12


def test_bic_counts_points_that_weigh_much_once() -> None:
    """A normal cloud stays one Gaussian by whatever weights that do not depend on the place."""
    names = []
    for seed in range(12):
        weights = rng(seed + 100).lognormal(sigma=1.2, size=500)
        x = rng(seed).standard_normal((500, 2))
        names.append(fitted("gmm", x, weights / weights.sum()).name)
    assert names.count("gmm:k=1") == 12


def test_mixture_recovers_the_density_of_its_modes() -> None:
    x = np.concatenate([c + rng(i).standard_normal((1500, 2)) for i, c in enumerate(MODES)])
    truth = np.mean([multivariate_normal(c, np.eye(2)).pdf(x) for c in MODES], axis=0)
    off = fitted("gmm", x).log_prob(x) - np.log(truth)
    assert float(np.mean(np.abs(off))) < 0.06


def test_kernel_density_by_brute_force() -> None:
    """A mean of Gaussians at the points, covariance h^2 times the cloud's, h = n^(-1/(D+4))."""
    x = modes(80)
    grid = rng(6).standard_normal((11, 2)) * 4
    for spec, h in (("kde", 80 ** (-1 / 6)), ("kde:bandwidth=0.3", 0.3)):
        kernels = [multivariate_normal(row, h**2 * np.cov(x.T)).pdf(grid) for row in x]
        np.testing.assert_allclose(fitted(spec, x).log_prob(grid), np.log(np.mean(kernels, axis=0)))


@pytest.mark.parametrize(
    "base", [Gaussian(), KernelDensity(bandwidth=0.3)], ids=["gaussian", "kde"]
)
def test_weights_act_like_repeated_points(base: Base) -> None:
    x, times = modes(300), rng(7).integers(1, 4, size=300)
    repeated = np.repeat(x, times, axis=0)
    weighted = base.fit(x, times / times.sum(), rng()).log_prob(x)
    np.testing.assert_allclose(
        weighted, base.fit(repeated, uniform(len(repeated)), rng()).log_prob(x), atol=0.02
    )
    assert not np.allclose(weighted, base.fit(x, uniform(300), rng()).log_prob(x), atol=0.02)


def test_weights_become_shares_of_a_mixture() -> None:
    """A mode of a quarter of the points and nine tenths of the weight holds nine tenths."""
    x = np.concatenate(
        (MODES[0] + rng(8).standard_normal((200, 2)), MODES[1] + rng(9).standard_normal((600, 2)))
    )
    weights = np.repeat([0.9 / 200, 0.1 / 600], [200, 600])
    found = GaussianMixture(2).fit(x, weights, rng()).log_prob(MODES[:2])
    assert found[0] - found[1] == pytest.approx(np.log(9), abs=0.6)


@pytest.mark.parametrize("name", ["gaussian", "gmm", "gmm:k=2", "auto"])
def test_thin_clouds_keep_a_density(name: str) -> None:
    """Points on a line of the plane."""
    x = rng(10).standard_normal((100, 1)) * [1.0, 2.0]
    assert np.isfinite(fitted(name, x).log_prob(x)).all()


@pytest.mark.parametrize("name", ["gaussian", "gmm", "gmm:k=2", "kde"])
def test_directions_without_a_density_are_found(name: str) -> None:
    """A constant, and whole numbers, to which a mixture gives components of their own."""
    x = rng(10).standard_normal((400, 3)) * [1, 0.1, 1]
    flat, whole = x.copy(), x.copy()
    flat[:, 1] = 7
    whole[:, 2] = rng(11).integers(0, 2, 400) * 8
    assert thin(fitted(name, x), len(x)) == []
    assert thin(standard_normal(3), 9) == []
    if name != "kde":
        assert thin(fitted(name, flat), len(flat)) == [1]
    assert thin(fitted(name, whole), len(whole)) == ([2] if name.startswith("gmm") else [])


def test_a_component_of_a_few_points_makes_no_direction_thin() -> None:
    """Three points far from the others span no volume, and no coordinate is constant."""
    x = rng(12).standard_normal((100, 4))
    x[:3] += 50
    found = fitted("gmm:k=2", x)
    assert isinstance(found, Fitted)
    assert min(found.model.weights_) == pytest.approx(0.03)
    assert thin(found, len(x)) == []


@pytest.mark.parametrize(("name", "n"), [("kde", 100), ("kde", 1), ("gmm", 1), ("gmm:k=7", 6)])
def test_too_few_or_too_thin_points_are_explained(name: str, n: int) -> None:
    x = rng(10).standard_normal((n, 1)) * [1.0, 2.0]
    with pytest.raises(DataError, match="use --base"):
        fitted(name, x)


@pytest.mark.parametrize("spec", ["gmm:k=-1", "kde:bandwidth=-0.1", "kde:bandwidth=nan"])
def test_impossible_options_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        catalog.build("bases", spec)


def test_a_flow_learns_what_no_mixture_has() -> None:
    """On a thin ring the flow's log density is nearer to the truth than one Gaussian's, by far."""
    angle = rng(6).uniform(0, 2 * np.pi, (2, 1500))
    radius = 3 + 0.25 * rng(7).standard_normal((2, 1500))
    x, y = (
        np.stack((r * np.cos(a), r * np.sin(a)), axis=1) for a, r in zip(angle, radius, strict=True)
    )
    flow = catalog.build("bases", "flow:steps=500").fit(x, uniform(len(x)), rng())
    norm = np.linalg.norm(y, axis=1)
    truth = -0.5 * ((norm - 3) / 0.25) ** 2 - np.log(0.25 * np.sqrt(2 * np.pi) * 2 * np.pi * norm)
    lost = float((truth - flow.log_prob(y)).mean())
    assert -0.02 < lost < 0.15
    assert lost < 0.2 * float((truth - fitted("gaussian", x).log_prob(y)).mean())


@pytest.mark.parametrize("name", ["auto", "gaussian", "gmm:k=3", "kde"])
@pytest.mark.parametrize("heavy", [1e6, 1e15])
def test_one_point_of_nearly_all_weight_has_a_density(name: str, heavy: float) -> None:
    """At least a thousandth as wide as the points are, whatever they weigh."""
    x, weights = rng().standard_normal((200, 2)), np.ones(200)
    weights[7] = heavy
    values = fitted(name, x, weights / weights.sum()).log_prob(x)
    assert values.argmax() == 7
    assert values[7] < 15
    assert values.min() > -1e8
