"""From the normal to the clouds of the published table, and the Gaussian Schroedinger bridge.

Published: Tong et al. (2024), [SF]2M, tables 2 and 3, of 10,000 points.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

import cfmcli
from cfmcli import metrics
from cfmcli.data import toys
from cfmcli.data.table import Array
from tests.statistical.figures import Figures, carry

pytestmark = pytest.mark.slow

TRAIN, TEST = 10_000, 3_000
TARGETS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "8g": toys.eight_gaussians,
    "moons": toys.moons,
    "scurve": toys.scurve,
}
BOUNDS = {"8g": 0.55, "moons": 0.20, "scurve": 0.35}
KL_BOUND = 0.01
PUBLISHED = {
    ("8g", "otcfm"): (".303 +- .043", ".031 +- .027"),
    ("moons", "otcfm"): (".130 +- .016", ".083 +- .009"),
    ("scurve", "otcfm"): (".144 +- .028", ".027 +- .012"),
    ("8g", "icfm"): (".373 +- .103", ".202 +- .055"),
    ("moons", "icfm"): (".178 +- .014", ".891 +- .120"),
    ("scurve", "icfm"): (".242 +- .141", ".856 +- .031"),
    ("8g", "fm"): (".343 +- .058", ".190 +- .054"),
    ("moons", "fm"): (".209 +- .055", ".762 +- .099"),
    ("scurve", "fm"): (".198 +- .037", ".743 +- .116"),
}


@cache
def clouds(target: str) -> tuple[Array, Array, Array, float]:
    """Training points, test ends, and the floor: mean W2 of independent points to the end.

    A flow of normal points has the luck of their counts in each mode, so the floor has it too: its
    points are a few of a draw whose counts are even.
    """
    rng = np.random.default_rng(2000)
    draw = TARGETS[target]
    train, start, end = draw(TRAIN, rng), rng.standard_normal((TEST, 2)), draw(TEST, rng)
    floors = [metrics.w2(draw(10 * TEST, rng)[:TEST], end) for _ in range(3)]
    return train, start, end, float(np.mean(floors))


@pytest.mark.parametrize(("target", "method"), list(PUBLISHED))
def test_normal_becomes_the_cloud(target: str, method: str, figures: Figures) -> None:
    # Fresh normal points, carried in data units, make the target up to its sampling noise.
    train, start, end, floor = clouds(target)
    model = cfmcli.fit(train, source="gaussian", method=method, transform="none", threads=1)
    moved = carry(model, start)
    w2_published, npe_published = PUBLISHED[target, method]
    name = f"N->{target}, {method}, seed 0"
    bound = BOUNDS[target]
    w2 = figures.add(
        f"{name}: W2",
        metrics.w2(moved.end, end),
        published=w2_published,
        floor=floor,
        bound=f"<= {bound:g}",
    )
    figures.add(f"{name}: NPE", moved.npe(end), published=npe_published, floor=0.0)
    assert w2 <= bound


def divergence(points: Array, mean: float, variance: float) -> float:
    """KL(N(m, S) || N(mean 1, variance I)) of the points' mean m and covariance S."""
    covariance = np.cov(points.T, bias=True)
    dim = points.shape[1]
    shift = np.square(points.mean(axis=0) - mean).sum()
    spread = np.trace(covariance) / variance - dim
    volume = dim * np.log(variance) - np.linalg.slogdet(covariance)[1]
    return float((spread + shift / variance + volume) / 2)


def test_bridge_between_gaussians_has_the_true_marginals(figures: Figures) -> None:
    # The bridge of N(-a, I) and N(a, I) is Gaussian at every time, of known mean and variance.
    a, dim, n = 0.1, 5, 10_000
    rng = np.random.default_rng(3000)
    x0, x1 = (side * a + rng.standard_normal((n, dim)) for side in (-1, 1))
    model = cfmcli.fit(x0, x1, method="sbcfm", threads=1)
    times = np.linspace(0.0, 1.0, 21)
    start = -a + rng.standard_normal((n, dim))
    frames = model.interpolate(start, times.tolist())
    variances = (1 - times) ** 2 + times**2 + times * (1 - times) * np.sqrt(5.0)
    found = [
        divergence(frame, (2 * t - 1) * a, v)
        for frame, t, v in zip(frames, times, variances, strict=True)
    ]
    floor = (dim + dim * (dim + 1) / 2) / (2 * n)
    name = f"Gaussian bridge d {dim}, sbcfm"
    last = figures.add(
        f"{name}: KL(t=1)", found[-1], published=".001", floor=floor, bound=f"<= {KL_BOUND:g}"
    )
    figures.add(f"{name}: KL(t=0), of the test points alone", found[0], floor=floor)
    mean = figures.add(
        f"{name}: mean KL of 21 times",
        float(np.mean(found)),
        published=".008",
        floor=floor,
        bound=f"<= {KL_BOUND:g}",
    )
    assert last <= KL_BOUND
    assert mean <= KL_BOUND
