"""Sidecars: what shards wrote beside their files, as merging reads it: without loading torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfmcli.errors import ConfigError, DataError
from cfmcli.requests import Shard

SIDECAR = ".shard.json"
_SAID = ("frames", "asked", "source", "added", "figures", "mass")


@dataclass(frozen=True)
class Signed:
    """A shard's file with the content of its sidecar.

    Args:
        path: path of the file.
        shard: which shard it is, and of how many.
        frames: first row, row after the last, and total rows of each stretch of the file.
        asked: request properties that must be equal for all shards.
        source: the AnnData that it adds to, or empty.
        added: slot -> names of additions.
        figures: figures of the shard.
        mass: weight of its figures.
    """

    path: str
    shard: Shard
    frames: Sequence[tuple[int, int, int]]
    asked: Mapping[str, Any]
    source: str
    added: Mapping[str, Sequence[str]]
    figures: Mapping[str, Any]
    mass: float


def signed(path: str) -> Signed:
    """A shard that was written before.

    Raises:
        DataError: if there is none, or it is damaged.
    """
    if not Path(path).exists():
        raise DataError(f"{path}: there is no such file. Run that shard again.")
    try:
        said = json.loads(Path(path + SIDECAR).read_text())
        return Signed(path, Shard(*said["shard"]), *(said[name] for name in _SAID))
    except FileNotFoundError:
        raise DataError(
            f"{path}: {Path(path).name}{SIDECAR} is not beside it: it is no shard, or was moved "
            "without it. Merge files that --shard wrote."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise DataError(
            f"{path}{SIDECAR}: it is damaged ({error}). Run that shard again."
        ) from None
