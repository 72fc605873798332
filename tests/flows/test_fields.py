"""Laws of fields: shapes, seeds, smoothness and the inner clock."""

import pytest
import torch
from torch import Tensor, nn

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.flows.fields import MLP, Field, Shape

SMOOTH = ("silu", "gelu", "tanh", "softplus")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(spec: str = "mlp", dim: int = 3, segments: int = 1, seed: int = 0) -> Field:
    """A field with two heads."""
    field: Field = catalog.build("fields", spec).build(
        ("velocity", "score"), Shape(dim, segments), seeded(seed)
    )
    return field


def inputs(n: int = 6, dim: int = 3) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 1, generator=seeded(1)), torch.randn(n, dim, generator=seeded(2))


@pytest.mark.parametrize("name", catalog.names("fields"))
def test_rows_are_independent(name: str) -> None:
    """A point's outputs depend on its own time and place, not on the batch."""
    field, (s, x) = built(name), inputs()
    together = field(s, x)
    assert list(together) == ["velocity", "score"]
    for head, value in together.items():
        assert value.shape == x.shape
        alone = torch.cat([field(s[k : k + 1], x[k : k + 1])[head] for k in range(len(x))])
        torch.testing.assert_close(value, alone)


@pytest.mark.parametrize("name", catalog.names("fields"))
def test_weights_come_from_the_generator_alone(name: str) -> None:
    s, x = inputs()
    torch.manual_seed(5)
    first = built(name)(s, x)["velocity"]
    torch.manual_seed(6)
    untouched = torch.get_rng_state()
    assert torch.equal(first, built(name)(s, x)["velocity"])
    assert torch.equal(untouched, torch.get_rng_state())
    assert not torch.equal(first, built(name, seed=1)(s, x)["velocity"])
    assert not torch.equal(first, built(name)(s, x)["score"])


def test_initial_weights_have_the_stated_variance() -> None:
    """Uniform with variance 1 / (3 fan in), so that a layer keeps its inputs' scale in bounds."""
    field = MLP(width=400, depth=2).build(("velocity",), Shape(20), seeded())
    linear = [m for m in field.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(21, 400), (400, 400), (400, 20)]
    for layer in linear:
        weight = layer.weight.detach()
        assert float(weight.var()) * 3 * layer.in_features == pytest.approx(1, rel=0.05)
        assert float(weight.abs().max()) <= layer.in_features**-0.5


def test_inner_clock_is_scaled_by_the_number_of_segments() -> None:
    """The same weights at s of K segments and at s / K of one segment give the same output."""
    s, x = inputs()
    one, three = built(), built(segments=3)
    torch.testing.assert_close(one(s, x)["velocity"], three(3 * s, x)["velocity"])


@pytest.mark.parametrize("activation", SMOOTH)
def test_fields_are_smooth(activation: str) -> None:
    """The derivative is continuous: its change over a small step is of the size of the step."""
    head = built(f"mlp:activation={activation},width=32", dim=1).double().heads["velocity"]
    x = torch.linspace(-4, 4, 8001, dtype=torch.float64)[:, None].requires_grad_()
    (slope,) = torch.autograd.grad(head(torch.full_like(x, 0.3), x).sum(), x)
    assert float(slope.diff(dim=0).abs().max()) < 5e-3 * float(slope.abs().max())


@pytest.mark.parametrize("spec", ["mlp:width=0", "mlp:depth=0", "mlp:activation=relu"])
def test_impossible_networks_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="mlp"):
        catalog.build("fields", spec)


def test_a_misspelt_activation_is_guessed() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'gelu'"):
        MLP(activation="gleu")


def test_a_head_of_one_number_has_no_trace() -> None:
    """Growth is no vector: beside it, the trace of the velocity is that of its Jacobian."""
    field = MLP(width=16, depth=2).build(("velocity", "growth"), Shape(3), seeded())
    s, x = inputs()
    found = field.traced(s, x)
    assert list(found) == ["velocity"]
    torch.testing.assert_close(found["velocity"][:, :3], field(s, x)["velocity"])
    slopes = torch.func.jacrev(lambda y: field(s, y)["velocity"].sum(dim=0))(x)
    torch.testing.assert_close(found["velocity"][:, 3], torch.einsum("dnd->n", slopes))
