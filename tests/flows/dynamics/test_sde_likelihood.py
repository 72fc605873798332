"""Laws of likelihoods of stochastic dynamics: exact densities, bounds, honest errors."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from cfmcli import catalog
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.dynamics import sde_likelihood
from cfmcli.flows.dynamics.estimators import Controlled, Estimator, FeynmanKac, Means, Ode
from cfmcli.flows.dynamics.likelihood import Hutchinson
from cfmcli.flows.dynamics.sde import Process
from cfmcli.flows.dynamics.sde_likelihood import average, log_density
from cfmcli.flows.dynamics.solvers import Adaptive
from tests import oracles
from tests.oracles import Oracle
from tests.processes import (
    Line,
    Score,
    density,
    exact,
    means,
    process,
    seeded,
    twisted,
    weak,
)

TABLE = Line()
POINTS = torch.tensor([[0.7], [1.5], [2.4]], dtype=torch.float64)
KNOWN = TABLE.log_prob(1.0, POINTS)
MIXTURE = Oracle(oracles.TWO, oracles.THREE, oracles.brownian(1.0))


def test_the_line_is_an_oracle() -> None:
    """Its fields are those of the general closed form, its end that of the published check."""
    ends = oracles.gaussian([-1.0], [[0.6]]), oracles.gaussian([1.5], [[0.3]])
    oracle = Oracle(*ends, oracles.brownian(1.0))
    for t in (0.0, 0.3, 1.0):
        torch.testing.assert_close(TABLE.velocity(t, POINTS), oracle.velocity(t, POINTS))
        torch.testing.assert_close(TABLE.score(t, POINTS), oracle.score(t, POINTS))
        torch.testing.assert_close(TABLE.log_prob(t, POINTS), oracle.log_prob(t, POINTS))
    known = torch.tensor([-1.3836, -0.3170, -1.6670], dtype=torch.float64)
    torch.testing.assert_close(KNOWN, known, rtol=0, atol=5e-5)


@pytest.mark.parametrize("level", ["0.8", *catalog.names("diffusions")[1:]])
def test_with_the_exact_score_every_path_weighs_the_density(level: str) -> None:
    """A handful of paths gives the log-density to the error of the steps, for every diffusion."""
    found = density(Controlled(4, 100), TABLE, process(TABLE, level), POINTS, 0)
    torch.testing.assert_close(found.log_prob, KNOWN, rtol=0, atol=2e-3)
    torch.testing.assert_close(found.bound, KNOWN, rtol=0, atol=2e-3)
    assert float(found.error.max()) < 1e-3
    assert float(found.effective.min()) > 3.999


def test_with_a_weak_score_the_weights_repair_the_density() -> None:
    """The mean weight is right within its error; the bound lies below, for the paths differ."""
    found = density(Controlled(4000, 100), TABLE, process(TABLE, "0.8", weak), POINTS, 0)
    off = (found.log_prob - KNOWN).abs()
    assert bool((off < 3 * found.error + 4e-3).all())
    assert bool((found.error < 0.05).all())
    assert bool((found.bound < KNOWN - 0.1).all())
    assert bool((found.effective < 3600).all())


def test_plain_averages_are_far_worse() -> None:
    """Feynman-Kac is right in one dimension with many paths; its bound is useless."""
    made = process(TABLE, "0.8")
    plain = density(FeynmanKac(20_000, 60), TABLE, made, POINTS, 0)
    led = density(Controlled(50, 60), TABLE, made, POINTS, 0)
    assert bool(((plain.log_prob - KNOWN).abs() < 4 * plain.error + 0.02).all())
    assert bool((plain.bound < led.bound - 5).all())
    assert bool((led.bound <= led.log_prob).all())
    assert bool((plain.bound <= plain.log_prob).all())
    assert bool((led.error < plain.error / 50).all())


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("score", [exact, weak, twisted])
def test_mixtures_both_ways(score: Score, end: int) -> None:
    """The forward model's density at t = 1, the backward model's at t = 0, whatever the control."""
    sign = 1 if end == 0 else -1
    ends = MIXTURE.target if end == 0 else MIXTURE.source
    x = ends.sample(6, seeded(3))
    found = density(Controlled(200, 60), MIXTURE, process(MIXTURE, "0.5", score, sign), x, end)
    truth = MIXTURE.log_prob(1.0 - end, x)
    assert bool(((found.log_prob - truth).abs() < 4 * found.error + 0.02).all())
    assert bool((found.bound < truth + 0.02).all())


def test_the_integrals_are_of_second_order() -> None:
    """The exact score leaves no noise to speak of, so the error of the steps shows."""
    steps = [40, 57, 80, 113]
    made = process(TABLE, "0.5")
    errors = [
        float((density(Controlled(8, k), TABLE, made, POINTS, 0).log_prob - KNOWN).norm())
        for k in steps
    ]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(2, abs=0.3)


def test_the_paths_and_the_weights_together_are_of_second_order() -> None:
    """With another score the law of the paths counts too: the bias falls as the step squared."""
    made = process(TABLE, "0.8", weak)
    few, more = (density(Controlled(40_000, steps), TABLE, made, POINTS[:1], 0) for steps in (4, 8))
    bias = float(few.log_prob - KNOWN[0])
    assert abs(bias) > 15 * float(few.error)
    assert float(more.log_prob - KNOWN[0]) == pytest.approx(bias / 4, abs=4 * float(more.error))


def gaussian_model(scale: float, level: float) -> tuple[float, float]:
    """Mean and variance at t = 1 of dX = (b + level scale s) dt + sqrt(2 level) dW, by its ODEs.

    The drift is affine: m' = f(m), C' = 2 f' C + 2 level.
    """

    def rates(t: float, state: np.ndarray) -> list[float]:
        x = torch.tensor([[state[0]], [state[0] + 1]], dtype=torch.float64)
        drift = (TABLE.velocity(t, x) + level * scale * TABLE.score(t, x)).ravel().tolist()
        return [drift[0], 2 * (drift[1] - drift[0]) * state[1] + 2 * level]

    found = solve_ivp(rates, (0, 1), [-1.0, 0.6], rtol=1e-9, atol=1e-9).y[:, -1]
    return float(found[0]), float(found[1])


def test_it_is_the_density_of_the_model_not_of_the_data() -> None:
    """Velocity and score that do not belong together make another law, and that one is found."""
    mean, variance = gaussian_model(0.7, 0.8)
    made = Process(
        lambda s, x: TABLE.velocity(float(s.ravel()[0]), x),
        lambda s, x: 0.7 * TABLE.score(float(s.ravel()[0]), x),
        lambda t: torch.full_like(t, 0.8),
    )
    found = density(Controlled(1000, 80), TABLE, made, POINTS, 0)
    truth = -0.5 * ((POINTS[:, 0] - mean) ** 2 / variance + math.log(2 * math.pi * variance))
    assert bool(((found.log_prob - truth).abs() < 4 * found.error + 0.01).all())
    assert float((truth - KNOWN).abs().max()) > 0.15


def swirl(s: Tensor, x: Tensor) -> Tensor:
    """A velocity with a curl, between no two densities in particular."""
    return torch.sin(2 * x.flip(1)) * torch.tensor([1.0, -0.7]).to(x) + s * torch.cos(x)


def pull(s: Tensor, x: Tensor) -> Tensor:
    """A guess of a score, not a gradient."""
    return -x / 1.3 + 0.3 * torch.sin(x.flip(1) + s)


def normal(y: Tensor) -> Tensor:
    return -0.5 * y.square().sum(dim=1) - y.shape[1] / 2 * math.log(2 * math.pi)


@pytest.mark.parametrize("times", [(1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("estimator", [Controlled(8, 30), FeynmanKac(8, 30)])
def test_densities_integrate_to_one(estimator: Estimator, times: tuple[float, float]) -> None:
    """For any velocity and any score: the mean weights over a grid add up to 1."""
    axis = torch.arange(-5.0, 5.001, 0.25, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    made = Process(swirl, pull, lambda t: 0.4 + 0.3 * t)
    found = log_density(estimator, lambda _: [(made, times)], normal, grid, means())
    error = float((found.log_prob.exp() * found.error).square().sum().sqrt()) * 0.25**2
    assert error < 0.04
    assert float(found.log_prob.exp().sum()) * 0.25**2 == pytest.approx(1, abs=4 * error + 5e-3)


def test_without_noise_it_is_the_density_of_the_flow() -> None:
    """epsilon = 0: one path, and the change of variables of the ODE, whatever the score."""
    made = process(TABLE, "0", weak)
    for estimator in (Ode(), Controlled(2, 100), FeynmanKac(2, 100)):
        found = density(estimator, TABLE, made, POINTS, 0)
        torch.testing.assert_close(found.log_prob, KNOWN, rtol=0, atol=1e-3)
        torch.testing.assert_close(found.bound, found.log_prob, rtol=0, atol=1e-9)
        assert float(found.error.max()) < 1e-6


def test_legs_add_up() -> None:
    """A gap in two parts, or gaps one after the other, weigh as one."""
    made = process(TABLE, "0.5")
    legs = [(made, (1.0, 0.35)), (made, (0.35, 0.0))]
    found = log_density(
        Controlled(4, 100), lambda _: legs, lambda y: TABLE.log_prob(0.0, y), POINTS, means()
    )
    torch.testing.assert_close(found.log_prob, KNOWN, rtol=0, atol=5e-3)


@pytest.mark.parametrize("tangents", [1, 60, 2**14])
def test_each_row_knows_its_point(tangents: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamics that shift each point by its own amount, in chunks of any size."""
    monkeypatch.setattr(sde_likelihood, "TANGENTS", tangents)
    shift = torch.arange(11, dtype=torch.float64)[:, None] * torch.ones(1, 2).double()
    x = torch.randn(11, 2, generator=seeded(), dtype=torch.float64)

    def legs(index: Tensor) -> list[sde_likelihood.Stretch]:
        own = shift[index]
        made = Process(
            lambda s, y: own.expand_as(y),
            lambda s, y: -(y - s * own),
            lambda t: torch.full_like(t, 0.3),
        )
        return [(made, (1.0, 0.0))]

    found = log_density(Controlled(3, 20), legs, normal, x, means())
    torch.testing.assert_close(found.log_prob, normal(x - shift), rtol=0, atol=1e-2)


@pytest.mark.parametrize("estimator", [Controlled(3, 5), FeynmanKac(3, 5)])
def test_no_points_have_no_densities(estimator: Estimator) -> None:
    leg = (Process(swirl, pull, torch.ones_like), (1.0, 0.0))
    found = log_density(estimator, lambda _: [leg], normal, torch.zeros(0, 2), means())
    assert found.log_prob.shape == found.error.shape == (0,)


def test_evaluations_are_counted() -> None:
    calls = [0]

    def counting(s: Tensor, x: Tensor) -> Tensor:
        calls[0] += 1
        return -x

    made = Process(counting, counting, torch.ones_like)
    for estimator in (Controlled(3, 7), FeynmanKac(3, 7)):
        calls[0] = 0
        found = estimator.carry(made, POINTS, (1.0, 0.0), means())
        assert found.nfe == calls[0] > 4 * 7


def test_averages_of_normal_log_weights() -> None:
    """For log w ~ N(m, s^2): log E w = m + s^2 / 2, ESS / P = exp(-s^2), errors that cover."""
    s, paths = 0.6, 400
    log_w = 1000 + s * torch.randn(paths, 3000, generator=seeded(), dtype=torch.float64)
    found = average(log_w, torch.zeros_like(log_w))
    z = (found.log_prob - 1000 - s**2 / 2) / found.error
    assert float(z.std()) == pytest.approx(1, abs=0.1)
    assert float((z.abs() < 1.96).double().mean()) == pytest.approx(0.95, abs=0.02)
    assert float(found.effective.mean()) / paths == pytest.approx(math.exp(-(s**2)), rel=0.02)
    assert float(found.bound.mean()) == pytest.approx(1000, abs=0.01)


TURN = torch.randn(6, 6, generator=seeded(1), dtype=torch.float64) / 3


def turning(s: Tensor, x: Tensor) -> Tensor:
    """b = J x."""
    return x @ TURN.T


def test_probes_bias_the_density_upward_by_as_much_as_is_said() -> None:
    """By |S|^2 / (steps probes), S = (J + J^T) / 2 off its diagonal."""
    steps, probes = 20, 2
    off = (TURN + TURN.T) / 2 - torch.diag(TURN.diagonal())
    leg = (Process(turning, None, torch.zeros_like), (1.0, 0.0))
    tools = Means(Hutchinson(probes), Adaptive("dopri5"), seeded(2))
    x = torch.zeros(1, 6, dtype=torch.float64)
    found = log_density(FeynmanKac(20_000, steps), lambda _: [leg], normal, x, tools)
    bias = float(found.log_prob - normal(x) + TURN.trace())
    assert bias == pytest.approx(float(off.square().sum()) / (steps * probes), rel=0.15)


def test_probes_that_stay_with_their_path_tell_the_error() -> None:
    """The flow of b = J x is expm(J): the errors reported are those made."""
    leg = (Process(turning, None, torch.zeros_like), (1.0, 0.0))
    x = torch.randn(300, 6, generator=seeded(4), dtype=torch.float64)
    tools = Means(Hutchinson(16), Adaptive("dopri8", 1e-7, 1e-7), seeded())
    found = log_density(Ode(), lambda _: [leg], normal, x, tools)
    truth = normal(x @ torch.linalg.matrix_exp(-TURN).T) - TURN.trace()
    z = (found.log_prob - truth) / found.error
    assert float(z.square().mean()) == pytest.approx(15 / 13, rel=0.2)


def test_a_missing_score_is_refused() -> None:
    made = Process(swirl, None, lambda t: torch.full_like(t, 0.5))
    for estimator in (Controlled(2, 3), FeynmanKac(2, 3)):
        with pytest.raises(ConfigError, match="need a score"):
            estimator.carry(made, torch.zeros(3, 2), (1.0, 0.0), means())
    found = Ode().carry(made, torch.zeros(3, 2), (1.0, 0.0), means())
    assert bool(found.change.isfinite().all())


def test_explosions_are_numerics_errors() -> None:
    made = Process(lambda s, x: -(x**5), lambda s, x: -x, torch.ones_like)
    with pytest.raises(NumericsError, match="more steps"):
        density(Controlled(2, 50), TABLE, made, 9 * POINTS, 0)


@pytest.mark.parametrize("name", ["sde", "feynman-kac"])
def test_impossible_settings_are_refused(name: str) -> None:
    for option in ("paths=1", "steps=0"):
        with pytest.raises(ConfigError, match=f"{name}:{option}: expected at least"):
            catalog.build("estimators", f"{name}:{option}")
