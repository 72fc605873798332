"""Scope: whether a coupling is solved over whole clouds or within minibatches."""

from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.bijection import BinaryPartition
from cfmcli.flows.coupling.couplings import Coupling
from cfmcli.flows.dynamics.displacement import MOST_BYTES
from cfmcli.recipe import Recipe
from cfmcli.workflows import runtime


def whole_cloud(recipe: Recipe, coupling: Coupling, n0: int, n1: int) -> Coupling | None:
    """Choose the coupling for whole clouds of these sizes; None to couple minibatches."""
    if recipe.scope == "minibatch" or (recipe.scope == "auto" and recipe.ot_batch):
        return None
    affordable = coupling.whole(n0, n1)
    if isinstance(coupling, BinaryPartition) and affordable != coupling:
        runtime.warn(
            f"bsp pairs clouds of one size, got {n0} and {n1} points: blocks couples them instead."
        )
    if recipe.scope == "auto" or affordable == coupling:
        return affordable
    if n0 * n1 * 8 > MOST_BYTES:
        raise ConfigError(
            f"--scope dataset: a plan of {n0} x {n1} points needs {n0 * n1 * 8e-9:.0f} GB or more: "
            "use --coupling blocks, or --scope minibatch --ot-batch 1024."
        )
    return coupling
