"""Laws of descent: it is AdamW on clipped gradients, whatever torch calls its kernel."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.optim.adamw import adamw

from cfmcli.flows.training import descent
from cfmcli.flows.training.descent import BETAS, CLIP, Descent

RATES = [0.1, 0.05, 0.0, 0.2]
DECAY = 0.1


def start() -> list[Tensor]:
    """Parameters of two shapes."""
    drawn = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=drawn).requires_grad_() for shape in ((5, 3), (4,))]


def lean(parameters: list[Tensor]) -> None:
    """Give them the gradient of a quartic, longer than the clip at first."""
    sum((p**4).sum() for p in parameters).backward()  # type: ignore[union-attr]


def descended() -> list[Tensor]:
    """The parameters after some steps."""
    parameters = start()
    down = Descent(parameters, DECAY)
    for rate in RATES:
        lean(parameters)
        down.step(rate)
    return [p.detach().clone() for p in parameters]


def test_it_is_adamw_on_clipped_gradients() -> None:
    """torch's plain optimiser, given the same clipped gradients, goes the same way."""
    parameters = start()
    rival = torch.optim.AdamW(parameters, betas=BETAS, weight_decay=DECAY)
    for rate in RATES:
        rival.zero_grad()
        lean(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        rival.param_groups[0]["lr"] = rate
        rival.step()
    for ours, theirs in zip(descended(), parameters, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_the_norm_told_is_that_before_clipping() -> None:
    parameters = start()
    down = Descent(parameters, DECAY)
    lean(parameters)
    norm = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).norm()
    assert down.step(0.1) == norm > CLIP
    assert not down.gradient.any()


def test_a_torch_without_the_kernel_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public function gives the same bytes."""
    first = descended()
    monkeypatch.setattr(descent, "KERNEL", partial(adamw, fused=True))
    assert all(map(torch.equal, first, descended()))
