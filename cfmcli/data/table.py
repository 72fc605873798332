"""The one shape in which points travel between files and numerics."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli.data.blocks import gathered

if TYPE_CHECKING:
    import pandas as pd

    from cfmcli.data.arrays import Matrix
    from cfmcli.data.decoder import Decoder


@dataclass(frozen=True)
class Table:
    """Points with names: numeric features, and the annotations that travel with them.

    Args:
        values: the features, shape (n, d), dense or CSR.
        features: the d feature names.
        obs: annotations, indexed by point id (text). The index name is the id column's name;
            None says that the file had no ids and rows are numbered.
        origin: where it came from, for messages.
        basis: what the values are: "X", "layer:KEY" or "obsm:KEY" of an AnnData; "X" elsewhere.
        columns: all columns of a delimited file in their order, so that it can be written alike.
        decoder: the way back to genes, where the values are a PCA of them and it was asked for.
    """

    values: "Matrix"
    features: tuple[str, ...]
    obs: "pd.DataFrame"
    origin: str = "memory"
    basis: str = "X"
    columns: tuple[str, ...] = ()
    decoder: "Decoder | None" = None

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def with_values(self, values: "Matrix", features: tuple[str, ...] = ()) -> "Table":
        """The same points and annotations with other values, shape (n, d')."""
        return replace(self, values=values, features=features or self.features)

    def rows(self, index: npt.NDArray[Any] | slice) -> "Table":
        """The rows of an integer or boolean index, in its order, or of a slice."""
        return replace(self, values=self.values[index], obs=self.obs.iloc[index])

    def without_values(self) -> "Table":
        """The same points and annotations without their numbers, values of shape (n, 0)."""
        return replace(self, values=np.empty((len(self), 0)))


@dataclass(frozen=True)
class Backed:
    """A table whose numbers stay in its file until rows of them are asked for.

    Args:
        head: the table without its numbers: all features and annotations, values of shape (n, 0).
        read: a slice of rows -> their values, shape (rows, d).
    """

    head: Table
    read: "Callable[[slice], Matrix]"

    @classmethod
    def of(cls, table: Table) -> "Backed":
        """A table in memory as one."""
        return cls(table.without_values(), table.values.__getitem__)

    def __len__(self) -> int:
        return len(self.head)

    def rows(self, index: slice) -> Table:
        """The table of some rows."""
        return replace(self.head.rows(index), values=self.read(index))

    def chosen(self, index: npt.NDArray[Any]) -> "Backed":
        """The rows of an integer index, in its order."""
        return Backed(
            self.head.rows(index), lambda rows: gathered(self.read, index[rows], len(self))
        )

    def columns(self, order: list[int], features: tuple[str, ...]) -> "Backed":
        """The same points with some of their columns, under these names."""
        head = replace(self.head, features=features)
        return Backed(head, lambda rows: self.read(rows)[:, order])
