"""Descent: AdamW on parameters flattened into one tensor, so that a step is a few operations."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

CLIP = 1.0
BETAS = (0.9, 0.999)
EPS = 1e-8


def _counted(*parts: list[Tensor], **how: Any) -> None:
    """Take one AdamW step through torch's private fused kernel."""
    parts[-1][0].add_(1)
    torch._fused_adamw_(*parts, **how)


# The public functional API costs as much again in bookkeeping on one tensor, and the public
# optimiser four times as much. If torch drops the private name, the public function is used.
KERNEL: Any = _counted if hasattr(torch, "_fused_adamw_") else partial(adamw, fused=True)


class Descent:
    """AdamW on parameters that are views of one flat tensor, as are their gradients.

    Reference: Loshchilov & Hutter (2019), arXiv 1711.05101

    Args:
        parameters: parameters to train; they keep their shapes and values.
        weight_decay: pull towards zero, in units of the learning rate.
    """

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.weights = torch.cat([p.detach().flatten() for p in self.parameters])
        self.gradient, self.mean, self.square = (torch.zeros_like(self.weights) for _ in range(3))
        self.count = torch.zeros((), device=self.weights.device)
        self._point_to(self.weights)
        for p, slope in zip(self.parameters, self.views(self.gradient), strict=True):
            p.grad = slope

    def views(self, flat: Tensor) -> Iterator[Tensor]:
        """Split a flat tensor like `weights` into one view per parameter."""
        sizes = [p.numel() for p in self.parameters]
        for p, part in zip(self.parameters, torch.split(flat, sizes), strict=True):
            yield part.view_as(p)

    def step(self, lr: float) -> Tensor:
        """Clip the gradient to norm 1, take a step and zero it; return its unclipped norm."""
        norm: Tensor = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((CLIP / (norm + EPS)).clamp(max=1.0))
        KERNEL(
            [self.weights],
            [self.gradient],
            [self.mean],
            [self.square],
            [],
            [self.count],
            lr=lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=self.weight_decay,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )
        self.gradient.zero_()
        return norm

    def settle(self, weights: Tensor) -> None:
        """Set the parameters to their final values, in memory of their own."""
        self._point_to(weights)
        for p in self.parameters:
            p.data, p.grad = p.data.clone(), None

    def state(self) -> dict[str, Tensor]:
        """All tensors that a step changes, by name."""
        moments = {"mean": self.mean, "square": self.square, "count": self.count}
        return {"weights": self.weights, **moments}

    def _point_to(self, flat: Tensor) -> None:
        """Make the parameters views of a flat tensor."""
        for p, view in zip(self.parameters, self.views(flat), strict=True):
            p.data = view
