"""Toys: well-known two-dimensional clouds, drawn from an explicit generator.

They agree with the benchmark clouds of Tong et al. (2024), arXiv 2302.00482, as drawn by its code,
except that points come in random order. Rows are independent except for equal numbers of points per
mode, which removes the randomness of mode counts from comparisons.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def gaussian(
    n: int, dim: int, rng: np.random.Generator, mean: float = 0.0, std: float = 1.0
) -> Array:
    """Draw an isotropic Gaussian cloud.

    x ~ N(mean·1, std² I)

    Args:
        n: number of points.
        dim: number of features D.
        rng: source of randomness.
        mean: mean of every coordinate.
        std: standard deviation of every coordinate, >= 0.

    Returns:
        Points, shape (n, D).
    """
    return mean + std * rng.standard_normal((n, dim))


def two_gaussians(
    n: int, rng: np.random.Generator, separation: float = 4.0, std: float = 0.5
) -> Array:
    """Draw two Gaussian modes on the first axis, with equal counts.

    x ~ ½ N((-s/2, 0), std² I) + ½ N((s/2, 0), std² I)

    Args:
        n: number of points; an odd one goes to the left mode.
        rng: source of randomness.
        separation: distance s of the two means.
        std: standard deviation of each mode, per coordinate, >= 0.

    Returns:
        Points, shape (n, 2).
    """
    centres = np.array([[-separation / 2, 0.0], [separation / 2, 0.0]])
    return _stratified(n, centres, std, rng)


def eight_gaussians(
    n: int, rng: np.random.Generator, radius: float = 5.0, std: float = 1.0
) -> Array:
    """Draw eight Gaussian modes on a circle, with equal counts.

    x ~ ⅛ Σₖ N(r (cos πk/4, sin πk/4), std² I)

    Reference: Tong et al. (2024), arXiv 2302.00482, table 2.

    Args:
        n: number of points; the first n mod 8 modes get one more.
        rng: source of randomness.
        radius: radius r of the circle of means.
        std: standard deviation of each mode, per coordinate, >= 0.

    Returns:
        Points, shape (n, 2).
    """
    angles = np.arange(8) * np.pi / 4
    centres = radius * np.column_stack([np.cos(angles), np.sin(angles)])
    return _stratified(n, centres, std, rng)


def moons(
    n: int,
    rng: np.random.Generator,
    noise: float = 0.05,
    scale: float = 2.0,
    shift: float = -1.0,
) -> Array:
    """Draw two interleaving half circles of evenly spaced points with Gaussian noise.

    upper (cos a, sin a), lower (1 - cos a, ½ - sin a), a in [0, π]; x = scale · (moon + noise·ε),
    then x₁ + shift

    Reference: scikit-learn's `make_moons`, scaled as in Tong et al. (2024), arXiv 2302.00482.

    Args:
        n: number of points; an odd one goes to the lower moon.
        rng: source of randomness.
        noise: standard deviation of the noise, per coordinate, before scaling, >= 0.
        scale: factor of both coordinates.
        shift: added to the first coordinate after scaling; -1 centres the default moons.

    Returns:
        Points, shape (n, 2).
    """
    upper = np.linspace(0, np.pi, n // 2)
    lower = np.linspace(0, np.pi, n - n // 2)
    first = np.concatenate([np.cos(upper), 1 - np.cos(lower)])
    second = np.concatenate([np.sin(upper), 0.5 - np.sin(lower)])
    clean: Array = rng.permutation(np.column_stack([first, second]))
    points = scale * (clean + noise * rng.standard_normal((n, 2)))
    points[:, 0] += shift
    return points


def scurve(n: int, rng: np.random.Generator, noise: float = 0.05, scale: float = 1.5) -> Array:
    """Draw an S-shaped curve with Gaussian noise.

    x = scale · ((sin a, sign(a)(cos a - 1)) + noise·ε), a ~ U(-3π/2, 3π/2)

    Reference: columns 0 and 2 of scikit-learn's `make_s_curve`, scaled as in Tong et al. (2024),
    arXiv 2302.00482.

    Args:
        n: number of points.
        rng: source of randomness.
        noise: standard deviation of the noise, per coordinate, before scaling, >= 0.
        scale: factor of both coordinates.

    Returns:
        Points, shape (n, 2).
    """
    angle = 3 * np.pi * (rng.random(n) - 0.5)
    clean = np.column_stack([np.sin(angle), np.sign(angle) * (np.cos(angle) - 1)])
    return scale * (clean + noise * rng.standard_normal((n, 2)))


def checkerboard(n: int, rng: np.random.Generator, width: float = 8.0) -> Array:
    """Draw uniform points on the eight dark squares of a four-by-four board.

    ρ(x) = 2 / width² where ⌊4x₁/width⌋ + ⌊4x₂/width⌋ is even, in [-width/2, width/2]²; else 0

    Reference: Grathwohl et al. (2019), arXiv 1810.01367, sec. 4.1.

    Args:
        n: number of points.
        rng: source of randomness.
        width: side of the board, centred at 0.

    Returns:
        Points, shape (n, 2).
    """
    column = rng.integers(4, size=n)
    row = 2 * rng.integers(2, size=n) + column % 2
    corner = np.column_stack([column, row])
    return width * ((corner + rng.random((n, 2))) / 4 - 0.5)


def _stratified(n: int, centres: Array, std: float, rng: np.random.Generator) -> Array:
    """Draw a mixture of equal Gaussians with counts equal to within one, in random order."""
    mode = rng.permutation(np.arange(n) % len(centres))
    return np.asarray(centres[mode] + std * rng.standard_normal((n, centres.shape[1])))
