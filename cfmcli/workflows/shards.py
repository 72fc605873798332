"""Shards: parts of a command's points whose results together equal those of a single run.

Everything is computed in blocks of rows that begin at fixed multiples of a grain: step sizes of
adaptive solvers, noise and even rounding depend on the block. A shard computes the whole blocks
that contain its rows, and writes its rows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cfmcli
from cfmcli import checkpoint, io
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.flow import CHUNK, Flow
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.requests import Runtime, Shard
from cfmcli.requests.verbs import (
    InterpolateRequest,
    LikelihoodRequest,
    SampleRequest,
    TransportRequest,
)
from cfmcli.workflows.sidecar import SIDECAR

Request = SampleRequest | TransportRequest | LikelihoodRequest | InterpolateRequest

NUMBERS = 2**22
"""Number of values read, carried and written at once: 32 MB."""
# Settings that may differ between shards of one run, or that are compared by digest.
_OWN = ("output", "shard", "dry_run", "run", "data", "against", "cells")


@dataclass(frozen=True)
class Part:
    """The rows of one shard.

    Args:
        start, stop: first row, and row after the last.
        total: total number of rows.
        grain: number of rows in a block.
    """

    start: int
    stop: int
    total: int
    grain: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """Rows to compute: whole blocks."""
        whole = -(-self.stop // self.grain) * self.grain
        return slice(self.start - self.start % self.grain, min(whole, self.total))

    @property
    def kept(self) -> slice:
        """Rows to write, relative to the computed ones."""
        return slice(self.start - self.rows.start, self.stop - self.rows.start)

    @property
    def own(self) -> slice:
        """Rows to write, among all rows."""
        return slice(self.start, self.stop)

    def pieces(self, width: int) -> "Iterator[Part]":
        """Split into consecutive parts that fit in memory for rows of a given width."""
        size = max(1, NUMBERS // (self.grain * width)) * self.grain
        cuts = range(self.start - self.start % size + size, self.stop, size)
        for start, stop in pairwise([self.start, *cuts, self.stop]):
            yield Part(start, stop, self.total, self.grain)

    def blocks(self, size: int) -> int:
        """Number of blocks, of a size that divides the grain, before the computed rows."""
        return int(self.rows.start) // size


def part(shard: Shard | None, total: int, grain: int) -> Part:
    """Determine the rows of a shard: equal shares, of whole blocks if there are enough.

    Args:
        shard: the shard, None for all rows.
        total: total number of rows.
        grain: number of rows in a block.

    Raises:
        ConfigError: if there are more shards than rows.
    """
    if shard is None:
        return Part(0, total, total, grain)
    if shard.count > total:
        raise ConfigError(
            f"--shard {shard}: there are only {total} points, so use at most {total} shards."
        )
    unit = grain if total >= grain * shard.count else 1
    cuts = [k * total // shard.count // unit * unit for k in range(shard.count)]
    bounds = [*cuts, total]
    return Part(bounds[shard.number - 1], bounds[shard.number], total, grain)


def of_all(model: Model, total: int) -> Part:
    """All rows that a model carries, as one part."""
    return part(None, total, grain(model, total))


def grain(model: Model, total: int) -> int:
    """Rows carried together: a block, or all if pairs are drawn for all at once."""
    return CHUNK if isinstance(model.flow, Flow) else total


def claim(request: Request, where: Runtime, inputs: Sequence[str] = ()) -> None:
    """Check, before any work, that the outputs may be written.

    Raises:
        CfmError: as in `io.claim`, or if shards would use stdout or stdin.
    """
    io.claim(request.output, force=where.force, inputs=inputs)
    if request.shard and request.output == "-":
        raise ConfigError(f"--shard {request.shard} and -o -: shards are files, name one.")
    if request.shard and "-" in inputs:
        raise ConfigError(
            f"--shard {request.shard} of stdin: all shards have to read the same points, name "
            "their file."
        )
    if request.shard:
        io.claim(request.output + SIDECAR, force=where.force, suffixes=())


def sign(
    request: Request,
    where: Runtime,
    frames: Sequence[Part],
    figures: Mapping[str, Any],
    *,
    mass: float = 0.0,
    added: io.Annotation | None = None,
) -> None:
    """Write the sidecar file that merging needs; nothing without shards.

    Args:
        request: the request.
        where: runtime settings, including the seed.
        frames: rows of each stretch of the file.
        figures: figures of the shard.
        mass: weight of its figures when merging.
        added: additions to the AnnData that was the input.
    """
    if request.shard is None:
        return
    paths = [getattr(request, name, "") for name in ("data", "against", "cells")]
    given = [path for path in paths if path]
    asked = {k: v for k, v in asdict(request).items() if k not in _OWN}
    said = {
        "shard": [request.shard.number, request.shard.count],
        "frames": [[frame.start, frame.stop, frame.total] for frame in frames],
        "asked": {
            "verb": type(request).__name__.removesuffix("Request").lower(),
            "version": cfmcli.__version__,
            "seed": where.seed,
            "model": io.sha256(str(Path(request.run) / checkpoint.MODEL)),
            "inputs": [io.sha256(path) for path in given],
            **json.loads(json.dumps(asked)),
        },
        "source": str(Path(given[0]).absolute()) if added else "",
        "added": _keys(added) if added else {},
        "figures": dict(figures),
        "mass": mass,
    }
    with io.atomic(request.output + SIDECAR) as place:
        place.write_text(io.as_json(said))


def _keys(added: io.Annotation) -> dict[str, list[str]]:
    """Names of additions, by slot."""
    return {slot: list(mapping) for slot, mapping in vars(added).items()}


def streams(where: Runtime, own: Part, size: int) -> Streams:
    """Random streams of the rows that a shard computes, in blocks of a size."""
    return Streams(where.seed, own.blocks(size))
