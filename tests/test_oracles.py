"""Laws that hold between an oracle's own closed forms: each is derived apart from the others."""

import pytest
import torch
from scipy.stats import multivariate_normal
from torch.func import jacrev

from tests import oracles
from tests.oracles import Oracle

GAUSSIAN = Oracle(oracles.TILTED, oracles.NARROW, oracles.brownian(0.8))
MIXTURE = Oracle(oracles.TWO, oracles.THREE, oracles.trigonometric(0.3))
each_oracle = pytest.mark.parametrize("oracle", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])


def points(n: int = 7) -> torch.Tensor:
    return 1.5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@each_oracle
def test_continuity_equation(oracle: Oracle) -> None:
    """d log rho/dt + div b + b . s = 0, the rate by central differences."""
    x, t, h = points(), 0.4, 1e-5
    rate = (oracle.log_prob(t + h, x) - oracle.log_prob(t - h, x)) / (2 * h)
    flux = (oracle.velocity(t, x) * oracle.score(t, x)).sum(dim=1)
    torch.testing.assert_close(rate + oracle.divergence(t, x) + flux, torch.zeros(7).double())


@each_oracle
def test_score_is_the_gradient_and_divergence_the_trace(oracle: Oracle) -> None:
    for x in points():
        row = x[None].requires_grad_()
        (gradient,) = torch.autograd.grad(oracle.log_prob(0.7, row).sum(), row)
        slope = jacrev(lambda y: oracle.velocity(0.7, y[None])[0])(x)
        torch.testing.assert_close(oracle.score(0.7, row)[0], gradient[0])
        torch.testing.assert_close(oracle.divergence(0.7, row)[0], slope.trace())


def test_ends_are_the_mixtures() -> None:
    """Without latent noise rho_0 and rho_1 are the two mixtures, as SciPy has them."""
    oracle = Oracle(oracles.TWO, oracles.THREE, oracles.linear(0.0))
    for t, end in ((0.0, oracles.TWO), (1.0, oracles.THREE)):
        parts = [
            w * multivariate_normal(m.numpy(), c.numpy()).pdf(points().numpy())
            for w, m, c in zip(end.weights.tolist(), end.means, end.covariances, strict=True)
        ]
        torch.testing.assert_close(oracle.log_prob(t, points()).exp(), torch.tensor(sum(parts)))
