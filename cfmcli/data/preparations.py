"""Preparations: named chains of transforms for raw counts."""

from dataclasses import dataclass

from cfmcli.catalog import build
from cfmcli.layers import written
from cfmcli.specs import parse_chain


@dataclass(frozen=True)
class Scanpy:
    """scanpy's usual preparation of raw counts: normalize, log1p, hvg, pca.

    Use: raw counts of cells; each step is one of scanpy's own, fitted to the times learnt from.

    Args:
        genes: most variable genes to keep; 0 keeps all.
        pcs: principal components.
        target: total counts of each cell; 0 takes the median.
        flavor: how genes are ranked: seurat or cell_ranger.
    """

    genes: int = 2000
    pcs: int = 50
    target: float = 1e4
    flavor: str = "seurat"

    def __post_init__(self) -> None:
        for step in parse_chain(self.chain):
            build("transforms", step)

    @property
    def chain(self) -> str:
        """The chain of transforms."""
        choice = f"hvg:n={self.genes},flavor={self.flavor}," if self.genes else ""
        return f"normalize:target={written(self.target)},log1p,{choice}pca:n={self.pcs}"
