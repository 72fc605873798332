"""Derivative: time derivatives of functions of t by automatic differentiation."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp


def derivative(function: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate a function of time and its time derivative, df/dt = d/du (d/dt (u . f(t))).

    Two backward passes: the first is linear in u, and the second takes its slope. Forward
    mode needs one pass, but loads torch's compiler, which takes as long as torch itself.

    Args:
        function: f, row by row: (B, 1) -> (B, K).
        t: path time, shape (B, 1).

    Returns:
        f(t) and df/dt, shape (B, K) each. Gradients of the rate reach the parameters of f, not t.
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
    """Gradient of a scalar, 0 if it does not depend on the variable."""
    if not total.requires_grad:
        return torch.zeros_like(at)
    (found,) = torch.autograd.grad(
        total, at, create_graph=onward, allow_unused=True, materialize_grads=True
    )
    return found
