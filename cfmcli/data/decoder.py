"""The decoder: the way back to genes from a PCA that was made elsewhere."""

from dataclasses import dataclass

import numpy as np

from cfmcli.data.arrays import Array
from cfmcli.data.maps import ProjectionMap

ORTHONORMAL = 1e-3


@dataclass(frozen=True, eq=False)
class Decoder:
    """Genes behind the features of a table: features = (genes - mean) components^T.

    Args:
        genes: the d gene names.
        map: the PCA, of d genes into as many components as there are features.
        error: root mean square of what it misses of the features, relative to theirs.
        basis: the matrix that the mean was computed from: "X" or "layer:KEY".
    """

    genes: tuple[str, ...]
    map: ProjectionMap
    error: float = 0.0
    basis: str = ""

    def __str__(self) -> str:
        return (
            f'back to {len(self.genes)} genes by varm["PCs"], with the mean of {self.basis} '
            f"(relative error {self.error:.1e})"
        )


def shifted_mean(mean: Array, loadings: Array, scores: Array) -> Array:
    """The mean of genes that loadings and scores go with, of a part of the points or all.

    Scores of all points have mean 0. Those of a part tell how far the mean of that part is from
    the mean of all: m = m_part - W mean(scores).

    Args:
        mean: of the points' genes, shape (d,).
        loadings: W, orthonormal columns, shape (d, D).
        scores: of the same points, shape (n, D).
    """
    return np.asarray(mean - loadings @ scores.mean(axis=0, dtype=np.float64))


def orthonormal(loadings: Array) -> bool:
    """Whether columns, shape (d, D), are orthonormal, so that their transpose leads back."""
    gap = loadings.T @ loadings - np.eye(loadings.shape[1])
    return bool(np.abs(gap).max() < ORTHONORMAL)
