"""Laws of likelihoods: exact on closed forms, and estimates that know their own error."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from scipy.stats import t as student
from torch import Tensor
from torch.func import jacrev

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.likelihood import Auto, Exact, Hutchinson, density_change, traces
from cfmcli.flows.dynamics.solvers import Adaptive, FixedStep
from cfmcli.flows.fields import MLP, Shape
from tests import oracles
from tests.oracles import Mixture, Oracle

TIGHT = Adaptive("dopri8", 1e-9, 1e-9)
ENDS: dict[str, tuple[Mixture, Mixture]] = {
    "gaussian": (oracles.TILTED, oracles.NARROW),
    "mixture": (oracles.TWO, oracles.THREE),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("name", catalog.names("interpolants"))
@pytest.mark.parametrize("t", [0.6, 1.0])
def test_log_density_is_exact(ends: str, name: str, t: float) -> None:
    """log rho_t(x) = log rho_0(x_0) + integral of div b, to 1e-6, on the closed-form field.

    In two legs, as encdec has a kink half way.
    """
    oracle = Oracle(*ENDS[ends], oracles.PUBLISHED[name](0.4))
    x = oracle.target.sample(16, seeded())
    late = density_change(oracle.field, x, (t, 0.5), Exact(), TIGHT, seeded())
    early = density_change(oracle.field, late.x, (0.5, 0.0), Exact(), TIGHT, seeded())
    found = oracle.log_prob(0.0, early.x) + early.loss + late.loss
    torch.testing.assert_close(found, oracle.log_prob(t, x), rtol=0, atol=1e-6)
    assert not late.error.any()
    assert not early.error.any()


def test_what_is_lost_forward_is_gained_backward() -> None:
    oracle = Oracle(*ENDS["gaussian"], oracles.linear(0.2))
    x = oracle.source.sample(10, seeded())
    there = density_change(oracle.field, x, (0.0, 0.8), Exact(), TIGHT, seeded())
    back = density_change(oracle.field, there.x, (0.8, 0.0), Exact(), TIGHT, seeded())
    torch.testing.assert_close(back.x, x, rtol=0, atol=1e-6)
    torch.testing.assert_close(back.loss, -there.loss, rtol=0, atol=1e-6)


def test_no_time_no_change() -> None:
    x = torch.randn(4, 2, generator=seeded())
    found = density_change(lambda s, y: y, x, (0.5, 0.5), Hutchinson(), TIGHT, seeded())
    assert torch.equal(found.x, x)
    assert not found.loss.any()
    assert found.nfe == 0


def perceptron(dim: int) -> tuple[torch.nn.Module, Tensor, Tensor]:
    """A random field in float64, with a time and points."""
    head = (
        MLP(width=24, depth=2)
        .build(("velocity",), Shape(dim), seeded(1))
        .heads["velocity"]
        .double()
    )
    x = torch.randn(6, dim, generator=seeded(2), dtype=torch.float64)
    return head, torch.full((6, 1), 0.3, dtype=torch.float64), x


def test_traces_equal_those_of_the_jacobian() -> None:
    head, s, x = perceptron(5)
    value, parts = traces(lambda y: head(s, y), x, Exact().directions(x, seeded()))
    torch.testing.assert_close(value, head(s, x))
    for k in range(len(x)):
        slope = jacrev(lambda y, k=k: head(s[k : k + 1], y[None])[0])(x[k])
        torch.testing.assert_close(parts[k].sum(), slope.trace())


def test_directional_derivatives_equal_those_of_the_jacobian() -> None:
    """Each probe, at each point: e . J e."""
    head, s, x = perceptron(4)
    signs = Hutchinson(7).directions(x, seeded(3))
    assert signs.shape == (7, 6, 4)
    assert set(signs.ravel().tolist()) == {-1.0, 1.0}
    _, parts = traces(lambda y: head(s, y), x, signs)
    for k in range(len(x)):
        slope = jacrev(lambda y, k=k: head(s[k : k + 1], y[None])[0])(x[k])
        torch.testing.assert_close(
            parts[k], torch.einsum("pi,ij,pj->p", signs[:, k], slope, signs[:, k])
        )


SLOPE = torch.randn(12, 12, generator=seeded(4), dtype=torch.float64)


def linear(s: Tensor, x: Tensor) -> Tensor:
    """b = J x: its divergence is tr J everywhere, so one Euler step integrates it exactly."""
    return x @ SLOPE.T


def estimates(points: int, probes: int) -> tuple[np.ndarray, np.ndarray]:
    """Hutchinson's estimate of tr J less the truth, and its standard error, at each point."""
    x = torch.randn(points, 12, generator=seeded(5), dtype=torch.float64)
    once = FixedStep("euler", 1)
    found = density_change(linear, x, (0.0, 1.0), Hutchinson(probes), once, seeded(6))
    return (found.loss - SLOPE.trace()).numpy(), found.error.numpy()


def test_hutchinson_is_unbiased_with_the_variance_of_rademacher_probes() -> None:
    """Var(e . J e) = 2 (|S|_F^2 - sum S_ii^2), S the symmetric part of J."""
    points, probes = 20_000, 4
    wrong, _ = estimates(points, probes)
    symmetric = (SLOPE + SLOPE.T) / 2
    variance = 2 * float(symmetric.square().sum() - symmetric.diagonal().square().sum()) / probes
    assert abs(wrong.mean()) < 4.5 * (variance / points) ** 0.5
    assert wrong.var() == pytest.approx(variance, rel=0.06)


def test_the_standard_error_is_honest() -> None:
    """Its square is an unbiased variance; z-scores follow Student's t with P - 1 degrees."""
    wrong, error = estimates(4000, 8)
    assert (error**2).mean() == pytest.approx((wrong**2).mean(), rel=0.1)
    z = wrong / error
    assert np.mean(np.abs(z) < student.ppf(0.975, 7)) == pytest.approx(0.95, abs=0.015)
    assert kstest(z, student(7).cdf).statistic < 0.04


def test_probes_differ_between_points_and_repeat_with_the_seed() -> None:
    one, two = estimates(50, 4), estimates(50, 4)
    assert np.array_equal(one, two)
    assert len(np.unique(one[0])) > 40


@pytest.mark.parametrize("dim", [64, 65])
def test_auto_is_exact_up_to_64_dimensions(dim: int) -> None:
    x = torch.randn(2, dim, generator=seeded(), dtype=torch.float64)
    slope = torch.randn(dim, dim, generator=seeded(1), dtype=torch.float64)
    found = density_change(
        lambda s, y: y @ slope.T, x, (0.0, 1.0), Auto(), FixedStep("euler", 1), seeded()
    )
    exact = dim == 64
    assert bool((found.error == 0).all()) is exact
    assert torch.allclose(found.loss, slope.trace().expand(2)) is exact


def test_one_probe_has_no_error_and_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        catalog.build("divergences", "hutchinson:probes=1")
