"""Laws of triples: built from specs, bound to a dimension, and what their fields mean."""

import pytest
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.couplings import Exact
from cfmcli.flows.objective.latent_objectives import VelocityDenoiser
from cfmcli.flows.path.curves import Spline
from cfmcli.flows.path.interpolants import Ends, Interpolant
from cfmcli.flows.training.triple import Triple, path_state, restore_path, settle_path

LEARNED = ("learned", "learned-bridge")
CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bound(name: str, seed: int = 0) -> Interpolant:
    """A path of the catalogue in two dimensions."""
    return Triple.of("exact", name, "velocity").bound(2, seeded(seed)).interpolant


def shaped(name: str, seed: int = 0) -> Interpolant:
    """The same with all that it learns moved away from where it starts."""
    path = bound(name, seed)
    with torch.no_grad():
        for p in path.parameters():
            p.normal_(generator=seeded(5))
    return path


def means(path: Interpolant) -> Tensor:
    """Where some pairs are midway."""
    x0, x1 = torch.randn(2, 9, 2, generator=seeded(1))
    with torch.no_grad():
        return path.mean(torch.full((9, 1), 0.4), Ends(x0, x1, x1 - x0, x1 - x0))


def test_specs_name_the_parts() -> None:
    found = Triple.of("exact", "spline:sigma=0.2", "velocity+denoiser:antithetic=false")
    assert found == Triple(Exact(), Spline(0.2), VelocityDenoiser(False))
    with pytest.raises(ConfigError, match="Did you mean 'linear'"):
        Triple.of("exact", "liner", "velocity")


@pytest.mark.parametrize("name", catalog.names("interpolants"))
def test_only_learned_paths_have_something_to_learn(name: str) -> None:
    """A fixed path is itself when bound; a learned one is made by the generator it is given."""
    triple = Triple.of("exact", name, "velocity")
    path = triple.bound(2, seeded()).interpolant
    assert bool(list(path.parameters())) == bool(path_state(path)) == (name in LEARNED)
    assert (path is triple.interpolant) == (name not in LEARNED)
    again, other = (path_state(bound(name, seed)) for seed in (0, 1))
    same = [torch.equal(value, again[key]) for key, value in path_state(path).items()]
    assert all(same)
    differs = [not torch.equal(value, other[key]) for key, value in path_state(path).items()]
    assert any(differs) == (name in LEARNED)


@pytest.mark.parametrize("name", catalog.names("interpolants"))
def test_a_velocity_tells_the_score_only_of_random_pairs_with_noise(name: str) -> None:
    """N(0, I), paired at random, on a path whose mean is linear."""
    for coupling in ("independent", "exact"):
        for gaussian in (True, False):
            triple = Triple.of(coupling, name, "velocity").bound(2, seeded())
            reading = triple.reading(gaussian)
            linear = triple.interpolant.linear_mean
            assert reading.has_score == (coupling == "independent" and gaussian and linear)
            assert (reading.objective, reading.interpolant) == (
                triple.objective,
                triple.interpolant,
            )


@pytest.mark.parametrize("name", ["linear", *LEARNED])
def test_what_a_path_has_learnt_is_kept(name: str) -> None:
    """Restored from its state, a fresh path is the trained one."""
    path, fresh = shaped(name), bound(name, seed=7)
    settle_path(path, torch.tensor([3.0, -2.0]), 4.0, CPU)
    assert torch.equal(means(path), means(fresh)) == (name == "linear")
    restore_path(fresh, path_state(path))
    assert torch.equal(means(path), means(fresh))


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_path_is_told_where_the_points_are(name: str) -> None:
    """In another origin and unit, told of both, the correction moves points as before."""
    path, moved = shaped(name), shaped(name)
    center, unit = torch.tensor([30.0, -7.0]), 50.0
    settle_path(moved, center, unit, CPU)
    x0, x1 = torch.randn(2, 9, 2, generator=seeded(1))
    t = torch.full((9, 1), 0.4)
    with torch.no_grad():
        plain = path.mean(t, Ends(x0, x1))
        far = moved.mean(t, Ends(unit * x0 + center, unit * x1 + center))
    shift = far / unit - plain
    torch.testing.assert_close(shift, shift[:1].expand_as(shift), rtol=0, atol=1e-4)


def test_a_fixed_path_is_not_told() -> None:
    path = bound("linear")
    settle_path(path, torch.zeros(2), 2.0, CPU)
    restore_path(path, {})
    assert path == catalog.build("interpolants", "linear")
