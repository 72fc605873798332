"""Choices of training that the study tries: settings, and what no setting reaches."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cfmcli.data.arrays import Array
from cfmcli.flows import fields
from cfmcli.flows.training import tasks
from cfmcli.flows.training.schedule import WARM_UP, Schedule

Curve = Callable[[float], float]


@dataclass(frozen=True)
class Choice:
    """Something other than the defaults.

    Args:
        settings: of the recipe.
        network: options of the network.
        patches: owner, attribute and what it is instead, where no setting reaches.
        paced: whether it has as many steps as take the time of the defaults.
    """

    settings: dict[str, Any]
    network: dict[str, Any]
    patches: tuple[tuple[Any, str, Any], ...] = ()
    paced: bool = False

    def __add__(self, other: "Choice") -> "Choice":
        return Choice(
            self.settings | other.settings,
            self.network | other.network,
            self.patches + other.patches,
            self.paced or other.paced,
        )

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings, with those of the network."""
        options = ",".join(f"{name}={value}" for name, value in self.network.items())
        return self.settings | {"field": f"mlp:{options}" if options else "mlp"}


def setting(name: str, value: Any, paced: bool = False) -> Choice:
    """A setting of the recipe."""
    return Choice({name: value}, {}, paced=paced)


def network(name: str, value: Any, paced: bool = False) -> Choice:
    """An option of the network."""
    return Choice({}, {name: value}, paced=paced)


def patched(owner: Any, name: str, instead: Any) -> Choice:
    """What no setting reaches."""
    return Choice({}, {}, ((owner, name, instead),))


def falling(curve: Curve) -> Choice:
    """A learning rate that falls along a curve on [0, 1] after the warm-up."""

    def rate(self: Schedule, step: int, turn: int = 0, best: int = 0) -> float:
        warm = max(1.0, WARM_UP * self.steps)
        rest = max(0.0, step - warm) / max(1.0, self.steps - warm)
        return self.lr * min(1.0, (step + 1) / warm) * curve(rest)

    return patched(Schedule, "rate", rate)


def last(share: float, shape: Curve) -> Curve:
    """A constant that falls along a shape in the last share of the steps."""
    return lambda rest: shape(max(0.0, (rest - 1 + share) / share))


def zeroed(build: Callable[..., fields.Field]) -> Callable[..., fields.Field]:
    """A network whose last layer is zero at first."""

    def built(*given: Any) -> fields.Field:
        field = build(*given)
        for head in field.heads.values():
            for p in list(head.parameters())[-2:]:
                torch.nn.init.zeros_(p)
        return field

    return built


def uniform(count: int, per_batch: int, rng: np.random.Generator) -> Array:
    """Independent uniform times."""
    return rng.random(count)


def logistic(count: int, per_batch: int, rng: np.random.Generator) -> Array:
    """Logit-normal times (Esser et al. 2024, arXiv 2403.03206)."""
    return np.asarray(1 / (1 + np.exp(-rng.standard_normal(count))))


CHOICES: dict[str, Choice] = {
    "default": Choice({}, {}),
    "schedule=cosine": falling(lambda rest: 0.5 * (1 + math.cos(math.pi * rest))),
    "schedule=linear": falling(lambda rest: 1 - rest),
    "schedule=stable-linear": falling(last(0.3, lambda u: 1 - u)),
    "schedule=stable-sqrt": falling(last(0.3, lambda u: 1 - math.sqrt(u))),
    **{f"ema={x:g}": setting("ema", x) for x in (0.0, 0.9, 0.999)},
    "ema=of-step": setting("ema", 1 - 1e-9),
    "times=uniform": patched(tasks, "stratified", uniform),
    "times=logit-normal": patched(tasks, "stratified", logistic),
    **{f"batch={n}": setting("batch_size", n, paced=True) for n in (128, 512, 1024)},
    **{f"lr={x:g}": setting("lr", x) for x in (0.003, 0.005, 0.02)},
    **{f"width={n}": network("width", n, paced=True) for n in (64, 256)},
    **{f"depth={n}": network("depth", n, paced=True) for n in (2, 4)},
    **{f"activation={name}": network("activation", name) for name in ("silu", "tanh", "selu")},
    "init=zero-last": patched(fields.MLP, "build", zeroed(fields.MLP.build)),
    **{f"steps={n}": setting("steps", n) for n in (500, 2000, 3000, "auto")},
}


def choice(name: str) -> Choice:
    """The choice of a name, or of several joined by +."""
    first, *others = (CHOICES[part] for part in name.split("+"))
    return sum(others, first)
