"""Triple: the coupling, interpolant and objective of a method, built from their specs."""

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
    """The three parts of a method.

    Args:
        coupling: joint distribution of (x0, x1).
        interpolant: path between them.
        objective: what is regressed.
    """

    coupling: Coupling
    interpolant: Interpolant
    objective: Objective

    @staticmethod
    def of(coupling: str, interpolant: str, objective: str) -> "Triple":
        """Build the triple from three specs.

        Raises:
            ConfigError: for an unknown name or option.
        """
        return Triple(
            catalog.build("couplings", coupling),
            catalog.build("interpolants", interpolant),
            catalog.build("objectives", objective),
        )

    def bound(self, dim: int, generator: torch.Generator) -> "Triple":
        """The same triple with the path set up in D dimensions, learned parameters initialised."""
        return replace(self, interpolant=built(self.interpolant, dim, generator))

    def reading(self, gaussian_source: bool) -> Reading:
        """How to interpret the heads of a field trained on this triple.

        Args:
            gaussian_source: whether x0 is N(0, I).
        """
        apart = gaussian_source and isinstance(self.coupling, Independent)
        linear = self.interpolant.linear_mean
        return Reading(self.objective, self.interpolant, apart and linear)


def built(path: Interpolant, dim: int, generator: torch.Generator) -> Interpolant:
    """Set up the path of a run: initialise a learned one, return a fixed one unchanged.

    Args:
        path: the path that a spec names.
        dim: dimension D.
        generator: source of the initial weights.
    """
    if isinstance(path, Learned | LearnedBridge):
        return path.build(dim, generator)
    return path


def path_state(path: Interpolant) -> dict[str, Tensor]:
    """Learned parameters of a path by name; empty for a fixed one."""
    return dict(path.state_dict()) if isinstance(path, nn.Module) else {}


def settle_path(path: Interpolant, center: Tensor, scale: float, device: torch.device) -> None:
    """Set the location, scale and device of a learned path; no effect on a fixed one.

    Args:
        path: the path.
        center: mean of the points, shape (D,).
        scale: root mean square of their deviations per dimension, above 0.
        device: device of training.
    """
    if isinstance(path, LearnedPath):
        path.settle(center, scale)
        path.to(device)


def restore_path(path: Interpolant, state: Mapping[str, Tensor]) -> None:
    """Load the parameters returned by `path_state` into a path."""
    if isinstance(path, nn.Module):
        path.load_state_dict(state)
