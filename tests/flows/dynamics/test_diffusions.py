"""Laws of diffusions: never negative, proportional to their level, and tame where they promise."""

import math

import pytest
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.diffusions import Diffusion, diffusion
from tests import oracles
from tests.oracles import Oracle

NAMES = catalog.names("diffusions")
TIMES = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None]
each_name = pytest.mark.parametrize("name", NAMES)


def bridge(t: Tensor) -> Tensor:
    """gamma^2 of a Brownian bridge, below 0 by a rounding at t = 1."""
    return t * (1 - t) - 1e-18


@each_name
def test_epsilon_is_a_level_at_each_time(name: str) -> None:
    """Finite, at least 0, above 0 inside the gap, shaped as t, and proportional to the level."""
    one, three = (diffusion(f"{name}:level={level}").along(bridge)(TIMES) for level in (1, 3))
    assert one.shape == TIMES.shape
    assert bool(one.isfinite().all())
    assert bool((one >= 0).all())
    assert bool((one[1:-1] > 0).all())
    torch.testing.assert_close(three, 3 * one)


@pytest.mark.parametrize("name", ["constant", "bridge", "decreasing"])
def test_level_is_the_peak(name: str) -> None:
    found: Diffusion = catalog.build("diffusions", f"{name}:level=0.7")
    assert float(found.along(bridge)(TIMES).max()) == pytest.approx(0.7)


@pytest.mark.parametrize("name", ["bridge", "decreasing", "gamma"])
def test_noise_ends_where_the_gap_ends(name: str) -> None:
    assert float(diffusion(name).along(bridge)(TIMES[-1:])) == 0


@pytest.mark.parametrize("path", [oracles.onesided(1e-9), oracles.brownian(1.0)])
def test_gamma_bounds_the_push_of_any_score(path: oracles.Path) -> None:
    """On points of a path that ends on a point, epsilon s stays bounded as gamma goes to 0."""
    point = oracles.gaussian([0.3], [[1e-18]])
    oracle = Oracle(oracles.gaussian([0.0], [[1e-18]]), point, path)
    late = [0.9, 0.99, 0.999, 0.9999]
    push: dict[str, list[float]] = {"gamma": [], "constant": []}
    for t in late:
        c = path(t)
        gamma = math.sqrt(c.v)
        x = torch.full((1, 1), 0.3 * c.b + 2 * gamma, dtype=torch.float64)
        for name, seen in push.items():
            epsilon = diffusion(f"{name}:level=1").along(
                lambda s: torch.full_like(s, path(float(s)).v)
            )
            seen.append(abs(float(epsilon(torch.full_like(x, t)) * oracle.score(t, x))))
    assert max(push["gamma"]) < 2.01
    assert push["constant"][-1] > 100


@pytest.mark.parametrize(("text", "level"), [("0.5", 0.5), ("0", 0.0), ("2e-3", 0.002)])
def test_a_bare_number_is_a_constant(text: str, level: float) -> None:
    assert diffusion(text) == catalog.build("diffusions", f"constant:level={level}")


def test_a_spec_is_itself() -> None:
    assert diffusion("bridge:level=2") == catalog.build("diffusions", "bridge:level=2")


@pytest.mark.parametrize(
    "text", ["-1", "nan", "inf", "bridge:level=-0.1", "gamma:level=inf", "decreasing:level=nan"]
)
def test_impossible_levels_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"level=.*expected a finite number, at least 0"):
        diffusion(text)


def test_unknown_diffusions_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'decreasing'"):
        diffusion("decreasin")
