"""Table: the common representation of points between files and numerics."""

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
    """Points with feature names and annotations.

    Args:
        values: the features, shape (n, d), dense or CSR.
        features: the d feature names.
        obs: annotations, indexed by point id (text). The index name is the id column's name;
            None means that the file had no ids and rows are numbered.
        origin: origin of the points, for messages.
        basis: source of the values: "X", "layer:KEY" or "obsm:KEY" of an AnnData; "X" otherwise.
        columns: all columns of a delimited file in order, so that it can be written alike.
        decoder: map back to genes, if the values are a PCA of them and it was requested.
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
        """Replace the values, shape (n, d'), keeping points and annotations."""
        return replace(self, values=values, features=features or self.features)

    def rows(self, index: npt.NDArray[Any] | slice) -> "Table":
        """Select rows by an integer or boolean index, in its order, or by a slice."""
        return replace(self, values=self.values[index], obs=self.obs.iloc[index])

    def without_values(self) -> "Table":
        """Drop the values, leaving shape (n, 0), and keep points and annotations."""
        return replace(self, values=np.empty((len(self), 0)))


@dataclass(frozen=True)
class Backed:
    """A table whose values stay in its file until rows are accessed.

    Args:
        head: the table without values: all features and annotations, values of shape (n, 0).
        read: a slice of rows -> their values, shape (rows, d).
    """

    head: Table
    read: "Callable[[slice], Matrix]"

    @classmethod
    def of(cls, table: Table) -> "Backed":
        """Wrap a table in memory."""
        return cls(table.without_values(), table.values.__getitem__)

    def __len__(self) -> int:
        return len(self.head)

    def rows(self, index: slice) -> Table:
        """Load some rows as a table."""
        return replace(self.head.rows(index), values=self.read(index))

    def chosen(self, index: npt.NDArray[Any]) -> "Backed":
        """Select rows by an integer index, in its order."""
        return Backed(
            self.head.rows(index), lambda rows: gathered(self.read, index[rows], len(self))
        )

    def columns(self, order: list[int], features: tuple[str, ...]) -> "Backed":
        """Select some of the columns, under new names."""
        head = replace(self.head, features=features)
        return Backed(head, lambda rows: self.read(rows)[:, order])
