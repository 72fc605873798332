"""Model: a recipe, a clock, a transform and trained weights, with methods to apply them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import field as member
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from cfmcli.data.arrays import Array
from cfmcli.data.chain import Chain
from cfmcli.data.conditions import Conditions
from cfmcli.data.snapshots import Cloud
from cfmcli.data.times import Timeline
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.choice import AnySolver, deterministic
from cfmcli.flows.dynamics.displacement import Displacement, learnt
from cfmcli.flows.dynamics.estimates import dynamics
from cfmcli.flows.dynamics.flow import Flow, Pilot
from cfmcli.flows.dynamics.motion import motion
from cfmcli.flows.dynamics.solvers import Solver
from cfmcli.flows.fields import Field
from cfmcli.flows.objective.reading import Guide, Reading
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.triple import Triple
from cfmcli.recipe import Recipe
from cfmcli.requests import OWN, PLAIN, Condition, Scoring
from cfmcli.scorer import LogProb, Scorer, populations
from cfmcli.source import Source, known_growth

if TYPE_CHECKING:
    import pandas as pd

    from cfmcli.data.arrays import Matrix


@dataclass(frozen=True)
class Model:
    """A trained flow between snapshots.

    Points go in and come out in data units, as arrays of shape (n, d) with the features of
    `features`; `cfmcli.fit` and the command line wrap tables and AnnData around it.

    Args:
        recipe: settings of the fit, with all specs resolved.
        timeline: clock of the snapshots it was trained on.
        chain: transform to flow coordinates.
        field: trained network.
        clouds: all snapshots, encoded, including held-out ones.
        gaussian_source: whether the source is N(0, I) in flow coordinates.
        reading: how to interpret the heads.
        conditions: conditions of the flow, if any.
        bf16: whether points are carried by a network in bfloat16.
    """

    recipe: Recipe
    timeline: Timeline
    chain: Chain
    field: Field
    clouds: tuple[Cloud, ...]
    gaussian_source: bool = False
    reading: Reading = member(default_factory=Reading)
    conditions: Conditions = member(default_factory=Conditions)
    bf16: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that points must have."""
        return self.chain.features

    @property
    def dim(self) -> int:
        """Dimension D of flow coordinates."""
        return len(self.chain.outputs)

    @cached_property
    def flow(self) -> Flow | Displacement:
        """The flow in flow coordinates; for a method without heads, its displaced pairs."""
        told = known_growth(self.kept, self.recipe, self.timeline, self.conditions)
        if self.reading.objective.heads:
            return Flow(self.field, self.timeline, self.reading, self._pilots, self.bf16, told)
        how, rng = Triple.of(*self.recipe.triple()), Streams(self.recipe.seed).numpy("plan")
        return Displacement.between(self.kept, self.timeline, how.coupling, rng, told)

    @property
    def learnt(self) -> Flow:
        """The trained flow; raises if nothing was learnt."""
        return learnt(self.flow)

    @property
    def source(self) -> Source:
        """The source at t = 0."""
        first, second = self.kept[:2] if len(self.kept) > 1 else (None, self.kept[0])
        return Source(first, second, self.conditions, self.timeline.times[0], self.dim)

    def source_at(self, time: float, given: Condition = OWN, sde: str = "") -> Source:
        """The source reweighted by growth up to a clock time, for sampling points at that time."""
        source, span = self.source, (self.timeline.times[0], time)
        if source.cloud is None or not self.flow.varies:
            return source
        if sde and self.flow.known:
            self.flow.known.check_noise(span)
        own = source.of_class(source.cloud, given.label)
        cloud = source.conditioned(own, Streams(self.recipe.seed), given)
        x, guide = np.asarray(cloud.points, np.float64), self.guide(cloud.obs, given)
        mass = motion("dopri5").paths(self.flow, x, span, guide).masses(-1, cloud.weights)
        return replace(source, cloud=replace(cloud, weights=mass / mass.sum()))

    def _pilots(self, forward: bool) -> list[Pilot]:
        """A few stored or drawn points at the start of every gap, to choose step sizes."""
        found = []
        for gap in pairwise(self.timeline.times):
            times = gap if forward else gap[::-1]
            some = self.source.some(self.cloud(times[0]), Streams(self.recipe.seed))
            found.append(Pilot(np.asarray(some.points), times, self.guide(some.obs)))
        return found

    def guide(
        self, obs: "pd.DataFrame", given: Condition = OWN, origin: str = "the points"
    ) -> Guide | None:
        """Encode the conditions of points; None if the flow has none.

        Args:
            obs: annotations.
            given: condition chosen by the user, and the guidance scale.
            origin: origin of the points, for messages.

        Raises:
            ConfigError: if a given condition is unknown to the model, or if guidance is given and
                the fit never left the condition out.
            DataError: if a condition is missing or unknown.
        """
        told = self.conditions.told(obs, given, origin)
        if not self.conditions.width:
            return None
        if given.guidance != 1 and not self.recipe.condition_dropout:
            raise ConfigError(
                f"--guidance {given.guidance:g}: the run was fitted with --condition-dropout 0 and "
                "has not learnt to leave the condition out: fit it with --condition-dropout 0.1."
            )
        return Guide(torch.from_numpy(self.conditions.encode(told, origin)).float(), given.guidance)

    def encode(self, points: "Matrix") -> Array:
        """Transform points from data units to flow coordinates.

        Raises:
            DataError: if the number of features differs from the model's.
        """
        return self.chain.forward(points)

    def cloud(self, time: float, *, held_out: bool = False) -> Cloud | None:
        """The stored snapshot at a clock time, if any."""
        known = self.clouds if held_out else self.kept
        return next((cloud for cloud in known if cloud.time == time), None)

    @property
    def kept(self) -> tuple[Cloud, ...]:
        """The stored snapshots that the model was trained on."""
        return tuple(c for c in self.clouds if not c.held_out)

    def sample(
        self,
        n: int,
        time: float | None = None,
        *,
        given: Condition = OWN,
        solver: AnySolver = "",
        sde: str = "",
        seed: int = 0,
    ) -> Array:
        """Draw n source points and carry them to a clock time (default: the last), (n, d).

        Raises:
            ConfigError: if n is not positive, or the time lies outside the snapshots.
        """
        if n < 1:
            raise ConfigError(f"Cannot draw {n} samples: expected at least 1.")
        when = self.timeline.times[-1] if time is None else time
        cloud = self.source_at(when, given, sde).draw(n, Streams(seed), given)
        how, guide = motion(solver, sde, Streams(seed)), self.guide(cloud.obs, given)
        paths = how.paths(self.flow, cloud.points, (cloud.time, when), guide)
        return self.chain.inverse(paths.points[-1])

    def transport(
        self,
        points: "Matrix",
        start: float | None = None,
        end: float | None = None,
        *,
        guide: Guide | None = None,
        solver: AnySolver = "",
        sde: str = "",
        seed: int = 0,
    ) -> Array:
        """Carry points from one clock time (default: the first) to another (the last), (n, d)."""
        first, *_, last = self.timeline.times
        times = first if start is None else start, last if end is None else end
        how = motion(solver, sde, Streams(seed))
        paths = how.paths(self.flow, self.encode(points), times, guide)
        return self.chain.inverse(paths.points[-1])

    def interpolate(
        self,
        points: "Matrix",
        times: Sequence[float],
        start: float | None = None,
        *,
        guide: Guide | None = None,
        solver: AnySolver = "",
        sde: str = "",
        seed: int = 0,
    ) -> Array:
        """Compute positions of points at clock times, shape (T, n, d).

        Args:
            points: positions at the start time, shape (n, d), data units.
            times: requested clock times, in any order.
            start: clock time of the points (default: the first).
            guide: condition of each point, if the flow is conditional.
            solver: integrator or its spec.
            sde: diffusion of stochastic paths, a number or a spec; empty for the flow itself.
            seed: seed of the noise.
        """
        begin = self.timeline.times[0] if start is None else start
        how = motion(solver, sde, Streams(seed))
        paths = how.trajectories(self.flow, self.encode(points), times, begin, guide)
        return np.stack([self.chain.inverse(frame) for frame in paths.points])

    def log_prob(
        self,
        points: "Matrix",
        time: float | None = None,
        *,
        obs: "pd.DataFrame | None" = None,
        scoring: Scoring = PLAIN,
        solver: Solver | str = "dopri5",
        streams: Streams | None = None,
    ) -> LogProb:
        """Compute log densities of points at a clock time (default: the last), in nats.

        log p(x | c) = log p_0(x_0 | c) - integral of div b + log |det of the transform|, from the
        source; with the opposite sign from the target; with stochastic dynamics as defined by their
        estimator.

        Reference: Chen et al. (2018), arXiv 1806.07366, eq. 8; Albergo et al. (2023),
            arXiv 2303.08797, sec. 2.6

        Args:
            points: positions, shape (n, d), data units.
            time: clock time.
            obs: conditions of the points, if the flow is conditional.
            scoring: which density is known, and how it is carried from there.
            solver: integrator of the flow or its spec.
            streams: random streams for probes, noise and the fit of the base; seed 0 if None.

        Raises:
            ConfigError: for an unsuitable spec, or a time outside the snapshots.
            DataError: if a condition is missing or unknown.
        """
        import pandas as pd

        streams, count = streams or Streams(0), points.shape[0]
        told = self.conditions.told(pd.DataFrame(index=range(count)) if obs is None else obs)
        when = self.timeline.times[-1] if time is None else time
        scorer = self.scorer(when, told, scoring, deterministic(solver), streams)
        return scorer.of(points, slice(0, count), streams)

    def scorer(
        self, time: float, told: "pd.DataFrame", scoring: Scoring, solver: Solver, streams: Streams
    ) -> Scorer:
        """Build the scorer of points at a clock time.

        Args:
            time: clock time.
            told: conditions of all points to be scored.
            scoring: which density is known, and how it is carried from there.
            solver: integrator of the flow.
            streams: random streams for the fit of the base, probes and populations.

        Raises:
            ConfigError: for an unsuitable spec, or a time outside the snapshots.
            DataError: if a condition is missing or unknown.
        """
        flow, known, end = self.learnt, self.source, self.timeline.times[0]
        if scoring.known == "target":
            known, end = replace(known, cloud=self.kept[-1]), self.timeline.times[-1]
        how, span = dynamics(scoring, solver, streams.torch("probes")), (time, end)
        groups = known.densities(scoring.base, told, streams, self.chain.outputs)
        guide = self.guide(told)
        drawn = populations(groups, guide, streams) if flow.varies else []
        return Scorer(flow, self.chain, span, how, groups, guide, drawn)

    def on(self, device: torch.device) -> "Model":
        """Move the field to a device, in place, and return the model with it."""
        return replace(self, field=self.field.to(device))
