"""Time derivatives against closed forms."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jvp

from cfmcli.flows.path.derivative import derivative


@given(st.floats(0, 1), st.floats(-3, 3))
def test_rates_are_those_of_calculus(t: float, x: float) -> None:
    """sin(3 t) x + t^2, row by row."""
    times = torch.tensor([[t], [0.5]], dtype=torch.float64)
    ends = torch.tensor([[x, 1.0], [x, 2.0]], dtype=torch.float64)
    value, rate = derivative(lambda s: (3 * s).sin() * ends + s.square(), times)
    torch.testing.assert_close(value, (3 * times).sin() * ends + times.square())
    torch.testing.assert_close(rate, 3 * (3 * times).cos() * ends + 2 * times)


def test_what_stands_still_has_no_rate() -> None:
    """A function that does not ask for the time, and one that does only in part."""
    t = torch.rand(4, 1)
    _, rate = derivative(lambda s: torch.ones(4, 2), t)
    assert torch.equal(rate, torch.zeros(4, 2))
    _, rate = derivative(lambda s: torch.where(s < 2, torch.ones_like(s), s), t)
    assert torch.equal(rate, torch.zeros(4, 1))


def test_nothing_is_kept_where_nothing_is_learnt() -> None:
    """No graph hangs on what depends on the time alone, whether gradients are enabled or not."""
    t = torch.rand(4, 1)
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            value, rate = derivative(lambda s: s.square(), t)
        assert not value.requires_grad
        assert not rate.requires_grad
    assert not t.requires_grad


def test_gradients_go_on_to_what_is_learnt() -> None:
    """f = w t^2 has df/dt = 2 w t, whose gradient in w is 2 t."""
    t, w = torch.rand(4, 1), torch.tensor(0.7, requires_grad=True)

    def function(s: Tensor) -> Tensor:
        return w * s.square()

    value, rate = derivative(function, t)
    torch.testing.assert_close(torch.autograd.grad(rate.sum(), w)[0], 2 * t.sum())
    torch.testing.assert_close(torch.autograd.grad(value.sum(), w)[0], t.square().sum())


def test_transforms_see_through_it() -> None:
    """d/dx of d/dt (t^2 x) is 2 t, by forward mode around it."""
    t, x = torch.rand(4, 1), torch.rand(4, 1)

    def rate(y: Tensor) -> Tensor:
        return derivative(lambda s: s.square() * y, t)[1]

    _, slope, *_ = jvp(rate, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(slope, 2 * t)
