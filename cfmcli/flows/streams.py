"""Random streams: all randomness of a run, derived from one seed and counters."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Streams:
    """Independent random generators, each identified by a purpose and counters.

    The same (seed, purpose, counters) always gives the same generator, so an interrupted run
    continues exactly as if it had not stopped.

    Args:
        seed: the seed of the run, at least 0.
        first: number of the first block of points, if they follow blocks processed elsewhere.
    """

    seed: int
    first: int = 0

    def numpy(self, purpose: str, *counters: int) -> np.random.Generator:
        """NumPy generator for a purpose."""
        return np.random.default_rng(self._sequence(purpose, counters))

    def block(self, purpose: str, number: int, *counters: int) -> torch.Generator:
        """PyTorch generator for one of the blocks of points at hand, counted from 0."""
        return self.torch(purpose, self.first + number, *counters)

    def torch(self, purpose: str, *counters: int) -> torch.Generator:
        """PyTorch CPU generator for a purpose."""
        state = self._sequence(purpose, counters).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))

    def _sequence(self, purpose: str, counters: tuple[int, ...]) -> np.random.SeedSequence:
        """Child seed sequence identified by purpose and counters."""
        digest = hashlib.sha256(purpose.encode()).digest()[:8]
        return np.random.SeedSequence(
            self.seed, spawn_key=(int.from_bytes(digest, "big"), *counters)
        )
