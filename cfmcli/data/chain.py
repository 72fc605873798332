"""Chain: sequence of fitted maps from data units to flow coordinates and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cfmcli.catalog import build
from cfmcli.data.arrays import Array
from cfmcli.data.blocks import by_blocks
from cfmcli.data.counts import ChoiceMap, NormalizeMap
from cfmcli.data.decoder import Decoder
from cfmcli.data.maps import AffineMap, LogMap, Map, ProjectionMap, dense
from cfmcli.errors import DataError
from cfmcli.specs import parse_chain

if TYPE_CHECKING:
    from cfmcli.data.arrays import Matrix

_KINDS: dict[str, Callable[[Mapping[str, Array]], Map]] = {
    AffineMap.kind: lambda a: AffineMap(a["shift"], a["scale"]),
    LogMap.kind: lambda a: LogMap(),
    NormalizeMap.kind: lambda a: NormalizeMap(**a),
    ChoiceMap.kind: lambda a: ChoiceMap(**a),
    ProjectionMap.kind: lambda a: ProjectionMap(**a),
}


@dataclass(frozen=True)
class Chain:
    """Maps applied in sequence: data units -> flow coordinates.

    Args:
        maps: the fitted maps, in order.
        features: names of the input features.
        decoder: map from the features back to genes, if they are a PCA of genes.
    """

    maps: tuple[Map, ...]
    features: tuple[str, ...]
    decoder: Decoder | None = None

    def forward(self, x: "Matrix") -> Array:
        """Transform data units to flow coordinates, shape (n, d) -> (n, D).

        Raises:
            DataError: if d is not the number of features.
        """
        if x.shape[1] != len(self.features):
            raise DataError(
                f"The points have {x.shape[1]} features, the model expects {len(self.features)}: "
                f"{', '.join(self.features[:5])}..."
            )
        return by_blocks(self._forward, x)

    def _forward(self, x: "Matrix") -> Array:
        """Transform one block of points."""
        for item in self.maps:
            x = item.forward(x)
        return dense(x)

    def inverse(self, y: Array) -> Array:
        """Transform flow coordinates to data units, shape (n, D) -> (n, d)."""
        return by_blocks(self._inverse, y)

    def _inverse(self, y: Array) -> Array:
        """Invert one block of points."""
        for item in reversed(self.maps):
            y = item.inverse(y)
        return y

    def inverse_tangent(self, y: Array, v: Array) -> Array:
        """Transform velocities in flow coordinates to data units, shape (n, D) -> (n, d)."""
        return by_blocks(self._inverse_tangent, y, v)

    def _inverse_tangent(self, y: Array, v: Array) -> Array:
        """Transform one block of velocities."""
        for item in reversed(self.maps):
            y, v = item.inverse(y), item.inverse_tangent(y, v)
        return v

    def restored(self, x: "Matrix") -> Array:
        """Points as the inverse would restore them if no dimension were dropped, shape (n, d).

        They differ from x if totals are normalised, since no inverse can restore these.
        """
        kinds = [item.kind for item in self.maps]
        last = max((k for k, kind in enumerate(kinds) if kind == NormalizeMap.kind), default=-1)
        part = Chain(self.maps[: last + 1], self.features)
        return part.inverse(part.forward(x))

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the genes behind the features, or of the features themselves."""
        return self.decoder.genes if self.decoder else self.features

    @property
    def moving(self) -> npt.NDArray[np.bool_]:
        """Mask of the genes that the flow coordinates can change, shape (genes,)."""
        if self.decoder:
            return np.asarray(self.decoder.map.components.any(axis=0))
        kept = self.features
        for item in self.maps:
            kept = item.names(kept) if isinstance(item, ChoiceMap) else kept
        return np.isin(self.features, kept)

    def to_genes(self, y: Array) -> Array:
        """Transform flow coordinates to genes, shape (n, D) -> (n, genes)."""
        x = self.inverse(y)
        return self.decoder.map.inverse(x) if self.decoder else x

    def to_genes_tangent(self, y: Array, v: Array) -> Array:
        """Transform velocities in flow coordinates to genes, shape (n, D) -> (n, genes)."""
        w = self.inverse_tangent(y, v)
        return self.decoder.map.inverse_tangent(w, w) if self.decoder else w

    @property
    def after_pca(self) -> "Chain | None":
        """Chain from PCA scores to flow coordinates; None unless it merely scales a single PCA."""
        places = [k for k, item in enumerate(self.maps) if isinstance(item, ProjectionMap)]
        rest = self.maps[places[0] + 1 :] if len(places) == 1 else ()
        if len(places) != 1 or not all(isinstance(item, AffineMap) for item in rest):
            return None
        return Chain(rest, self.maps[places[0]].names(()))

    @property
    def invertible(self) -> bool:
        """Whether no dimension is dropped."""
        return not any(item.dropped for item in self.maps)

    @property
    def coordinates(self) -> str:
        """Coordinates of densities: data units, or the space after the last lossy map."""
        return next((m.space for m in reversed(self.maps) if m.dropped), "data units")

    def log_abs_det(self, x: "Matrix") -> Array:
        """log |det| from the stated coordinates to the flow's, shape (n, d) -> (n,)."""
        return by_blocks(self._log_abs_det, x)

    def _log_abs_det(self, x: "Matrix") -> Array:
        """Evaluate one block of points."""
        total = np.zeros(x.shape[0])
        for item in self.maps:
            total = np.zeros_like(total) if item.dropped else total + item.log_abs_det(dense(x))
            x = item.forward(x)
        return total

    @property
    def units(self) -> str:
        """Units of the inverse: data units, or normalised data."""
        totals = [float(item.target[0]) for item in self.maps if isinstance(item, NormalizeMap)]
        return f"data normalised to {totals[-1]:,.6g} a point" if totals else "data units"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the flow's coordinates."""
        names = self.features
        for item in self.maps:
            names = item.names(names)
        return names

    def arrays(self) -> dict[str, Array]:
        """All fitted arrays, named "index.kind.name", or "decoder.kind.name" for the decoder."""
        steps: list[tuple[int | str, Map]] = list(enumerate(self.maps))
        if self.decoder:
            steps.append(("decoder", self.decoder.map))
        return {
            f"{k}.{item.kind}.{name}": array
            for k, item in steps
            for name, array in item.arrays().items()
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the maps."""
        return tuple(item.kind for item in self.maps)


def fit_chain(
    spec: str, x: "Matrix", features: Sequence[str], weights: Array | None = None
) -> Chain:
    """Fit the transforms of a spec such as "log1p,pca:n=50,standardize" in sequence.

    Args:
        spec: the chain.
        x: points of shape (n, d), dense or sparse.
        features: d names.
        weights: shape (n,), positive; a point of weight 2 counts as two; None is uniform.

    Raises:
        ConfigError: for an unknown transform or option.
        DataError: if the data are unsuitable for a transform.
    """
    maps: list[Map] = []
    names = tuple(features)
    mass = np.ones(x.shape[0]) if weights is None else weights / weights.mean()
    for item in parse_chain(spec):
        if maps:
            x, names = maps[-1].forward(x), maps[-1].names(names)
        maps.append(build("transforms", item).fit(x, names, mass))
    return Chain(tuple(maps), tuple(features))


def load_chain(
    kinds: Sequence[str],
    arrays: Mapping[str, Array],
    features: Sequence[str],
    genes: Sequence[str] = (),
) -> Chain:
    """Restore a chain from its kinds and the arrays of `Chain.arrays`.

    Args:
        kinds: kinds of its maps.
        arrays: fitted arrays by name.
        features: names of the input features.
        genes: names of the genes behind them, if there is a decoder.
    """

    def loaded(step: int | str, kind: str) -> Map:
        prefix = f"{step}.{kind}."
        return _KINDS[kind](
            {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        )

    maps = tuple(loaded(k, kind) for k, kind in enumerate(kinds))
    decoder = None
    if any(name.startswith("decoder.") for name in arrays):
        back = loaded("decoder", ProjectionMap.kind)
        assert isinstance(back, ProjectionMap)
        decoder = Decoder(tuple(genes), back)
    return Chain(maps, tuple(features), decoder)
