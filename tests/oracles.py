"""Closed forms of flows between mixtures of Gaussians, in float64.

An oracle knows the path's coefficients and the moments of both ends, nothing of the code it judges.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from scipy.integrate import quad
from torch import Tensor

from cfmcli.flows.path.interpolants import Ends, Interpolant


@dataclass(frozen=True)
class Coefficients:
    """A path x_t = a x0 + b x1 + sqrt(v) z at one time, with its rates.

    Args:
        a, b: weights of the source and of the target.
        v: latent variance.
        da, db, dv: their time derivatives.
    """

    a: float
    b: float
    v: float
    da: float
    db: float
    dv: float


Path = Callable[[float], Coefficients]
Formula = Callable[[Tensor, Tensor], Tensor]


def linear(sigma: float) -> Path:
    """Reference: Tong et al. (2024), arXiv 2302.00482, eq. 14."""
    return lambda t: Coefficients(1 - t, t, sigma**2, -1.0, 1.0, 0.0)


def trigonometric(sigma: float) -> Path:
    """Reference: Albergo & Vanden-Eijnden (2022), arXiv 2209.15571, eq. 5."""
    q = math.pi / 2

    def at(t: float) -> Coefficients:
        c, s = math.cos(q * t), math.sin(q * t)
        return Coefficients(c, s, sigma**2, -q * s, q * c, 0.0)

    return at


def brownian(sigma: float) -> Path:
    """Reference: Tong et al. (2024), arXiv 2302.00482, eq. 19."""
    return lambda t: Coefficients(
        1 - t, t, sigma**2 * t * (1 - t), -1.0, 1.0, sigma**2 * (1 - 2 * t)
    )


def onesided(sigma: float) -> Path:
    """Reference: Lipman et al. (2023), arXiv 2210.02747, eq. 20-22."""
    k = 1 - sigma
    return lambda t: Coefficients(0.0, t, (1 - k * t) ** 2, 0.0, 1.0, -2 * k * (1 - k * t))


def onesided_trigonometric(_: float) -> Path:
    """Reference: Albergo et al. (2023), arXiv 2303.08797 (one-sided interpolants)."""
    q = math.pi / 2

    def at(t: float) -> Coefficients:
        c, s = math.cos(q * t), math.sin(q * t)
        return Coefficients(0.0, s, c * c, 0.0, q * c, -2 * q * s * c)

    return at


def onesided_sbdm(_: float) -> Path:
    """Reference: Albergo et al. (2023), arXiv 2303.08797 (score-based diffusion)."""
    return lambda t: Coefficients(0.0, t, 1 - t * t, 0.0, 1.0, -2 * t)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _bump(t: float) -> float:
    """sigmoid(f (t - 1/2) + 1) - sigmoid(f (t - 1/2) - 1), f = 10."""
    return _sigmoid(10 * t - 4) - _sigmoid(10 * t - 6)


def _bump_rate(t: float) -> float:
    high, low = _sigmoid(10 * t - 4), _sigmoid(10 * t - 6)
    return 10 * (high * (1 - high) - low * (1 - low))


LATENTS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "none": (lambda t: 0.0, lambda t: 0.0),
    "sqrt": (
        lambda t: math.sqrt(t * (1 - t)),
        lambda t: (1 - 2 * t) / (2 * math.sqrt(t * (1 - t))),
    ),
    "quadratic": (lambda t: t * (1 - t), lambda t: 1 - 2 * t),
    "sine": (
        lambda t: math.sin(math.pi * t) ** 2,
        lambda t: 2 * math.pi * math.sin(math.pi * t) * math.cos(math.pi * t),
    ),
    "sigmoid": (lambda t: _bump(t) - _bump(0.0), _bump_rate),
}
"""g and dg/dt, as published in Albergo et al. (2023), arXiv 2303.08797, and its code."""


def with_latent(path: Path, gamma: str, a: float) -> Path:
    """The path with a g(t)^2 more latent variance."""
    g, rate = LATENTS[gamma]

    def at(t: float) -> Coefficients:
        c = path(t)
        inside = 0 < t < 1
        slope = 2 * g(t) * rate(t) if inside else {"sqrt": 1 - 2 * t}.get(gamma, 0.0)
        return replace(c, v=c.v + a * g(t) ** 2, dv=c.dv + a * slope)

    return at


def preserving(gamma: str, a: float) -> Path:
    """sqrt(1 - gamma^2) times the quarter circle, plus gamma z, from the rates of gamma^2.

    Reference: Albergo et al. (2023), arXiv 2303.08797 (trigonometric interpolant).
    """
    circle = trigonometric(0.0)

    def at(t: float) -> Coefficients:
        c, noise = circle(t), with_latent(linear(0.0), gamma, a)(t)
        r = math.sqrt(1 - noise.v)
        dr = -noise.dv / (2 * r)
        return Coefficients(
            r * c.a, r * c.b, noise.v, dr * c.a + r * c.da, dr * c.b + r * c.db, noise.dv
        )

    return at


def through_noise(gamma: str, a: float) -> Path:
    """Reference: Albergo et al. (2023), arXiv 2303.08797 (encoding-decoding)."""

    def at(t: float) -> Coefficients:
        weight, rate = math.cos(math.pi * t) ** 2, -math.pi * math.sin(2 * math.pi * t)
        first = t < 0.5
        plain = Coefficients(
            weight * first, weight * (not first), 0.0, rate * first, rate * (not first), 0.0
        )
        return with_latent(lambda _: plain, gamma, a)(t)

    return at


def mirror(gamma: str, a: float) -> Path:
    """Reference: Albergo et al. (2023), arXiv 2303.08797 (mirror interpolants)."""
    return with_latent(lambda _: Coefficients(0.0, 1.0, 0.0, 0.0, 0.0, 0.0), gamma, a)


DIFFUSIONS: dict[str, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "linear": lambda t: 1 - t,
    "cosine": lambda t: math.cos(math.pi * t / 2),
}
"""sigma(t) / sigma(0) of the Brownian bridges."""


def spread(schedule: str, sigma: float, t: float) -> float:
    """F(t) = integral of sigma(t)^2 from 0 to t, by quadrature."""
    found: float = quad(lambda s: (sigma * DIFFUSIONS[schedule](s)) ** 2, 0, t, epsabs=1e-13)[0]
    return found


def bridge(schedule: str, sigma: float) -> Path:
    """Mean weights and variance F - F^2 / F(1) of a Brownian motion pinned at both ends.

    Reference: Tong et al. (2024), arXiv 2307.03672 (time-varying sigma).
    """
    total = spread(schedule, sigma, 1.0)

    def at(t: float) -> Coefficients:
        f, rate = spread(schedule, sigma, t), (sigma * DIFFUSIONS[schedule](t)) ** 2
        b, db = f / total, rate / total
        return Coefficients(1 - b, b, f - f * f / total, -db, db, rate - 2 * f * rate / total)

    return at


PUBLISHED: dict[str, Callable[[float], Path]] = {
    "linear": linear,
    "trigonometric": trigonometric,
    "brownian": brownian,
    "spline": linear,
    "bent": linear,
    "density": linear,
    "wfr": linear,
    "encdec": lambda a: through_noise("sine", a),
    "vp": lambda a: preserving("sigmoid", a),
    "onesided-linear": onesided,
    "onesided-trigonometric": onesided_trigonometric,
    "onesided-sbdm": onesided_sbdm,
    "mirror": lambda a: mirror("sqrt", a),
    "learned": lambda _: trigonometric(0.0),
    "learned-bridge": lambda eps: with_latent(trigonometric(0.0), "sqrt", 2 * eps),
}
"""The path of each interpolant's name, given its noise; a spline's with its chords as tangents."""

_NOISE = dict.fromkeys(
    ("linear", "trigonometric", "brownian", "spline", "bent", "density", "wfr", "onesided-linear"),
    "sigma",
)
_NOISE |= {"encdec": "a", "vp": "a", "mirror": "a", "learned-bridge": "epsilon"}


def spec(name: str, noise: float) -> str:
    """The spec whose path is PUBLISHED[name](noise)."""
    return f"{name}:{_NOISE[name]}={noise}" if name in _NOISE else name


def joined(x0: Tensor, x1: Tensor) -> Ends:
    """Ends with their chord as tangents, for the paths that ask for them."""
    return Ends(x0, x1, x1 - x0, x1 - x0)


def read_off(interpolant: Interpolant, step: float = 1e-5) -> Path:
    """The path of an interpolant with a linear mean; its rates by central differences."""
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)

    def values(t: float) -> Tensor:
        clock = torch.full_like(one, t)
        means = [interpolant.mean(clock, joined(*ends)) for ends in ((one, zero), (zero, one))]
        return torch.cat([*means, interpolant.variance(clock)]).ravel()

    def at(t: float) -> Coefficients:
        rates = (values(t + step) - values(t - step)) / (2 * step)
        return Coefficients(*values(t).tolist(), *rates.tolist())

    return at


@dataclass(frozen=True)
class Mixture:
    """A mixture of K Gaussians in D dimensions.

    Args:
        weights: shape (K,), sum 1.
        means: shape (K, D).
        covariances: shape (K, D, D).
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n points, shape (n, D)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        factors = torch.linalg.cholesky(self.covariances)[k]
        return self.means[k] + torch.einsum("nij,nj->ni", factors, z)


def gaussian(mean: list[float], covariance: list[list[float]]) -> Mixture:
    """A mixture of one."""
    return Mixture(
        torch.ones(1, dtype=torch.float64),
        torch.tensor([mean], dtype=torch.float64),
        torch.tensor([covariance], dtype=torch.float64),
    )


@dataclass(frozen=True)
class _Parts:
    """What the components k = (i, j) of rho_t say at points x of shape (B, D).

    Args:
        log_joint: log w_k N(x; m_k, C_k), shape (B, K).
        scores: -C_k^-1 (x - m_k), shape (B, K, D).
        velocities: dm_k + G_k (x - m_k), shape (B, K, D).
        traces: tr G_k, shape (K,).
    """

    log_joint: Tensor
    scores: Tensor
    velocities: Tensor
    traces: Tensor

    @property
    def shares(self) -> Tensor:
        """The posterior of the components, shape (B, K)."""
        return self.log_joint.softmax(dim=1)


@dataclass(frozen=True)
class Oracle:
    """The flow between two mixtures, paired independently, along a path.

    Given the components i and j of the ends, x_t and dx_t/dt are jointly Gaussian, with mean
    m_k = a m_i + b m_j and its rate, Cov(x_t) = C_k = a^2 C_i + b^2 C_j + v I, and
    Cov(dx_t/dt, x_t) = a a' C_i + b b' C_j + v'/2 I = G_k C_k. Regressing one on the other inside
    a component, and averaging over the posterior of the components, gives all that follows.

    Reference: Albergo et al. (2023), arXiv 2303.08797, app. A (Gaussian mixtures)

    Args:
        source: the law at t = 0.
        target: the law at t = 1.
        path: coefficients at a time.
    """

    source: Mixture
    target: Mixture
    path: Path

    def moments(self, t: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """m_k, C_k, their rate dm_k, and G_k, by component."""
        c = self.path(t)
        m0, m1 = self.source.means[:, None], self.target.means[None]
        s0, s1 = self.source.covariances[:, None], self.target.covariances[None]
        eye = torch.eye(m0.shape[-1], dtype=torch.float64)
        mean = (c.a * m0 + c.b * m1).flatten(0, 1)
        rate = (c.da * m0 + c.db * m1).flatten(0, 1)
        cov = (c.a**2 * s0 + c.b**2 * s1 + c.v * eye).flatten(0, 1)
        cross = (c.a * c.da * s0 + c.b * c.db * s1 + c.dv / 2 * eye).flatten(0, 1)
        return mean, cov, rate, cross @ torch.linalg.inv(cov)

    def velocity(self, t: float, x: Tensor) -> Tensor:
        """E[dx_t/dt | x_t = x], shape (B, D)."""
        parts = self._parts(t, x)
        return (parts.shares[..., None] * parts.velocities).sum(dim=1)

    def score(self, t: float, x: Tensor) -> Tensor:
        """grad log rho_t, shape (B, D)."""
        parts = self._parts(t, x)
        return (parts.shares[..., None] * parts.scores).sum(dim=1)

    def log_prob(self, t: float, x: Tensor) -> Tensor:
        """log rho_t, shape (B,)."""
        return self._parts(t, x).log_joint.logsumexp(dim=1)

    def divergence(self, t: float, x: Tensor) -> Tensor:
        """div b = sum_k r_k (tr G_k + (s_k - s) . b_k), as grad r_k = r_k (s_k - s)."""
        parts = self._parts(t, x)
        score = (parts.shares[..., None] * parts.scores).sum(dim=1, keepdim=True)
        slopes = ((parts.scores - score) * parts.velocities).sum(dim=2)
        return (parts.shares * (parts.traces + slopes)).sum(dim=1)

    def field(self, s: Tensor, x: Tensor) -> Tensor:
        """The velocity as a field of s, shape (B, 1), all one time, and x, shape (B, D)."""
        return self.velocity(float(s.ravel()[0]), x)

    def _parts(self, t: float, x: Tensor) -> _Parts:
        """The components at x."""
        mean, cov, rate, slope = self.moments(t)
        precision = torch.linalg.inv(cov)
        gap = x[:, None] - mean
        scores = -torch.einsum("kij,bkj->bki", precision, gap)
        weights = torch.outer(self.source.weights, self.target.weights).ravel()
        volume = torch.logdet(cov) + x.shape[1] * math.log(2 * math.pi)
        return _Parts(
            weights.log() - 0.5 * volume + 0.5 * (gap * scores).sum(dim=2),
            scores,
            rate + torch.einsum("kij,bkj->bki", slope, gap),
            slope.diagonal(dim1=1, dim2=2).sum(dim=1),
        )


def matched(n: int, dim: int, generator: torch.Generator) -> Tensor:
    """n particles of exactly zero mean and unit covariance, shape (n, dim)."""
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    x = x - x.mean(dim=0)
    factor = torch.linalg.cholesky(x.T @ x / n)
    white: Tensor = torch.linalg.solve_triangular(factor, x.T, upper=False).T
    return white


def ends(oracle: Oracle, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x0, x1 and z of a Gaussian oracle with exact joint moments, shape (n, D) each."""
    dim = oracle.source.means.shape[1]
    w0, w1, z = torch.chunk(matched(n, 3 * dim, generator), 3, dim=1)
    place = [
        end.means[0] + w @ torch.linalg.cholesky(end.covariances[0]).T
        for end, w in ((oracle.source, w0), (oracle.target, w1))
    ]
    return place[0], place[1], z


STANDARD = gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
TILTED = gaussian([-1.0, 0.5], [[0.6, 0.3], [0.3, 1.1]])
NARROW = gaussian([2.0, -1.0], [[0.9, -0.4], [-0.4, 0.5]])
TWO = Mixture(
    torch.tensor([0.3, 0.7], dtype=torch.float64),
    torch.tensor([[-2.0, 0.0], [1.0, 1.5]], dtype=torch.float64),
    torch.tensor([[[0.5, 0.2], [0.2, 0.4]], [[0.8, 0.0], [0.0, 0.3]]], dtype=torch.float64),
)
THREE = Mixture(
    torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64),
    torch.tensor([[2.0, 2.0], [0.0, -2.0], [-2.0, 1.0]], dtype=torch.float64),
    torch.tensor(
        [[[0.3, 0.1], [0.1, 0.3]], [[0.6, -0.3], [-0.3, 0.5]], [[0.2, 0.0], [0.0, 0.7]]],
        dtype=torch.float64,
    ),
)
