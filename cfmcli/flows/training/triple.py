"""Triple: a method's three parts, built from their specs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cfmcli import catalog
from cfmcli.flows.coupling.couplings import Coupling, Independent
from cfmcli.flows.objective.objectives import Objective
from cfmcli.flows.objective.reading import Reading
from cfmcli.flows.path.interpolants import Interpolant
from cfmcli.flows.path.learned import Learned, LearnedBridge, LearnedPath


@dataclass(frozen=True)
class Triple:
    """A method's parts.

    Args:
        coupling: joint law of (x0, x1).
        interpolant: path between them.
        objective: what is regressed.
    """

    coupling: Coupling
    interpolant: Interpolant
    objective: Objective

    @staticmethod
    def of(coupling: str, interpolant: str, objective: str) -> "Triple":
        """The triple that three specs name.

        Raises:
            ConfigError: for an unknown name or option.
        """
        return Triple(
            catalog.build("couplings", coupling),
            catalog.build("interpolants", interpolant),
            catalog.build("objectives", objective),
        )

    def bound(self, dim: int, generator: torch.Generator) -> "Triple":
        """The same with a path in D dimensions, whose own parameters, if any, are drawn anew."""
        return replace(self, interpolant=built(self.interpolant, dim, generator))

    def reading(self, gaussian_source: bool) -> Reading:
        """What a field trained on this triple means.

        Args:
            gaussian_source: whether x0 is N(0, I).
        """
        apart = gaussian_source and isinstance(self.coupling, Independent)
        linear = self.interpolant.linear_mean
        return Reading(self.objective, self.interpolant, apart and linear)


def built(path: Interpolant, dim: int, generator: torch.Generator) -> Interpolant:
    """The path of a run: a learned one with fresh parameters, a fixed one itself.

    Args:
        path: what a spec names.
        dim: dimension D.
        generator: source of the initial weights.
    """
    if isinstance(path, Learned | LearnedBridge):
        return path.build(dim, generator)
    return path


def path_state(path: Interpolant) -> dict[str, Tensor]:
    """What a path has learnt, by name; empty for a fixed one."""
    return dict(path.state_dict()) if isinstance(path, nn.Module) else {}


def settle_path(path: Interpolant, center: Tensor, scale: float, device: torch.device) -> None:
    """Say to a path that learns where the points are, and on which device.

    Args:
        path: the path.
        center: mean of the points, shape (D,).
        scale: root mean square of their deviations per dimension, above 0.
        device: where it is trained.
    """
    if isinstance(path, LearnedPath):
        path.settle(center, scale)
        path.to(device)


def restore_path(path: Interpolant, state: Mapping[str, Tensor]) -> None:
    """Give a path what `path_state` gave."""
    if isinstance(path, nn.Module):
        path.load_state_dict(state)
