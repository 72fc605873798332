"""Fields: time-conditioned networks with one output, a head, per regression target."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from cfmcli.catalog import did_you_mean
from cfmcli.errors import ConfigError
from cfmcli.flows.view import Seen, View

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}


LENGTHS = {"velocity": 1, "mean_velocity": 1, "denoiser": 0, "score": -1, "growth": 0}
"""Power of length in the unit of each head."""

SCALARS = ("growth",)
"""Heads with a scalar output; all others output a vector in D dimensions."""

TANGENTS = 2**11
"""Number of tangents propagated through a network at once."""


class Head(nn.Module):
    """A multilayer perceptron (s, x, c) -> R^D on inputs normalised by a view.

    A head in units of length is a velocity; the view's own drift is added to its output.

    Args:
        layers: the perceptron, from 1 + D + C inputs to D outputs, or one for scalar heads.
        view: the input normalisation, shared by all heads of a field.
        power: power of length in the unit of the output.
    """

    def __init__(self, layers: nn.Sequential, view: View, power: int = 1) -> None:
        super().__init__()
        self.layers = layers
        self.view = view
        self.power = power

    def forward(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Evaluate at inner times s, (B, 1), points x, (B, D), and conditions c, (B, C)."""
        return self.at(self.view.seen(s, x, c))

    def at(self, seen: Seen) -> Tensor:
        """Evaluate at inputs prepared by the view."""
        return self._told(self.layers(seen.inputs), seen)

    def _told(self, out: Tensor, seen: Seen) -> Tensor:
        """Convert outputs of the perceptron to flow coordinates."""
        scale = self.view.scale
        if self.power == 1:
            return torch.addcmul(seen.drift, out, scale)
        return out * scale**self.power

    @torch.no_grad()
    def traced(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The output, with the trace of its Jacobian in x as one more column, (B, D + 1)."""
        seen, slopes = self.view.seen(s, x, c), []
        h, (width, rate) = seen.inputs, self.view.width(s)
        *inner, last = self.layers.children()
        for layer in inner:
            if isinstance(layer, nn.Linear):
                h = layer(h)
            else:
                h, slope = _sloped(layer, h)
                slopes.append(slope)
        trace = self._trace(slopes, x.shape[1])[:, None] * self.view.scale**self.power
        if self.power == 1:
            trace = trace + x.shape[1] * rate
        return torch.cat([self._told(last(h), seen), trace / width], dim=1)

    @torch.no_grad()
    def _trace(self, slopes: list[Tensor], dim: int) -> Tensor:
        """Trace tr(W_L S_L ... W_2 S_1 W_1) from the slopes S of the activations, shape (B,).

        The tangents of all D directions pass through the layers as one matrix: the first ones are
        the weights of the first layer, and of the last product only the trace is computed. Few
        points are processed at a time, in reused memory, so that tangents stay in the cache.
        """
        first, *hidden, last = (m.weight for m in self.layers if isinstance(m, nn.Linear))
        first, found = first[:, 1 : 1 + dim].T.contiguous(), torch.empty_like(slopes[0][:, 0])
        count = max(1, TANGENTS // dim)
        pair = first.new_empty(2, count * dim, first.shape[1])
        for start in range(0, len(found), count):
            rows = slice(start, start + count)
            slope, *rest = (part[rows, None] for part in slopes)
            shape = (len(slope), dim, -1)
            here, there = pair[:, : len(slope) * dim]
            torch.mul(first, slope, out=here.view(shape))
            for weight, slope in zip(hidden, rest, strict=True):
                torch.mm(here, weight.T, out=there)
                there.view(shape).mul_(slope)
                here, there = there, here
            torch.mv(here.view(len(slope), -1), last.flatten(), out=found[rows])
        return found


class Asked(Mapping[str, Tensor]):
    """Lazy mapping of head outputs, each evaluated at first access.

    Args:
        names: names of the heads.
        head: evaluates the head of a name.
    """

    def __init__(self, names: Iterable[str], head: Callable[[str], Tensor]) -> None:
        self._names, self._head = tuple(names), cache(head)

    def __getitem__(self, name: str) -> Tensor:
        """Output of a head, evaluated at first access."""
        return self._head(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the heads."""
        return iter(self._names)

    def __len__(self) -> int:
        """Number of heads."""
        return len(self._names)


class Field(nn.Module):
    """The network of a model, a collection of heads.

    Args:
        heads: head name -> network.
    """

    def __init__(self, heads: dict[str, Head]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(heads)

    @property
    def view(self) -> View:
        """Input normalisation shared by all heads."""
        return cast(Head, next(iter(self.heads.values()))).view

    @property
    def scale(self) -> float:
        """Unit of length: the scale of all points."""
        return float(self.view.scale)

    def forward(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        """Evaluate heads at inner times s, (B, 1), points x, (B, D), and conditions c, (B, C)."""
        return {name: head(s, x, c) for name, head in self.heads.items()}

    def seen(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Seen:
        """Prepare inputs shared by all heads; training does so for many steps at once."""
        return self.view.seen(s, x, c)

    def at(self, seen: Seen) -> dict[str, Tensor]:
        """Evaluate all heads at prepared inputs."""
        return {name: cast(Head, head).at(seen) for name, head in self.heads.items()}

    def asked(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Asked:
        """Heads at (s, x, c), evaluated when accessed."""
        return Asked(self.heads, lambda name: cast(Tensor, self.heads[name](s, x, c)))

    def traced(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Asked:
        """Vector heads with the trace of their Jacobian in x as one more column; lazy."""
        names = (name for name in self.heads if name not in SCALARS)
        return Asked(names, lambda name: cast(Head, self.heads[name]).traced(s, x, c))


@dataclass(frozen=True)
class Shape:
    """Input and output sizes of a field.

    Args:
        dim: dimension D of the state.
        segments: gaps K between snapshots: the inner clock runs from 0 to K.
        conditions: number C of condition columns, 0 without conditions.
    """

    dim: int
    segments: int = 1
    conditions: int = 0


@dataclass(frozen=True)
class MLP:
    """Multilayer perceptron of time and state, one for each head.

    Reference: Tong et al. (2024), arXiv 2302.00482, app. E (three hidden layers)

    Use: the default; raise width for more than some tens of dimensions.

    Args:
        width: units of each hidden layer, at least 1.
        depth: number of hidden layers, at least 1.
        activation: silu, gelu, tanh or softplus, which are smooth, or selu, which has a kink.

    Raises:
        ConfigError: if an option is out of its range.
    """

    width: int = 128
    depth: int = 3
    activation: str = "gelu"

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise ConfigError(
                f"mlp:width={self.width},depth={self.depth}: expected at least 1 of each."
            )
        if self.activation not in _ACTIVATIONS:
            known = did_you_mean(self.activation, _ACTIVATIONS)
            raise ConfigError(f"mlp has no activation '{self.activation}'.{known}")

    def build(self, heads: tuple[str, ...], shape: Shape, generator: torch.Generator) -> Field:
        """Build a field with randomly initialised weights.

        Args:
            heads: names of the heads.
            shape: input and output sizes.
            generator: source of the initial weights.
        """
        view = View(shape.segments, shape.dim)
        return Field({name: self._head(name, shape, view, generator) for name in heads})

    def _head(self, name: str, shape: Shape, view: View, generator: torch.Generator) -> Head:
        """Build one perceptron."""
        outputs = 1 if name in SCALARS else shape.dim
        sizes = [1 + shape.dim + shape.conditions, *[self.width] * self.depth, outputs]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [_linear(fan_in, fan_out, generator), _ACTIVATIONS[self.activation]()]
        return Head(nn.Sequential(*layers[:-1]), view, LENGTHS[name])


def _sloped(activation: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivative of an activation at h."""
    with torch.enable_grad():
        place = h.detach().requires_grad_()
        value: Tensor = activation(place)
        (slope,) = torch.autograd.grad(value.sum(), place)
    return value.detach(), slope


def _linear(fan_in: int, fan_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with uniform weights of variance 1 / (3 fan_in), drawn from the generator."""
    with torch.random.fork_rng(devices=()):  # its own draw leaves the global generator alone
        layer = nn.Linear(fan_in, fan_out)
    bound = 1 / math.sqrt(fan_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
