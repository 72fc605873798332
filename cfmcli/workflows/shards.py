"""Shards: one part of a verb's points, computed so that the parts together are the whole run.

Everything is computed in blocks of rows that begin at fixed multiples of a grain: the step sizes
of adaptive solvers, the noise and even the rounding are those of a block. A shard computes the
whole blocks that its rows lie in, and writes its rows.
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
"""Numbers of a block that is read, carried and written at once: 32 MB."""
# What two shards of one run may differ in, or what stands for itself as a digest.
_OWN = ("output", "shard", "dry_run", "run", "data", "against", "cells")


@dataclass(frozen=True)
class Part:
    """The rows that one shard answers for.

    Args:
        start, stop: its rows.
        total: rows in all.
        grain: rows of a block.
    """

    start: int
    stop: int
    total: int
    grain: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """What is computed: whole blocks."""
        whole = -(-self.stop // self.grain) * self.grain
        return slice(self.start - self.start % self.grain, min(whole, self.total))

    @property
    def kept(self) -> slice:
        """What is written of it."""
        return slice(self.start - self.rows.start, self.stop - self.rows.start)

    @property
    def own(self) -> slice:
        """What is written, among all rows."""
        return slice(self.start, self.stop)

    def pieces(self, width: int) -> "Iterator[Part]":
        """Parts of it whose rows of a width take little memory, in their order."""
        size = max(1, NUMBERS // (self.grain * width)) * self.grain
        cuts = range(self.start - self.start % size + size, self.stop, size)
        for start, stop in pairwise([self.start, *cuts, self.stop]):
            yield Part(start, stop, self.total, self.grain)

    def blocks(self, size: int) -> int:
        """Blocks of a size that divides the grain, before those that are computed."""
        return int(self.rows.start) // size


def part(shard: Shard | None, total: int, grain: int) -> Part:
    """The rows of a shard: as many as others have, whole blocks where there are enough.

    Args:
        shard: which, None for all rows.
        total: rows in all.
        grain: rows of a block.

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
    """All of so many rows that a model carries."""
    return part(None, total, grain(model, total))


def grain(model: Model, total: int) -> int:
    """Rows that are carried together: a block, or all where pairs are drawn for all at once."""
    return CHUNK if isinstance(model.flow, Flow) else total


def claim(request: Request, where: Runtime, inputs: Sequence[str] = ()) -> None:
    """Check, before any work, that what the verb writes may be written.

    Raises:
        CfmError: as `io.claim` does, or if shards were to go to stdout, or come from stdin.
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
    """Write beside a shard what merging needs; nothing where there are no shards.

    Args:
        request: what was asked for.
        where: with which seed.
        frames: the rows of each stretch of the file.
        figures: what the shard came to.
        mass: the weight of its figures among those of others.
        added: what it adds to the AnnData that it was asked to work on.
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
    """The keys of additions."""
    return {slot: list(mapping) for slot, mapping in vars(added).items()}


def streams(where: Runtime, own: Part, size: int) -> Streams:
    """The randomness of the rows that a shard computes, in blocks of a size."""
    return Streams(where.seed, own.blocks(size))
