"""Laws of randomness: the same name gives the same numbers, another name independent ones."""

from itertools import combinations

import numpy as np
import torch

from cfmcli.flows.streams import Streams

NAMES: list[tuple[str, tuple[int, ...]]] = [
    ("pairs", (0, 0)),
    ("pairs", (0, 1)),
    ("pairs", (1, 0)),
    ("pool", (0, 0)),
    ("path", (0,)),
    ("path", (1,)),
    ("path", ()),
    ("path", (0, 0)),
    ("weights", ()),
]
N = 4000


def test_the_same_name_gives_the_same_numbers_in_any_order() -> None:
    first = {name: Streams(3).numpy(name[0], *name[1]).random(5).tolist() for name in NAMES}
    again = Streams(3)
    for name in reversed(NAMES):
        again.numpy(*("other", 9)).random(100)
        assert again.numpy(name[0], *name[1]).random(5).tolist() == first[name]


def test_torch_repeats_as_well_and_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    one, two = (torch.randn(5, generator=Streams(3).torch("weights")) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(one, torch.randn(5, generator=Streams(4).torch("weights")))


def test_names_and_seeds_are_independent() -> None:
    """Correlations of all pairs of streams stay within the noise of N numbers."""
    drawn = [
        Streams(seed).numpy(purpose, *counters).standard_normal(N)
        for seed in (0, 1, 2**40)
        for purpose, counters in NAMES
    ]
    drawn += [
        torch.randn(N, generator=Streams(seed).torch("weights"), dtype=torch.float64).numpy()
        for seed in (0, 1)
    ]
    worst = max(abs(float(np.corrcoef(a, b)[0, 1])) for a, b in combinations(drawn, 2))
    assert worst < 5 / N**0.5
