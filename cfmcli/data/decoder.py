"""Decoder: map back to genes from a PCA that was computed elsewhere."""

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
        map: the PCA, from d genes to as many components as there are features.
        error: root mean square error in the features, relative to their root mean square.
        basis: matrix used to compute the mean: "X" or "layer:KEY".
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
    """Mean of the genes that matches loadings and scores, from all points or a subset.

    Scores of all points have mean 0. Those of a subset determine how far the subset's mean is from
    the overall mean: m = m_part - W mean(scores).

    Args:
        mean: mean of the points' genes, shape (d,).
        loadings: W, orthonormal columns, shape (d, D).
        scores: scores of the same points, shape (n, D).
    """
    return np.asarray(mean - loadings @ scores.mean(axis=0, dtype=np.float64))


def orthonormal(loadings: Array) -> bool:
    """Whether columns, shape (d, D), are orthonormal, so that their transpose inverts them."""
    gap = loadings.T @ loadings - np.eye(loadings.shape[1])
    return bool(np.abs(gap).max() < ORTHONORMAL)
