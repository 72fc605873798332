"""Spill: arrays kept on disk, beside the output, until they are written."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from os import SEEK_END
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from cfmcli.io.output import blaming_disk

if TYPE_CHECKING:
    from cfmcli.data.arrays import Array

SPARED = 2**25
"""Number of bytes kept in memory rather than on disk."""


class Spill:
    """Temporary storage of arrays that can be read back in any order.

    Args:
        stream: temporary file.
    """

    def __init__(self, stream: "SpooledTemporaryFile[bytes]") -> None:
        self._stream = stream
        self._held: list[tuple[int, tuple[int, ...]]] = []

    def put(self, block: "Array") -> int:
        """Store an array and return its number."""
        place = self._stream.seek(0, SEEK_END)
        self._stream.write(np.ascontiguousarray(block, dtype=np.float64).tobytes())
        self._held.append((place, block.shape))
        return len(self._held) - 1

    def get(self, number: int) -> "Array":
        """Read the array with the given number."""
        place, shape = self._held[number]
        self._stream.seek(place)
        return np.frombuffer(bytearray(self._stream.read(8 * math.prod(shape)))).reshape(shape)


@contextmanager
def spilling(path: str) -> Iterator[Spill]:
    """Open temporary storage in the folder of an output, as an unnamed file if it gets large.

    The output `-` has no folder; its file is where the system keeps temporary ones.

    Args:
        path: the output.

    Raises:
        ResourceError: the disk is full or the folder is not writable.
    """
    home = next(str(p) for p in Path(path).absolute().parents if p.exists())
    with (
        blaming_disk(path),
        SpooledTemporaryFile(SPARED, dir=None if path == "-" else home) as stream,
    ):
        yield Spill(stream)
