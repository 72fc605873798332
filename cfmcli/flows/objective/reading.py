"""Reading: computes velocity and score of a gap from a field's heads."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from cfmcli.errors import ConfigError
from cfmcli.flows.fields import Asked, Field
from cfmcli.flows.objective.objectives import (
    Objective,
    Outputs,
    Place,
    Velocity,
    score_from_velocity,
)
from cfmcli.flows.path.interpolants import Interpolant, Linear
from cfmcli.flows.view import once

Heads = Callable[[Tensor, Tensor, Tensor | None], Outputs]

FROM_VELOCITY = 1e-3
"""Distance from the ends within which a score is not computed from a velocity."""

THIN = 1e-3
"""Smallest standard deviation of a latent for which -eta / gamma is not dominated by error."""

NO_SCORE = (
    "This run has no score, so its dynamics cannot be stochastic: a velocity tells the score only "
    "of an independent Gaussian source. Fit with --method sf2m or si, or with --source gaussian "
    "--coupling independent."
)


@dataclass(frozen=True)
class Reading:
    """How to interpret the heads, given what they were trained on.

    Args:
        objective: what each head was regressed on.
        interpolant: the path they were trained on.
        normal_source: whether x0 is N(0, I) and independent of x1, so the velocity gives the score.
    """

    objective: Objective = field(default_factory=Velocity)
    interpolant: Interpolant = field(default_factory=Linear)
    normal_source: bool = False

    @property
    def has_score(self) -> bool:
        """Whether a score is available, so that dynamics may be stochastic."""
        return self.objective.has_score or self.normal_source

    @cached_property
    def margin(self) -> float:
        """Distance that t keeps from the ends of a gap when a velocity is evaluated."""
        return max(self.interpolant.t_margin, self.objective.margin)

    @cached_property
    def score_margin(self) -> float:
        """Distance that t keeps from the ends of a gap when a score is evaluated."""
        least = self._thin if self.objective.has_score else FROM_VELOCITY
        return max(self.margin, least)

    @property
    def _thin(self) -> float:
        """First time at which the latent is wide enough to compute a score; 0 if it never is."""
        t = torch.linspace(0, 0.5, 501, dtype=torch.float64)[:, None]
        wide = (self.interpolant.variance(t) >= THIN**2).flatten()
        return float(t[wide][0]) if wide.any() else 0.0

    def noise(self, t: Tensor) -> Tensor:
        """Variance of the normal part of x_t that is independent of x1, shaped as t."""
        variance = self.interpolant.variance(t)
        if not self.normal_source:
            return variance
        return variance + self.interpolant.alpha_at(t).square()

    def blur(self, t: Tensor) -> Tensor:
        """Variance of the normal part of x_t that the score refers to, shaped as t.

        With a score or denoiser head that is the path's own latent; with a velocity alone, the
        normal source as well.
        """
        return self.interpolant.variance(t) if self.objective.has_score else self.noise(t)

    def ends_at(self, t: float) -> tuple[float, float]:
        """Coefficients a and beta of x_t = a z + beta x1, for a normal source."""
        clock = torch.full((1, 1), t, dtype=torch.float64)
        return float(self.noise(clock).sqrt()), float(self.interpolant.rates(clock).beta)

    def eta(self, velocity: Tensor, t: float, x: Tensor) -> Tensor:
        """E[z | x_t = x] of x_t = a z + beta x1 from the velocity, (B, D), for a normal source.

        b = (d beta/dt / beta) x + (da/dt - a (d beta/dt) / beta) eta.
        """
        r = self.interpolant.rates(torch.full((1, 1), t, dtype=torch.float64))
        scale = (r.alpha.square() + r.gamma.square()).sqrt()
        rate = (r.alpha * r.alpha_rate + r.gamma * r.gamma_rate) / scale
        growth = r.beta_rate / r.beta
        return (velocity - float(growth) * x) / float(rate - scale * growth)

    def velocity(self, outputs: Outputs, t: Tensor, x: Tensor) -> Tensor:
        """The velocity at path times t, shape (B, 1), and points x, shape (B, D)."""
        return self.objective.velocity(outputs, self._place(t, x, self.margin))

    def score(self, outputs: Outputs, t: Tensor, x: Tensor) -> Tensor:
        """The score at path times t, shape (B, 1), and points x, shape (B, D).

        Raises:
            ConfigError: if the heads do not give a score.
        """
        place = self._place(t, x, self.score_margin)
        found = self.objective.score(outputs, place)
        if found is not None:
            return found
        if not self.normal_source:
            raise ConfigError(NO_SCORE)
        return score_from_velocity(self.objective.velocity(outputs, place), place)

    def _place(self, t: Tensor, x: Tensor, margin: float) -> Place:
        """Points and times, clamped away from the ends."""
        return Place(t.clamp(margin, 1 - margin), x, self.interpolant)


@dataclass(frozen=True, eq=False)
class Guide:
    """Conditions of points, with the guidance scale.

    Args:
        values: one condition per point, shape (B, C).
        guidance: w of classifier-free guidance: 0 ignores the condition, 1 is the conditional flow
            itself, larger values exaggerate it.
    """

    values: Tensor
    guidance: float = 1.0

    def of(self, index: slice | Tensor) -> "Guide":
        """Select the conditions of some points."""
        return Guide(self.values[index], self.guidance)


@dataclass(frozen=True, eq=False)
class Drift:
    """Velocity and score of one gap as functions of inner time s = segment + t and points.

    Args:
        field: the trained field.
        reading: how to interpret its heads.
        segment: number of the gap.
        guide: conditions of the points, None if the field has none.
    """

    field: Field
    reading: Reading
    segment: int = 0
    guide: Guide | None = None

    def velocity(self, s: Tensor, x: Tensor) -> Tensor:
        """b(s, x) for s of shape (B, 1) and x of shape (B, D)."""
        return self.reading.velocity(*self._told(s, x, self.reading.margin))

    def rates(self, s: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """b(s, x), and g(s, x) of shape (B, 1) if there is growth."""
        told = self._told(s, x, self.reading.margin)
        velocity = self.reading.velocity(*told)
        grows = self.reading.objective.has_growth
        return (velocity, told[0]["growth"]) if grows else (velocity,)

    def score(self, s: Tensor, x: Tensor) -> Tensor:
        """grad log rho_s(x) for s of shape (B, 1) and x of shape (B, D)."""
        return self.reading.score(*self._told(s, x, self.reading.score_margin))

    def both(self, s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity and score from one evaluation, with t clamped to where a score is defined."""
        told = self._told(s, x, self.reading.score_margin)
        return self.reading.velocity(*told), self.reading.score(*told)

    def traced(self, s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """b(s, x), shape (B, D), and its exact divergence, shape (B,).

        The velocity is linear in heads and x, with coefficients of t alone, so its divergence is
        the same combination of the traces of the heads' Jacobians and of D in place of x.
        """
        outputs, t, _ = self._told(s, x, self.reading.margin, self.field.traced)
        traces = x.new_full((len(x), 1), x.shape[1])
        found = self.reading.velocity(outputs, t, torch.cat([x, traces], dim=1))
        return found[:, :-1], found[:, -1]

    def _told(
        self, s: Tensor, x: Tensor, margin: float, heads: Heads | None = None
    ) -> tuple[Outputs, Tensor, Tensor]:
        """Head outputs, path time and points."""
        start, end, clock = self.segment, self.segment + 1, once(s)
        # The exact end already belongs to the next gap.
        last = end * (1 - torch.finfo(s.dtype).eps)
        inside = clock.clamp(start + margin, min(end - margin, last)).expand_as(s)
        return self._guided(inside, x, heads or self.field.asked), clock - start, x

    def _guided(self, s: Tensor, x: Tensor, heads: Heads) -> Outputs:
        """Guided outputs, null + w (conditional - null).

        Reference: Ho & Salimans (2022), arXiv 2207.12598, eq. 6
        """
        guide = self.guide
        if guide is None or guide.guidance == 1:
            return heads(s, x, guide.values if guide else None)
        null = heads(s, x, guide.values * 0)
        if guide.guidance == 0:
            return null
        with_it, w = heads(s, x, guide.values), guide.guidance
        return Asked(null, lambda name: null[name] + w * (with_it[name] - null[name]))


@dataclass(frozen=True, eq=False)
class Local:
    """Velocity and score of one gap as functions of its own time t in [0, 1].

    Args:
        drift: velocity and score of the gap.
    """

    drift: Drift

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """b(t, x), shape (B, D)."""
        return self.drift.velocity(self._inner(t), x)

    def score(self, t: Tensor, x: Tensor) -> Tensor:
        """grad log rho_t(x), shape (B, D)."""
        return self.drift.score(self._inner(t), x)

    def both(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity and score from one evaluation, with t clamped to where a score is defined."""
        return self.drift.both(self._inner(t), x)

    def traced(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity and its exact divergence, shape (B,)."""
        return self.drift.traced(self._inner(t), x)

    def of(self, rows: Tensor) -> "Local":
        """Restrict to some of the points that the conditions belong to."""
        guide = self.drift.guide
        return Local(replace(self.drift, guide=guide.of(rows))) if guide else self

    def _inner(self, t: Tensor) -> Tensor:
        """Inner time of a path time; a single value if all points share it."""
        return (once(t) + self.drift.segment).expand_as(t)
