"""Shared by the tests of dynamics: heads that are formulas."""

import torch
from torch import Tensor, nn

from cfmcli.flows.dynamics.likelihood import Exact, traces
from cfmcli.flows.view import View


class FormulaHead(nn.Module):
    """A head without layers, whose derivative is traced by plain forward-mode passes."""

    def __init__(self) -> None:
        super().__init__()
        self.view = View(1, 1)

    def traced(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The output and, as one more column, the trace of its derivative in x."""
        unit = Exact().directions(x, torch.Generator())
        value, terms = traces(lambda y: self(s, y, c), x, unit)
        return torch.cat([value, terms.sum(dim=1, keepdim=True)], dim=1)
