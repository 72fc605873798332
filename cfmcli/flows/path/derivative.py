"""Derivative: how fast a path, its latent or its mass changes with time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp


def derivative(function: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """A function of time and its time derivative, df/dt = d/du (d/dt (u . f(t))).

    Two passes backward: the first is linear in u, and the second takes its slope. Forward mode
    finds the same in one, but loads torch's compiler, which takes as long as torch itself.

    Args:
        function: f, row by row: (B, 1) -> (B, K).
        t: path time, shape (B, 1).

    Returns:
        f(t) and df/dt, shape (B, K) each; gradients go on to what f learns, but not to the times.
    """
    try:
        s = t.detach().requires_grad_()
    except RuntimeError:  # inside a transform of torch.func, which has loaded the compiler
        value, rate, *_ = jvp(function, (t,), (torch.ones_like(t),))
        return value, rate
    value = function(t)
    with torch.enable_grad():
        again = function(s)
        direction = torch.zeros_like(again, requires_grad=True)
        along = _slope((direction * again).sum(), s, onward=True)
        rate = _slope(along.sum(), direction, onward=value.requires_grad)
    return value, rate


def _slope(total: Tensor, at: Tensor, *, onward: bool) -> Tensor:
    """The gradient of a number, 0 where it does not depend on the place."""
    if not total.requires_grad:
        return torch.zeros_like(at)
    (found,) = torch.autograd.grad(
        total, at, create_graph=onward, allow_unused=True, materialize_grads=True
    )
    return found
