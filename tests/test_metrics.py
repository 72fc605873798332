"""Laws of the distances between clouds and of the energy of paths."""

from collections.abc import Callable
from functools import partial
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from scipy.linalg import sqrtm

from cfmcli import metrics
from cfmcli.errors import CfmWarning, DataError

Array = npt.NDArray[np.float64]
Distance = Callable[..., float]


def sliced(x: Array, y: Array, a: Array | None = None, b: Array | None = None) -> float:
    """Sliced W2 along the same lines at every call."""
    return metrics.sliced_w2(x, y, a, b, rng=np.random.default_rng(7), projections=64)


def cloud(n: int, dim: int = 3, seed: int = 0, mean: float = 0.0) -> Array:
    return mean + np.random.default_rng(seed).standard_normal((n, dim))


DISTANCES = {
    "w1": metrics.w1,
    "w2": metrics.w2,
    "sliced_w2": sliced,
    "energy_distance": metrics.energy_distance,
    "mmd": partial(metrics.mmd, bandwidth=1.5),
}
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


@each_distance
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


def test_a_solver_that_stops_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_MAX_ITERATIONS", 1)
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
    with pytest.raises(DataError, match="equal clouds"):
        metrics.normalized_path_energy(1.0, 0.0)
    with pytest.raises(DataError, match="differ"):
        metrics.straightness(1.0, cloud(3), cloud(4))
    for times in ([0.0, 0.0], [0.0], [0.0, 1.0, 2.0]):
        with pytest.raises(DataError, match="increasing"):
            metrics.path_energy(np.ones((2, 3, 1)), times)


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
