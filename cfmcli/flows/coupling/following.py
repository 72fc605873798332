"""Following: learnt path tangents that keep paths near regions of high data density."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from cfmcli.data.arrays import Array
from cfmcli.flows.coupling.layout import Points
from cfmcli.flows.coupling.pairing import PairSource
from cfmcli.flows.streams import Streams

FLOOR = 0.1
"""Density added everywhere, as a share of the mean density at the points."""
NEIGHBOUR = 5
CENTRES = 1_000
"""Maximum number of points of either end used as density centres."""
POOL, STEPS, BATCH, WIDTH, RATE = 8_192, 200, 256, 64, 2e-3


class Density:
    """Gaussian kernel density relative to its mean at the points.

    p(x) = Σ_i w_i exp(-|x - c_i|² / 2h²), with h the median distance to the fifth neighbour.

    Reference: Silverman (1986), Density Estimation for Statistics and Data Analysis

    Args:
        points: centres c, shape (n, D); repeated ones weigh more.
    """

    def __init__(self, points: Array) -> None:
        from scipy.spatial import cKDTree

        centres, counts = np.unique(points, axis=0, return_counts=True)
        count = min(NEIGHBOUR + 1, len(centres))
        reached = cKDTree(centres).query(centres, k=[count])[0]
        self.width = float(np.median(reached)) or 1.0
        self._centres = torch.as_tensor(centres, dtype=torch.float32)
        self._shares = torch.as_tensor(counts / counts.sum(), dtype=torch.float32)
        self._mean = 1.0
        self._mean = float(self._shares @ self(self._centres))

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the relative density, shape (n, D) -> (n,)."""
        square = torch.cdist(x, self._centres).square()
        return torch.exp(-square / (2 * self.width**2)) @ self._shares / self._mean


@dataclass(frozen=True, eq=False)
class FollowingPairs(PairSource):
    """Pairs of one gap, each with tangents whose path is short where data are dense.

    Args:
        pairs: where the pairs come from.
        dim: dimension D of the points.
        departure: (x0, x1) -> differences of the end tangents from the chord, shape (n, 2 D).
    """

    pairs: PairSource
    dim: int
    departure: "Departure"

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Draw pairs whose tangents, per unit of path time, stand in additional columns."""
        x0, x1 = self.pairs.draw(block, n, segment, streams)
        ends = x0[:, : self.dim], x1[:, : self.dim]
        with torch.no_grad():
            off = self.departure(torch.from_numpy(np.hstack(ends))).numpy()
        chord = ends[1] - ends[0]
        return (
            np.hstack((x0, chord + off[:, : self.dim])),
            np.hstack((x1, chord + off[:, self.dim :])),
        )

    def parted(
        self, share: float, rng: np.random.Generator
    ) -> "tuple[FollowingPairs, FollowingPairs | None]":
        """Split the pairs into two sources with the same departures."""
        train, aside = self.pairs.parted(share, rng)
        return replace(self, pairs=train), replace(self, pairs=aside) if aside else None


class Departure(nn.Module):
    """Network from both ends of a pair to the departures of its tangents from the chord.

    Two hidden layers, inputs and outputs scaled by the spread of the points; zero before training.

    Args:
        center: mean of the points, shape (D,).
        scale: root mean square of their deviations per dimension, above 0.
        generator: randomness of the weights.
    """

    def __init__(self, center: Tensor, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.center, self.scale = center.repeat(2), scale
        sizes = (2 * len(center), WIDTH, WIDTH)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layer = nn.Linear(before, after)
            nn.init.normal_(layer.weight, std=before**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)
            layers += [layer, nn.SELU()]
        last = nn.Linear(WIDTH, sizes[0])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, ends: Tensor) -> Tensor:
        """Departures of the tangents from the chord, shape (n, 2 D) -> (n, 2 D)."""
        off: Tensor = self.layers((ends - self.center) / self.scale)
        return self.scale * off


def following(pairs: PairSource, dim: int, segment: int, streams: Streams) -> Departure:
    """Train a network of tangents that lead the pairs of a gap along high data density.

    The departures (u, v) of the tangents from the chord c minimise E |dx_t/dt|² / (p(x_t) + 1/10)
    with x_t = x0 + t c + t (1 - t) ((1 - t) u - t v): distance counts less where p is high.

    Reference: Kapuśniak et al. (2024), arXiv 2405.14780 (metric flow matching); Arvanitidis,
        Hansen & Hauberg (2016), arXiv 1606.02518 (metrics of the density)

    Args:
        pairs: those of the gap.
        dim: dimension D of the points.
        segment: number of the gap.
        streams: random streams for pairs, weights and times.
    """
    generator = streams.torch("following", segment)
    drawn = pairs.draw(0, POOL, segment, streams)
    x0, x1 = (torch.from_numpy(np.ascontiguousarray(end[:, :dim])) for end in drawn)
    both = torch.cat((x0, x1))
    scale = float(both.std(dim=0, correction=0).square().mean().sqrt()) or 1.0
    density = Density(torch.cat((x0[:CENTRES], x1[:CENTRES])).double().numpy())
    network = Departure(both.mean(dim=0), scale, generator)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    even = torch.arange(BATCH)[:, None]
    for _ in range(STEPS):
        rows = torch.randint(POOL, (BATCH,), generator=generator)
        t = (even + torch.rand(1, generator=generator)) / BATCH
        a, b = x0[rows], x1[rows]
        u, v = network(torch.cat((a, b), dim=1)).chunk(2, dim=1)
        x = a + t * (b - a) + t * (1 - t) * ((1 - t) * u - t * v)
        speed = b - a + (1 - t) * (1 - 3 * t) * u - t * (2 - 3 * t) * v
        loss = (speed.square().sum(dim=1) / (density(x) + FLOOR)).mean() / scale**2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.requires_grad_(False)
