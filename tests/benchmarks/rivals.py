"""Rivals: the loops that a user of other libraries would write, as their examples do."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]  # as in cfmcli, of which a rival imports nothing


def fastest(run: Callable[[], float]) -> float:
    """The seconds of something with one thread or with all, whichever is less."""
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append((run(), threads))
    torch.set_num_threads(min(found)[1])
    return min(found)[0]


class Torchcfm:
    """torchcfm's own loop: a minibatch of each cloud, its optimal pairs, one step of Adam.

    Args:
        clouds: points in time order.
        width: of its own network, three hidden layers.
        batch: pairs per step and gap.
        seed: of everything random.
    """

    def __init__(self, clouds: Sequence[Array], width: int, batch: int, seed: int = 0) -> None:
        from torchcfm.conditional_flow_matching import (
            ExactOptimalTransportConditionalFlowMatcher,
        )
        from torchcfm.models.models import MLP

        torch.manual_seed(seed)
        self.clouds = [torch.as_tensor(cloud, dtype=torch.float32) for cloud in clouds]
        self.batch = batch
        self.matcher = ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)
        self.network = MLP(dim=self.clouds[0].shape[1], w=width, time_varying=True)
        self.optimizer = torch.optim.Adam(self.network.parameters())

    def train(self, steps: int) -> float:
        """So many steps; the seconds that they take."""
        start = time.perf_counter()
        for _ in range(steps):
            self.optimizer.zero_grad()
            t, x, u = self._batch()
            loss = torch.mean((self.network(torch.cat([x, t[:, None]], dim=-1)) - u) ** 2)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return time.perf_counter() - start

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Times, points and velocities of one step, a batch for each gap."""
        parts = []
        for k, (source, target) in enumerate(zip(self.clouds[:-1], self.clouds[1:], strict=True)):
            x0, x1 = (cloud[torch.randint(len(cloud), (self.batch,))] for cloud in (source, target))
            t, x, u = self.matcher.sample_location_and_conditional_flow(x0, x1)
            parts.append((t + k, x, u))
        t, x, u = (torch.cat(part) for part in zip(*parts, strict=True))
        return t, x, u


def integrated(network: torch.nn.Module, x: Array, when: float, steps: int = 100) -> Array:
    """Points carried from time 0 by a network of (x, t), in Euler steps, as torchcfm's examples."""
    y = torch.as_tensor(x, dtype=torch.float32)
    with torch.inference_mode():
        for k in range(steps):
            t = torch.full((len(y), 1), when * k / steps)
            y = y + when / steps * network(torch.cat([y, t], dim=-1))
    return y.double().numpy()


def bare_steps(network: torch.nn.Module, dim: int, batch: int, steps: int) -> float:
    """Seconds of forward, backward and fused AdamW of a network on one batch that is ready."""
    inputs, wanted = torch.randn(batch, dim + 1), torch.randn(batch, dim)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        (network(inputs) - wanted).square().mean().backward()
        optimizer.step()
    return time.perf_counter() - start


def bare_forward(network: torch.nn.Module, n: int, dim: int, times: int, chunk: int) -> float:
    """Seconds of a network's forward pass over n points in chunks, so many times."""
    points = torch.randn(n, dim + 1)
    start = time.perf_counter()
    with torch.inference_mode():
        for part in torch.split(points, chunk):
            for _ in range(times):
                network(part)
    return time.perf_counter() - start


def exact_likelihood(velocity: torch.nn.Module, x: Array) -> float:
    """Seconds of flow_matching's likelihood with its exact divergence, by dopri5 as it comes."""
    from flow_matching.solver import ODESolver
    from flow_matching.utils import ModelWrapper

    class Velocity(ModelWrapper):  # type: ignore[misc]
        """The network as that library calls it."""

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            found: Tensor = self.model(t.expand(len(x), 1), x)
            return found

    points = torch.as_tensor(x, dtype=torch.float32)
    solver = ODESolver(velocity_model=Velocity(velocity))
    start = time.perf_counter()
    solver.compute_likelihood(
        points,
        log_p0=lambda y: -y.square().sum(dim=1) / 2,
        step_size=None,
        method="dopri5",
        exact_divergence=True,
    )
    return time.perf_counter() - start
