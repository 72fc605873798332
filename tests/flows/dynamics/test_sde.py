"""Laws of stochastic dynamics: marginals, weak order, the limit of no noise, and refusals."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.dynamics import sde
from cfmcli.flows.dynamics.choice import deterministic, stochastic
from cfmcli.flows.dynamics.diffusions import diffusion
from cfmcli.flows.dynamics.sde import Process, StochasticHeun, StochasticSolver, denoise
from cfmcli.flows.dynamics.solvers import FixedStep, State
from tests import oracles
from tests.oracles import Mixture, Oracle

ORDER = {"euler-maruyama": 1, "stochastic-heun": 2}
STAGES = {"euler-maruyama": 1, "stochastic-heun": 2}
TWIN = {"euler-maruyama": "euler", "stochastic-heun": "heun2"}
GAUSSIAN = Oracle(oracles.TILTED, oracles.NARROW, oracles.brownian(1.0))
MIXTURE = Oracle(oracles.TWO, oracles.THREE, oracles.brownian(1.0))
SMOOTH = Oracle(oracles.TILTED, oracles.NARROW, oracles.trigonometric(0.4))
DIFFUSIONS = ["constant:level=1.5", "0.2", *catalog.names("diffusions")[1:]]
each_solver = pytest.mark.parametrize("name", ORDER)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def process(oracle: Oracle, level: str, margin: float = 0.0) -> Process:
    """The closed-form process of an oracle."""

    def score(s: Tensor, x: Tensor) -> Tensor:
        return oracle.score(float(s.ravel()[0]), x)

    def variance(t: Tensor) -> Tensor:
        return torch.full_like(t, oracle.path(float(t)).v)

    return Process(oracle.field, score, diffusion(level).along(variance), margin)


def built(name: str, steps: int) -> StochasticSolver:
    return stochastic(f"{name}:steps={steps}")


def law(oracle: Oracle, t: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of rho_t, its components taken together."""
    mean, cov, *_ = oracle.moments(t)
    shares = torch.outer(oracle.source.weights, oracle.target.weights).ravel()
    whole = (shares[:, None] * mean).sum(dim=0)
    gap = mean - whole
    return whole, torch.einsum("k,kij->ij", shares, cov + gap[:, :, None] * gap[:, None])


def surprise(x: Tensor, oracle: Oracle, t: float) -> float:
    """How many standard errors the moments of x are off those of rho_t, at most."""
    mean, cov = law(oracle, t)
    gap = x - mean
    products = gap[:, :, None] * gap[:, None]
    first = (gap.mean(dim=0) / gap.std(dim=0)).abs().max()
    second = ((products.mean(dim=0) - cov) / products.std(dim=0)).abs().max()
    return float(torch.maximum(first, second)) * math.sqrt(len(x))


@pytest.mark.parametrize("level", DIFFUSIONS)
def test_every_diffusion_keeps_the_marginals(level: str) -> None:
    """Forward from rho_0 and backward from rho_1, on the way and at the end."""
    solver = StochasticHeun(30)
    for times in ([0.0, 0.4, 1.0], [1.0, 0.4, 0.0]):
        start = GAUSSIAN.source if times[0] == 0 else GAUSSIAN.target
        x = start.sample(20_000, seeded(1))
        states, _ = solver.solve(process(GAUSSIAN, level), x, times, seeded(2))
        for t, found in zip(times, states, strict=True):
            assert surprise(found, GAUSSIAN, t) < 4.2


def test_noise_mixes_the_paths() -> None:
    """Same marginals, other paths: with the noise, the ends forget the starts."""
    x = GAUSSIAN.source.sample(4000, seeded(1))
    seen = []
    for level in ("0", "0.5", "4"):
        (_, end), _ = StochasticHeun(80).solve(process(GAUSSIAN, level), x, [0.0, 1.0], seeded(2))
        seen.append(abs(float(torch.corrcoef(torch.stack((x[:, 0], end[:, 0])))[0, 1])))
    assert seen[0] > seen[1] + 0.1 > seen[2] + 0.2
    assert seen[2] < 0.1


def test_forward_then_backward_returns_to_the_start() -> None:
    """A mixture goes to another mixture and comes back, in law."""
    start = MIXTURE.source.sample(4000, seeded(3))
    made = process(MIXTURE, "0.6")
    (_, there), _ = StochasticHeun(40).solve(made, start, [0.0, 1.0], seeded(4))
    (_, back), _ = StochasticHeun(40).solve(made, there, [1.0, 0.0], seeded(5))
    assert surprise(there, MIXTURE, 1.0) < 4.2
    assert surprise(back, MIXTURE, 0.0) < 4.2
    assert float((back - start).square().mean()) > 0.5


def exact_noise(x: Tensor, variance: float, generator: torch.Generator) -> Tensor:
    """Noise whose sample moments are exact, and which the sample of x does not correlate with."""
    n, dim = x.shape
    basis = torch.cat((torch.ones(n, 1, dtype=x.dtype), x), dim=1)
    raw = torch.randn(n, dim, generator=generator, dtype=x.dtype)
    raw = raw - basis @ torch.linalg.lstsq(basis, raw).solution
    factor = torch.linalg.cholesky(raw.T @ raw / n)
    white: Tensor = torch.linalg.solve_triangular(factor, raw.T, upper=False).T
    return math.sqrt(variance) * white


def exact_sample(law_of: Mixture) -> Tensor:
    """64 particles with the exact moments of a Gaussian."""
    factor: Tensor = torch.linalg.cholesky(law_of.covariances[0])
    return law_of.means[0] + oracles.matched(64, 2, seeded()) @ factor.T


def moment_error(solver: StochasticSolver, level: str, times: list[float]) -> float:
    """How far particles end from the moments of rho, when only the steps err."""
    mean, cov = law(SMOOTH, times[0])
    start = exact_sample(Mixture(torch.ones(1), mean[None], cov[None]))
    (_, found), _ = solver.solve(process(SMOOTH, level), start, times, seeded(1))
    mean, cov = law(SMOOTH, times[1])
    return float((found.mean(0) - mean).norm() + (torch.cov(found.T, correction=0) - cov).norm())


@each_solver
@pytest.mark.parametrize("level", ["0.4", "bridge:level=0.8", "decreasing:level=0.8"])
@pytest.mark.parametrize("times", [[0.0, 1.0], [1.0, 0.0]])
def test_observed_weak_order_is_the_textbook_order(
    name: str, level: str, times: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slope of log error on log step, with an affine drift: moments obey the scheme exactly."""
    monkeypatch.setattr(sde, "_noise", exact_noise)
    steps = [48, 68, 96, 136]
    errors = [moment_error(built(name, k), level, times) for k in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(ORDER[name], abs=0.3)


@each_solver
@pytest.mark.parametrize("times", [[0.0, 0.31, 1.0], [0.9, 0.2]])
def test_without_noise_it_is_the_deterministic_scheme(name: str, times: list[float]) -> None:
    """epsilon = 0: the steps and the cost of the ODE's method; no score, nothing drawn."""

    def derivative(s: Tensor, state: State) -> State:
        return (MIXTURE.velocity(float(s), state[0]),)

    x = MIXTURE.source.sample(20, seeded())
    made = Process(MIXTURE.field, None, diffusion("0").along(torch.zeros_like))
    generator = seeded(7)
    found, nfe = built(name, 13).solve(made, x, times, generator)
    wanted, calls = FixedStep(TWIN[name], 13).solve(derivative, (x,), times)
    for state, (twin,) in zip(found, wanted, strict=True):
        torch.testing.assert_close(state, twin, rtol=1e-12, atol=1e-12)
    assert nfe == calls
    assert torch.equal(generator.get_state(), seeded(7).get_state())


@each_solver
def test_noise_has_the_variance_of_the_diffusion(name: str) -> None:
    """With b = s = 0, Var X_t = 2 int epsilon, at every precision."""
    made = Process(lambda s, x: 0 * x, lambda s, x: 0 * x, lambda t: 3 * t**2)
    for dtype in (torch.float32, torch.float64):
        x = torch.zeros(40_000, 1, dtype=dtype)
        states, _ = built(name, 400).solve(made, x, [0.0, 0.5, 1.0], seeded())
        assert states[-1].dtype == dtype
        for t, state in zip((0.5, 1.0), states[1:], strict=True):
            assert float(state.var()) == pytest.approx(2 * t**3, rel=0.04)


@each_solver
def test_the_same_generator_repeats_the_paths(name: str) -> None:
    x = GAUSSIAN.source.sample(5, seeded())
    made = process(GAUSSIAN, "0.5")
    one, two, other = (
        built(name, 9).solve(made, x, [0.0, 1.0], seeded(k))[0][-1] for k in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@each_solver
def test_the_score_keeps_its_margin_and_calls_are_counted(name: str) -> None:
    """Velocity up to the ends, the score no closer than the margin."""
    seen: dict[str, list[float]] = {"velocity": [], "score": []}

    def watched(key: str) -> Callable[[Tensor, Tensor], Tensor]:
        def field(s: Tensor, x: Tensor) -> Tensor:
            assert s.shape == (3, 1)
            seen[key].append(float(s[0]))
            return -x

        return field

    made = Process(watched("velocity"), watched("score"), torch.ones_like, margin=0.02)
    x = torch.ones(3, 2, dtype=torch.float64)
    _, nfe = built(name, 10).solve(made, x, [1.0, 0.35, 0.0], seeded())
    assert nfe == len(seen["velocity"]) + len(seen["score"]) == 2 * STAGES[name] * (7 + 4)
    assert max(seen["velocity"]) == 1.0
    assert max(seen["score"]) == pytest.approx(0.98)
    assert min(seen["score"]) >= 0.02


def test_noise_without_a_score_is_refused() -> None:
    made = Process(lambda s, x: x, None, torch.ones_like)
    with pytest.raises(ConfigError, match="need a score"):
        StochasticHeun(3).solve(made, torch.ones(2, 1), [0.0, 1.0], seeded())


@each_solver
def test_explosions_are_numerics_errors(name: str) -> None:
    made = Process(lambda s, x: x**5, lambda s, x: -x, torch.ones_like)
    with pytest.raises(NumericsError, match="more steps"):
        built(name, 50).solve(made, torch.full((2, 1), 9.0), [0.0, 1.0], seeded())


def test_the_solver_that_chooses_steps_is_of_neither_kind() -> None:
    """It carries points, with steps of its own; each kind names the solvers that fit."""
    for kind in (stochastic, deterministic):
        with pytest.raises(ConfigError, match="use one of") as caught:
            kind("auto")
        assert "auto" not in str(caught.value).partition("use one of ")[2]


@pytest.mark.parametrize("name", [name for name in catalog.names("solvers") if name != "auto"])
def test_each_solver_fits_one_kind_of_dynamics(name: str) -> None:
    """The kind that it does not fit refuses it, and names the ones that fit, which then do."""
    right, wrong = (stochastic, deterministic) if name in ORDER else (deterministic, stochastic)
    assert right(name) == catalog.build("solvers", name) == right(right(name))
    for given in (name, catalog.build("solvers", name)):
        with pytest.raises(ConfigError, match="use one of") as caught:
            wrong(given)
        listed = str(caught.value).partition("use one of ")[2].split(", ")
        fitting = [item for item in listed if item in catalog.names("solvers")]
        assert name not in fitting
        assert fitting
        assert all(wrong(item) for item in fitting)


@pytest.mark.parametrize("name", ORDER)
def test_no_steps_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}:steps=0: expected at least 1"):
        catalog.build("solvers", f"{name}:steps=0")


ONESIDED = Oracle(oracles.STANDARD, oracles.THREE, oracles.onesided_trigonometric(0.0))


def alpha_beta(t: float) -> tuple[float, float]:
    c = ONESIDED.path(t)
    return math.sqrt(c.v), c.b


def eta(t: float, x: Tensor) -> Tensor:
    """The denoiser, from the score: eta = -alpha s."""
    return -alpha_beta(t)[0] * ONESIDED.score(t, x)


def test_denoising_is_exact_for_a_constant_latent() -> None:
    """alpha z + beta x1 goes to alpha' z + beta' x1."""
    z, x1 = torch.randn(2, 7, 3, generator=seeded(), dtype=torch.float64)
    found = denoise(0.6 * z + 0.3 * x1, z, (0.6, 0.3), (0.1, 0.9))
    torch.testing.assert_close(found, 0.1 * z + 0.9 * x1)


def test_denoising_is_the_flow_as_the_step_goes_to_zero() -> None:
    """x' - x - h b falls as h^2."""
    x = ONESIDED.target.sample(50, seeded())
    wrong = []
    for h in (0.02, 0.01, 0.005):
        found = denoise(x, eta(0.6, x), alpha_beta(0.6), alpha_beta(0.6 + h))
        wrong.append(float((found - x - h * ONESIDED.velocity(0.6, x)).norm()))
    assert wrong[0] < 0.02 * float(x.norm())
    assert wrong[1] < wrong[0] / 3.5
    assert wrong[2] < wrong[1] / 3.5


def test_denoising_ends_stochastic_paths_on_the_target() -> None:
    """Noise to mixture with epsilon = gamma, stopped early and denoised: the target's moments."""
    x = ONESIDED.source.sample(4000, seeded(1))
    made = process(ONESIDED, "gamma:level=0.7")
    (_, late), _ = StochasticHeun(60).solve(made, x, [0.0, 0.99], seeded(2))
    found = denoise(late, eta(0.99, late), alpha_beta(0.99), alpha_beta(1.0))
    assert surprise(found, ONESIDED, 1.0) < 4.2
