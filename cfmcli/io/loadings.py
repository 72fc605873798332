"""Loadings of a PCA in an AnnData: checked, and used to map X_pca back to genes."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.decoder import Decoder, orthonormal, shifted_mean
from cfmcli.data.maps import ProjectionMap, moments
from cfmcli.errors import CfmWarning

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

REP, LOADINGS = "X_pca", "PCs"
FITS = 1e-3
ROWS = 4096

Blocks = Callable[[], Iterator["Matrix"]]


def decoder(
    scores: Array,
    columns: list[int],
    loadings: Any,
    genes: tuple[str, ...],
    matrices: Mapping[str, Blocks],
    origin: str,
) -> Decoder | None:
    """Build the decoder of a PCA; None, with a warning, if its loadings do not give its scores.

    Args:
        scores: X_pca as read, shape (n, D).
        columns: indices of these components.
        loadings: varm["PCs"], shape (genes, components).
        genes: gene names.
        matrices: candidate inputs of the PCA, by name: their rows, block by block.
        origin: origin of the data, for messages.
    """
    every = np.asarray(loadings, dtype=np.float64)
    if every.ndim != 2 or every.shape[1] <= max(columns):
        _warn(origin, f"has shape {every.shape}, too few for the components of obsm[{REP!r}]")
        return None
    kept = every[:, columns]
    if not orthonormal(kept):
        _warn(origin, "has columns that are not orthonormal")
        return None
    found = [_fitted(scores, kept, genes, name, rows) for name, rows in matrices.items()]
    best = min(found, key=lambda one: one.error, default=None)
    if best is None or not best.error < FITS:
        tried = ", ".join(f"{one.basis}: {one.error:.1e}" for one in found) or "nothing to try"
        _warn(origin, f"does not give obsm[{REP!r}] from X or a layer (relative error {tried})")
        return None
    return best


def blocks(matrix: Any, count: int) -> Iterator["Matrix"]:
    """Yield a matrix, in memory or on disk, in blocks of rows."""
    for start in range(0, count, ROWS):
        yield matrix[start : start + ROWS]


def _fitted(
    scores: Array, loadings: Array, genes: tuple[str, ...], basis: str, rows: Blocks
) -> Decoder:
    """Build the decoder for the mean of a matrix, with its error in the scores."""
    total, count = np.zeros(len(loadings)), 0
    for block in rows():
        total += moments(block)[0] * block.shape[0]
        count += block.shape[0]
    mean = shifted_mean(total / max(count, 1), loadings, scores)
    missed, at = 0.0, 0
    for block in rows():
        there = np.asarray(block @ loadings) - mean @ loadings
        missed += float(((there - scores[at : at + len(there)]) ** 2).sum())
        at += len(there)
    size = float((np.asarray(scores, dtype=np.float64) ** 2).sum())
    error = np.sqrt(missed / size) if size else np.inf
    variance = scores.var(axis=0, ddof=1, dtype=np.float64)
    share = variance / max(variance.sum(), 1e-300)
    back = ProjectionMap(mean[None], np.ascontiguousarray(loadings.T), variance, share)
    return Decoder(genes, back, float(error), basis)


def _warn(origin: str, what: str) -> None:
    """Warn that results stay in the representation, with the reason."""
    warnings.warn(
        f'{origin}: varm["{LOADINGS}"] {what}: results stay in {REP}, without genes.',
        CfmWarning,
        stacklevel=2,
    )
