"""Couplings: the plans of a fit as files, one per gap, in the format of CellRank and WOT."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cfmcli import io
from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import ConfigError
from cfmcli.workflows.run import COUPLINGS
from cfmcli.workflows.sides import PlanNote

if TYPE_CHECKING:
    from scipy import sparse

NEGLIGIBLE = 1e-10
"""Fraction of a row's mass below which a pair is omitted."""
MEANING = {
    "row_sums": "source mass: a row adds up to the mass that leaves the cell; 1 over all cells",
    "weight": "weight of the cell in its snapshot; 1 over all cells",
    "g0": "number of cells x weight, in obs where mass is not conserved",
    "g1": "number of cells x mass that leaves the cell, in obs where mass is not conserved",
}


def writers(snapshots: Snapshots, notes: Sequence[PlanNote]) -> dict[str, Callable[[Path], None]]:
    """Build writers of the coupling of each gap: name in the run -> function of a path.

    Args:
        snapshots: the coupled clouds.
        notes: notes on the plans, one per gap.

    Raises:
        ConfigError: if a gap has no plan over whole clouds.
    """
    if snapshots.gaussian_source:
        raise ConfigError(
            "--write-couplings: a Gaussian source has no points to couple. Give snapshots."
        )
    found = {}
    for (source, target), note in zip(pairwise(snapshots.kept), notes, strict=True):
        if not note.pieces:
            raise ConfigError(
                f"--write-couplings: {' -> '.join(note.segment)} has no plan over whole clouds "
                f"(scope {note.scope}): use --scope dataset, --coupling exact or blocks, and no "
                "--from-run."
            )
        name = f"{COUPLINGS}/tmaps_{float(source.time)}_{float(target.time)}.h5ad"
        found[name] = _writer(name, source, target, note)
    return found


def matrix(note: PlanNote, shape: tuple[int, int]) -> "sparse.csr_matrix":
    """Plan of a gap over whole clouds without negligible pairs, shape (n0, n1)."""
    from scipy import sparse

    whole = sparse.csr_matrix(shape, dtype=np.float64)
    for piece in note.pieces:
        i, j, mass = piece.plan.arrays()
        i, j = piece.rows[i], piece.columns[j]
        leaves = np.bincount(i, mass, shape[0])
        kept = mass > NEGLIGIBLE * leaves[i]
        whole += sparse.csr_matrix((piece.share * mass[kept], (i[kept], j[kept])), shape)
    return whole


def _writer(name: str, source: Cloud, target: Cloud, note: PlanNote) -> Callable[[Path], None]:
    """Build the writer of the coupling of a gap."""
    import pandas as pd

    plan = matrix(note, (len(source), len(target)))
    leaving = np.asarray(plan.sum(axis=1)).reshape(-1)
    columns = {"weight": source.weights} | _growth(source.weights, leaving)
    said = {"from": source.time, "to": target.time, "coupling": note.coupling}
    obs = pd.DataFrame(columns, index=source.obs.index)
    annotation = io.Annotation(
        var={"weight": target.weights}, uns={"cfm": {**said, "meaning": MEANING}}
    )
    return io.anndata_writer(name, plan, obs, list(target.obs.index), annotation)


def _growth(weights: Array, leaving: Array) -> dict[str, Array]:
    """Growth columns, if a plan does not preserve the weights."""
    if np.allclose(weights, leaving, rtol=1e-4, atol=0):
        return {}
    return {"g0": len(weights) * weights, "g1": len(weights) * leaving}
