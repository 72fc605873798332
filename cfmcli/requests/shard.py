"""Shard: one of several parts of a command's points, and requests to merge their results."""

from collections.abc import Mapping
from dataclasses import dataclass

from cfmcli.errors import ConfigError

_EXPECTED = "expected I/N with I from 1 to N, such as 2/4, or auto inside a job array or torchrun."


@dataclass(frozen=True)
class Shard:
    """One of several parts.

    Args:
        number: index of the part, from 1.
        count: number of parts.

    Raises:
        ConfigError: if there is no such part.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(f"--shard {self}: {_EXPECTED}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def shard_of(text: str, environment: Mapping[str, str]) -> Shard | None:
    """Parse a shard: I/N, or auto for the position in a SLURM array or among ranks.

    Args:
        text: empty for none.
        environment: environment variables.

    Raises:
        ConfigError: if it cannot be parsed, or auto finds neither an array nor ranks.
    """
    if not text:
        return None
    try:
        number, count = map(int, text.split("/")) if text != "auto" else _place(environment)
    except (KeyError, ValueError):
        raise ConfigError(f"--shard {text}: {_EXPECTED}") from None
    return Shard(number, count)


def _place(environment: Mapping[str, str]) -> tuple[int, int]:
    """Position in a SLURM array, whatever its first index and step, or among ranks."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        names = ("ID", "MIN", "STEP", "COUNT")
        own, least, step, count = (
            int(environment.get(f"SLURM_ARRAY_TASK_{name}", "1")) for name in names
        )
        if (own - least) % step:
            raise ValueError
        return (own - least) // step + 1, count
    return int(environment["RANK"]) + 1, int(environment["WORLD_SIZE"])


@dataclass(frozen=True)
class MergeRequest:
    """Request to merge the files of shards.

    Args:
        parts: the files, in any order.
        output: file to write.
        data: the AnnData that was transported or scored, if it has moved.
        dry_run: check that the parts are complete, without merging them.
    """

    parts: tuple[str, ...]
    output: str
    data: str = ""
    dry_run: bool = False
