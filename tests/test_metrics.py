"""Laws of the distances between clouds, of their floors, and of the energy and shape of paths."""

from collections.abc import Callable
from functools import partial
from itertools import permutations

import numpy as np
import numpy.typing as npt
import ot
import pytest
from scipy import stats
from scipy.linalg import sqrtm

from cfmcli import metrics
from cfmcli.errors import CfmWarning, DataError, NumericsError
from cfmcli.metrics import distances, entropic

Array = npt.NDArray[np.float64]
Distance = Callable[..., float]


def sliced(x: Array, y: Array, a: Array | None = None, b: Array | None = None) -> float:
    """Sliced W2 along the same lines at every call."""
    return metrics.sliced_w2(x, y, a, b, rng=np.random.default_rng(7), projections=64)


def cloud(n: int, dim: int = 3, seed: int = 0, mean: float = 0.0) -> Array:
    return mean + np.random.default_rng(seed).standard_normal((n, dim))


ROOTS: dict[str, Distance] = {
    "w1": metrics.w1,
    "w2": metrics.w2,
    "sliced_w2": sliced,
    "energy_distance": metrics.energy_distance,
    "mmd": partial(metrics.mmd, bandwidth=1.5),
}
DISTANCES = ROOTS | {"sinkhorn_divergence": partial(metrics.sinkhorn_divergence, reg=1.0)}
each_root = pytest.mark.parametrize("distance", ROOTS.values(), ids=ROOTS.keys())
each_distance = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES.keys())
transport = pytest.mark.parametrize("distance", [metrics.w1, metrics.w2], ids=["w1", "w2"])


@each_distance
def test_equal_clouds_are_at_zero_in_any_order(distance: Distance) -> None:
    x = cloud(60)
    assert distance(x, x) == pytest.approx(0.0, abs=1e-7)
    assert distance(x, x[::-1]) == pytest.approx(0.0, abs=1e-7)


@each_distance
def test_symmetry_and_positivity(distance: Distance) -> None:
    x, y = cloud(40), cloud(55, seed=1, mean=0.5)
    assert distance(x, y) > 0.05
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-9)


@each_root
def test_triangle_inequality(distance: Distance) -> None:
    x, y, z = (cloud(30, seed=i, mean=i / 2) for i in range(3))
    assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-9


@each_distance
def test_only_the_law_counts(distance: Distance) -> None:
    """A repeated point is a point of double weight; a weightless point is no point."""
    x, y = cloud(20), cloud(15, seed=1)
    twice = np.concatenate([x, x[:5]])
    weights = np.concatenate([np.full(5, 2.0), np.ones(15)])
    assert distance(x, y, weights) == pytest.approx(distance(twice, y), rel=1e-9)
    padded, mask = np.concatenate([y, y[:1] + 100]), np.append(np.ones(15), 0.0)
    assert distance(x, padded, None, mask) == pytest.approx(distance(x, y), rel=1e-9)


@each_distance
def test_moving_or_turning_both_clouds_changes_nothing(distance: Distance) -> None:
    """Translations for all; rotations for all but the sliced distance, whose lines stay put."""
    x, y = cloud(25), cloud(25, seed=1, mean=1.0)
    assert distance(x + 3.0, y + 3.0) == pytest.approx(distance(x, y), rel=1e-9)
    turn = np.linalg.qr(cloud(3, seed=5))[0]
    if distance is not sliced:
        assert distance(x @ turn, y @ turn) == pytest.approx(distance(x, y), rel=1e-9)


@pytest.mark.parametrize(
    ("distance", "power"),
    [(metrics.w1, 1), (metrics.w2, 1), (sliced, 1), (metrics.energy_distance, 0.5)],
)
def test_scaling_both_clouds(distance: Distance, power: float) -> None:
    x, y = cloud(25), cloud(30, seed=1, mean=1.0)
    assert distance(9 * x, 9 * y) == pytest.approx(9**power * distance(x, y), rel=1e-9)


def test_mmd_has_no_unit_with_the_median_bandwidth() -> None:
    x, y = cloud(25), cloud(30, seed=1, mean=1.0)
    assert metrics.mmd(9 * x, 9 * y) == pytest.approx(metrics.mmd(x, y), rel=1e-9)


@transport
def test_a_shift_costs_its_length(distance: Distance) -> None:
    x, shift = cloud(80), np.array([2.0, -1.0, 2.0])
    assert distance(x, x + shift) == pytest.approx(3.0, rel=1e-9)


@transport
def test_to_a_point_all_mass_travels(distance: Distance) -> None:
    x = np.array([[3.0, 4.0], [0.0, 1.0]])
    expected = {metrics.w1: (5 + 3 * 1) / 4, metrics.w2: np.sqrt((25 + 3 * 1) / 4)}[distance]
    assert distance(x, np.zeros((1, 2)), np.array([1, 3])) == pytest.approx(expected)


@pytest.mark.parametrize(("distance", "p"), [(metrics.w1, 1), (metrics.w2, 2)])
def test_transport_is_the_best_of_all_assignments(distance: Distance, p: int) -> None:
    x, y = cloud(6), cloud(6, seed=1)
    costs = [np.mean(np.linalg.norm(x - y[list(s)], axis=1) ** p) for s in permutations(range(6))]
    assert distance(x, y) == pytest.approx(min(costs) ** (1 / p), rel=1e-9)


def test_on_a_line_transport_pairs_sorted_points() -> None:
    x, y = cloud(300, dim=1), 2 * cloud(300, dim=1, seed=1) + 1
    steps = np.sort(x[:, 0]) - np.sort(y[:, 0])
    assert metrics.w1(x, y) == pytest.approx(np.abs(steps).mean(), rel=1e-9)
    assert metrics.w2(x, y) == pytest.approx(np.sqrt(np.square(steps).mean()), rel=1e-9)
    assert sliced(x, y) == pytest.approx(metrics.w2(x, y), rel=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.w1, stats.wasserstein_distance),
        (metrics.energy_distance, stats.energy_distance),
    ],
)
def test_on_a_line_scipy_agrees(ours: Distance, theirs: Distance) -> None:
    """Unequal, weighted clouds, large enough for several blocks of rows."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=1100), rng.normal(0.5, 2.0, size=400)
    a, b = rng.random(1100), rng.random(400)
    expected = theirs(x, y, a, b)
    assert ours(x[:, None], y[:, None], a, b) == pytest.approx(expected, rel=1e-8)


def test_w2_of_an_affine_image_is_the_bures_distance() -> None:
    """A symmetric positive map is optimal, so empirical moments give W2 exactly."""
    x, factor = cloud(200), cloud(3, seed=4)
    y = x @ (factor @ factor.T + 0.1 * np.eye(3)) + np.array([1.0, 0.0, -2.0])
    s, t = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    root = sqrtm(s).real
    bures = np.trace(s + t - 2 * sqrtm(root @ t @ root).real)
    square = np.square(x.mean(axis=0) - y.mean(axis=0)).sum() + bures
    assert metrics.w2(x, y) == pytest.approx(np.sqrt(square), rel=1e-7)


def test_w1_is_below_w2_and_slices_are_below_both_dimensions() -> None:
    x, y = cloud(50), 1.5 * cloud(60, seed=1) + 0.3
    assert metrics.w1(x, y) < metrics.w2(x, y)
    assert sliced(x, y) < metrics.w2(x, y)


def test_a_shift_is_seen_by_slices_at_one_part_in_the_dimension() -> None:
    """E ⟨θ, c⟩² = |c|²/D for θ uniform on the sphere."""
    x, shift = cloud(30, dim=5), np.full(5, 2.0)
    value = metrics.sliced_w2(x, x + shift, rng=np.random.default_rng(0), projections=20_000)
    assert value**2 == pytest.approx(20 / 5, rel=0.03)


def test_sliced_w2_depends_on_the_state_of_the_generator_only() -> None:
    x, y = cloud(20), cloud(20, seed=1)
    draws = [metrics.sliced_w2(x, y, rng=np.random.default_rng(s)) for s in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]


def test_energy_distance_by_hand() -> None:
    """The mean over all pairs, one pair at a time."""
    x, y = cloud(7), cloud(5, seed=1)

    def mean(u: Array, v: Array) -> float:
        return sum(float(np.sqrt(sum((p - q) ** 2))) for p in u for q in v) / (len(u) * len(v))

    square = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    assert metrics.energy_distance(x, y) ** 2 == pytest.approx(square, rel=1e-9)


def test_mmd_of_two_points() -> None:
    x, y = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])
    assert metrics.mmd(x, y, bandwidth=5.0) == pytest.approx(np.sqrt(2 - 2 * np.exp(-0.5)))
    assert metrics.mmd(x, 1000 * y, bandwidth=5.0) == pytest.approx(np.sqrt(2))


def test_mmd_of_gaussians() -> None:
    """Between N(0, I) and N(m, I): MMD² = 2 (h²/(h²+2))^(D/2) (1 - exp(-|m|²/(2(h²+2))))."""
    x, y = cloud(1500, dim=2), cloud(1500, dim=2, seed=1) + np.array([2.0, 0.0])
    expected = 2 * (1 / 3) * (1 - np.exp(-4 / 6))
    assert metrics.mmd(x, y, bandwidth=1.0) ** 2 == pytest.approx(expected, rel=0.05)


def test_mmd_takes_its_bandwidth_from_the_reference() -> None:
    """Two clouds judged against one reference are measured by one kernel."""
    y, width = cloud(40), metrics.median_bandwidth(cloud(40))
    for x in (cloud(30, seed=1), 10 * cloud(30, seed=2)):
        assert metrics.mmd(x, y) == metrics.mmd(x, y, bandwidth=width)


def test_median_bandwidth() -> None:
    """Three points by hand; repeated points; |X - X′| of N(0, I) in the plane is Rayleigh."""
    assert metrics.median_bandwidth([[0.0], [1.0], [3.0]]) == 2.0
    assert metrics.median_bandwidth([[0.0]] * 9 + [[4.0]]) == 4.0
    rayleigh = stats.rayleigh(scale=np.sqrt(2)).median()
    assert metrics.median_bandwidth(cloud(5000, dim=2)) == pytest.approx(rayleigh, rel=0.03)


# Sinkhorn divergence


def mean_shift(x: Array, y: Array) -> float:
    """The squared distance of the means."""
    return float(np.square(x.mean(axis=0) - y.mean(axis=0)).sum())


def test_the_divergence_goes_from_transport_to_the_shift_of_means() -> None:
    """reg -> 0 gives W2 squared, reg -> infinity the squared distance of the means."""
    x, y = cloud(30), 1.5 * cloud(25, seed=1) + 0.5
    square = metrics.w2(x, y) ** 2
    assert metrics.sinkhorn_divergence(x, y, reg=3e-3) == pytest.approx(square, rel=1e-3)
    assert metrics.sinkhorn_divergence(x, y, reg=1e6) == pytest.approx(mean_shift(x, y), rel=1e-4)


@pytest.mark.parametrize("reg", [0.02, 0.5, 10.0])
def test_the_divergence_of_a_shifted_cloud(reg: float) -> None:
    """S(x, y + c) = S(x, y) + |c|² + 2 c·(mean y - mean x), so S(x, x + c) = |c|²."""
    x, y, c = cloud(40), cloud(35, seed=1), np.array([2.0, -1.0, 0.5])
    assert metrics.sinkhorn_divergence(x, x + c, reg=reg) == pytest.approx(c @ c, rel=1e-6)
    more = c @ c + 2 * c @ (y.mean(axis=0) - x.mean(axis=0))
    expected = metrics.sinkhorn_divergence(x, y, reg=reg) + more
    assert metrics.sinkhorn_divergence(x, y + c, reg=reg) == pytest.approx(expected, rel=1e-6)


def test_the_divergence_scales_with_the_square_of_the_unit() -> None:
    x, y = cloud(25), cloud(30, seed=1, mean=1.0)
    expected = 81 * metrics.sinkhorn_divergence(x, y)
    assert metrics.sinkhorn_divergence(9 * x, 9 * y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("reg", [1.0, 5.0])
def test_the_divergence_is_that_of_another_solver(reg: float) -> None:
    """POT's entropic costs with the same penalty, KL to the product of the marginals."""
    x, y, b = cloud(30), cloud(20, seed=1, mean=0.5), np.linspace(1, 2, 20) / 30
    a = np.full(30, 1 / 30)

    def cost(u: Array, v: Array, p: Array, q: Array) -> float:
        how = {"reg": reg, "reg_type": "KL", "max_iter": 2000, "tol": 1e-8}
        return float(ot.solve_sample(u, v, p, q, **how).value)

    expected = cost(x, y, a, b) - cost(x, x, a, a) / 2 - cost(y, y, b, b) / 2
    assert metrics.sinkhorn_divergence(x, y, a, b, reg) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("reg", [0.1, 2.0])
def test_the_divergence_of_gaussians(reg: float) -> None:
    """With s = reg/2, d = √(4 u² v² + s²): OT(u, v) = m² + u² + v² - d + s log(d + s) + const.

    Reference: Janati et al. (2020), arXiv 2006.02572, theorem 1
    """
    grid = np.linspace(-8, 10, 700)
    a, b = stats.norm(0, 1).pdf(grid), stats.norm(1.5, 0.5).pdf(grid)

    def cost(u: float, v: float, shift: float) -> float:
        d = np.sqrt(4 * u**2 * v**2 + (reg / 2) ** 2)
        return float(shift**2 + u**2 + v**2 - d + reg / 2 * np.log(d + reg / 2))

    expected = cost(1, 0.5, 1.5) - cost(1, 1, 0) / 2 - cost(0.5, 0.5, 0) / 2
    found = metrics.sinkhorn_divergence(grid[:, None], grid[:, None], a, b, reg)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_divergence_has_the_lower_floor() -> None:
    """Between two samples in 20 dimensions W2 squared is large; without bias it is small."""
    x, y = cloud(300, dim=20), cloud(300, dim=20, seed=1)
    assert metrics.sinkhorn_divergence(x, y) < metrics.w2(x, y) ** 2 / 8


def test_the_default_regularisation_is_half_the_variance() -> None:
    """That of N(0, I) is D/2; moving the cloud changes nothing, weights count."""
    y = cloud(20_000, dim=4)
    assert metrics.default_reg(y) == pytest.approx(2.0, rel=0.02)
    assert metrics.default_reg(y + 5) == pytest.approx(metrics.default_reg(y), rel=1e-9)
    assert metrics.default_reg([[0.0], [4.0]], [1, 3]) == pytest.approx(0.25 * 0.75 * 16 / 2)


def test_a_divergence_that_does_not_settle_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few iterations are told; a regularisation beyond the numbers is refused."""
    x, y = cloud(50), cloud(50, seed=1)
    with pytest.raises(NumericsError, match="larger reg"):
        metrics.sinkhorn_divergence(x, y, reg=1e-15)
    monkeypatch.setattr(entropic, "_ITERATIONS", 1)
    with pytest.warns(CfmWarning, match="stopped after 1 iterations") as records:
        metrics.sinkhorn_divergence(x, y, reg=0.1)
    assert {record.filename for record in records} == {__file__}


# Floors


def floor(distance: Distance, y: Array, b: Array | None = None, **more: int) -> float:
    return metrics.floor(distance, y, b, rng=np.random.default_rng(0), **more)


def square_of(distance: Distance) -> Distance:
    """The squared distance, whose mean has a closed form."""
    return lambda *clouds: distance(*clouds) ** 2


@pytest.mark.parametrize("n", [10, 40])
@pytest.mark.parametrize(
    ("distance", "expected"),
    [(metrics.w2, lambda n: 1 / (3 * (n + 1))), (metrics.energy_distance, lambda n: 2 / (3 * n))],
    ids=["w2", "energy"],
)
def test_the_floor_on_a_line(distance: Distance, expected: Callable[[int], float], n: int) -> None:
    """Two samples of n uniform numbers: E W2² = 1/(3(n+1)), by order statistics; E D² = 2/(3n)."""
    y = (np.arange(20_000)[:, None] + 0.5) / 20_000
    found = floor(square_of(distance), y, n=n, splits=600)
    assert found == pytest.approx(expected(n), rel=0.15)


def test_the_floor_of_weighted_points_is_that_of_points_drawn_by_their_weights() -> None:
    """Of many points a few of which count far more, n drawn ones are uniform on the line still."""
    y = (np.arange(20_000)[:, None] + 0.5) / 20_000
    b = np.where(np.random.default_rng(3).random(20_000) < 0.1, 99.0, 1.0)
    found = floor(square_of(metrics.w2), y, b, n=40, splits=600)
    assert found == pytest.approx(1 / (3 * 41), rel=0.15)


@each_distance
def test_the_floor_falls_as_samples_grow(distance: Distance) -> None:
    y = cloud(1200)
    small, middle, large = (floor(distance, y, n=n, splits=4) for n in (25, 100, 400))
    assert small > 1.5 * middle > 2 * large > 0


@each_distance
def test_a_cloud_of_one_place_has_no_floor(distance: Distance) -> None:
    assert floor(distance, np.ones((5000, 3)), n=50) == pytest.approx(0.0, abs=1e-7)


def test_the_floor_is_what_a_perfect_model_scores() -> None:
    """Fresh samples of the same law are as far from the cloud as the floor says."""
    fresh = [metrics.w2(cloud(200, seed=s), cloud(200, seed=s + 50)) for s in range(10)]
    assert floor(metrics.w2, cloud(2000, seed=99), n=200, splits=10) == pytest.approx(
        np.mean(fresh), rel=0.1
    )


def test_halves_are_disjoint_equal_and_keep_their_weights() -> None:
    """Every point of weight stands in one half, beside its own weight; the rest in neither."""
    y, b = np.arange(11.0)[:, None], np.arange(11.0)
    seen: list[Array] = []

    def spy(x: Array, y: Array, a: Array, b: Array) -> float:
        assert len(x) == len(y) == 5
        np.testing.assert_allclose(a / a.sum(), x[:, 0] / x.sum())
        np.testing.assert_allclose(b / b.sum(), y[:, 0] / y.sum())
        seen.append(np.concatenate([x, y])[:, 0])
        return float(len(seen))

    assert floor(spy, y, b, splits=3) == 2.0
    assert all(sorted(half) == list(range(1, 11)) for half in seen)
    assert len({tuple(half) for half in seen}) == 3
    assert floor(lambda x, *_: len(x), y, n=3) == 3


def test_a_solver_that_stops_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_MAX_ITERATIONS", 1)
    with pytest.warns(CfmWarning, match="stopped early") as records:
        metrics.w2(cloud(50), cloud(50, seed=1))
    assert [record.filename for record in records] == [__file__]


@pytest.mark.parametrize(
    ("x", "a", "message"),
    [
        (np.ones(3), None, r"shape \(3,\)"),
        (np.ones((0, 2)), None, r"shape \(0, 2\)"),
        (np.ones((3, 4)), None, "4 features and y has 2"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), None, "row index 1"),
        (np.ones((3, 2)), np.ones(2), r"expected shape \(3,\)"),
        (np.ones((2, 2)), np.array([1.0, -1.0]), ">= 0"),
        (np.ones((2, 2)), np.zeros(2), "positive sum"),
    ],
)
@each_distance
def test_unfit_clouds_are_refused(
    distance: Distance, x: Array, a: Array | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        distance(x, np.ones((4, 2)), a)


def test_unfit_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="bandwidth"):
        metrics.mmd(cloud(3), np.ones((4, 3)))
    with pytest.raises(DataError, match="bandwidth"):
        metrics.mmd(cloud(3), cloud(3), bandwidth=-1.0)
    for reg in (-1.0, 0.0, np.nan):
        with pytest.raises(DataError, match="regularisation must be positive"):
            metrics.sinkhorn_divergence(cloud(3), cloud(3), reg=reg)
    with pytest.raises(DataError, match="state reg"):
        metrics.sinkhorn_divergence(cloud(3), np.ones((4, 3)))
    with pytest.raises(DataError, match="equal clouds"):
        metrics.normalized_path_energy(1.0, 0.0)
    with pytest.raises(DataError, match="differ"):
        metrics.straightness(1.0, cloud(3), cloud(4))
    for times in ([0.0, 0.0], [0.0], [0.0, 1.0, 2.0]):
        with pytest.raises(DataError, match="increasing"):
            metrics.path_energy(np.ones((2, 3, 1)), times)
    for paths in (np.ones((1, 3, 2)), np.ones((4, 3))):
        with pytest.raises(DataError, match=r"positions \(T, n, D\)"):
            metrics.curvature(paths)
    for few, weights in ((cloud(1), None), (cloud(5), [0, 0, 1, 0, 0])):
        with pytest.raises(DataError, match="1 point of positive weight"):
            metrics.floor(metrics.w2, few, weights, rng=np.random.default_rng(0))


def test_optimal_straight_paths_waste_nothing() -> None:
    """Particles that move evenly along the optimal map have E = W2² on any time grid."""
    x = cloud(50)
    y = 2 * x + 1
    times = [0.0, 0.2, 0.7, 1.0]
    energy = metrics.path_energy(np.stack([y - x] * 4), times)
    assert metrics.normalized_path_energy(energy, metrics.w2(x, y) ** 2) < 1e-9
    assert metrics.straightness(energy, x, y) == pytest.approx(0.0, abs=1e-9)


def test_a_quarter_turn_costs_its_arc() -> None:
    """Radius r, angle πt/2: E = (πr/2)², the chord squared is 2r²; the quadrature is exact."""
    t = np.linspace(0, 1, 5)
    tangent = np.stack([-np.sin(np.pi * t / 2), np.cos(np.pi * t / 2)], axis=1)
    energy = metrics.path_energy(3 * np.pi / 2 * tangent[:, None, :], t)
    assert energy == pytest.approx((3 * np.pi / 2) ** 2)
    start, end = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])
    assert metrics.straightness(energy, start, end) == pytest.approx(9 * (np.pi**2 / 4 - 2))
    npe = metrics.normalized_path_energy(energy, metrics.w2(start, end) ** 2)
    assert npe == pytest.approx(np.pi**2 / 8 - 1)


def test_the_energy_integral_converges_at_second_order() -> None:
    """v = exp(t) has E = (e² - 1)/2; halving the step quarters the error."""

    def error(steps: int) -> float:
        t = np.linspace(0, 1, steps + 1)
        return abs(metrics.path_energy(np.exp(t)[:, None, None], t) - float(np.expm1(2)) / 2)

    assert error(20) / error(40) == pytest.approx(4.0, rel=0.01)


def test_path_weights_count() -> None:
    """Energy and straightness are means over the weighted paths, rescaling of weights aside."""
    v = np.array([[[1.0], [2.0]]] * 2)
    assert metrics.path_energy(v, [0.0, 1.0], [3.0, 1.0]) == pytest.approx((3 * 1 + 4) / 4)
    start, end = np.zeros((2, 1)), np.array([[1.0], [2.0]])
    assert metrics.straightness(1.75, start, end, [3.0, 1.0]) == pytest.approx(0.0)


def arc(angle: float, steps: int, pace: Callable[[Array], Array] = lambda t: t) -> Array:
    """Two arcs of an angle, of radius 1 and 3, at some pace."""
    turn = angle * pace(np.linspace(0, 1, steps + 1))
    circle: Array = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.stack([circle, 3 * circle], axis=1)


@pytest.mark.parametrize(
    "pace", [lambda t: t, np.sqrt, lambda t: t**3], ids=["even", "root", "cube"]
)
@pytest.mark.parametrize("angle", [0.5, np.pi / 2, np.pi])
def test_the_curvature_of_an_arc(angle: float, pace: Callable[[Array], Array]) -> None:
    """Arc over chord less one is (θ/2) / sin(θ/2) - 1, whatever the radius, weights and pace."""
    expected = angle / 2 / np.sin(angle / 2) - 1
    assert metrics.curvature(arc(angle, 400, pace), [3, 1]) == pytest.approx(expected, rel=1e-3)


def test_the_polygon_converges_to_the_arc_at_second_order() -> None:
    errors = [np.pi / 2 - 1 - metrics.curvature(arc(np.pi, steps)) for steps in (20, 40)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.01)


def test_straight_paths_have_no_curvature_at_any_pace() -> None:
    """Unlike straightness, it does not mind a change of speed, but it minds a turning back."""
    t, x, v = np.linspace(0, 1, 9)[:, None, None], cloud(20), cloud(20, seed=1)
    assert metrics.curvature(x + t * v) == pytest.approx(0.0, abs=1e-12)
    assert metrics.curvature(x + t**3 * v) == pytest.approx(0.0, abs=1e-12)
    energy = metrics.path_energy(3 * t**2 * v, t[:, 0, 0])
    assert metrics.straightness(energy, x, x + v) > 0.5
    there_and_half_back = np.array([[[0.0]], [[2.0]], [[1.0]]])
    assert metrics.curvature(there_and_half_back) == pytest.approx(2.0)


def test_curvature_where_nothing_gets_anywhere() -> None:
    """Points at rest are straight; points that come back to their start are not at all."""
    assert metrics.curvature(np.ones((4, 3, 2))) == 0.0
    assert metrics.curvature(np.array([[[0.0]], [[1.0]], [[0.0]]])) == np.inf


def test_curvature_is_a_ratio_of_weighted_means() -> None:
    """A path of no weight, or one at rest, changes nothing."""
    bent = arc(1.0, 50)
    rest = np.concatenate([bent, np.ones_like(bent)], axis=1)
    assert metrics.curvature(rest) == pytest.approx(metrics.curvature(bent), rel=1e-12)
    wild = np.concatenate([bent, cloud(51 * 2, dim=2).reshape(51, 2, 2)], axis=1)
    assert metrics.curvature(wild, [1, 1, 0, 0]) == pytest.approx(metrics.curvature(bent))


def test_straightness_is_the_squared_distance_from_an_even_straight_run() -> None:
    """E - |chord|² = ∫ |chord - v|² dt, on a quarter turn of growing speed."""
    t = np.linspace(0, 1, 2001)
    angle, rate = np.pi / 2 * t**2, np.pi * t
    v = rate[:, None] * np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    start, end = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    energy = metrics.path_energy(v[:, None], t)
    rest = metrics.path_energy((end - start - v)[:, None], t)
    assert metrics.straightness(energy, start, end) == pytest.approx(rest, rel=1e-5)
