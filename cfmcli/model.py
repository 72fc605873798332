"""The model: a recipe, a clock, a transform and trained weights, with the verbs that use them."""

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
        recipe: how it was fitted, every spec resolved.
        timeline: clock of the snapshots it learnt from.
        chain: transform to flow coordinates.
        field: trained heads.
        clouds: the snapshots, encoded, the held-out ones too.
        gaussian_source: the source is N(0, I) in flow coordinates.
        reading: what the heads mean.
        conditions: what the flow is conditional on, if anything.
        bf16: points are carried by a network in bfloat16.
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
        """The flow in flow coordinates; of a method without heads, its pairs."""
        told = known_growth(self.kept, self.recipe, self.timeline, self.conditions)
        if self.reading.objective.heads:
            return Flow(self.field, self.timeline, self.reading, self._pilots, self.bf16, told)
        how, rng = Triple.of(*self.recipe.triple()), Streams(self.recipe.seed).numpy("plan")
        return Displacement.between(self.kept, self.timeline, how.coupling, rng, told)

    @property
    def learnt(self) -> Flow:
        """The flow, refused where nothing was learnt."""
        return learnt(self.flow)

    @property
    def source(self) -> Source:
        """What t = 0 is."""
        first, second = self.kept[:2] if len(self.kept) > 1 else (None, self.kept[0])
        return Source(first, second, self.conditions, self.timeline.times[0], self.dim)

    def source_at(self, time: float, given: Condition = OWN, sde: str = "") -> Source:
        """The source as it is drawn from for points at a clock time: by what they have become."""
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
        """A few stored or drawn points at the start of every gap."""
        found = []
        for gap in pairwise(self.timeline.times):
            times = gap if forward else gap[::-1]
            some = self.source.some(self.cloud(times[0]), Streams(self.recipe.seed))
            found.append(Pilot(np.asarray(some.points), times, self.guide(some.obs)))
        return found

    def guide(
        self, obs: "pd.DataFrame", given: Condition = OWN, origin: str = "the points"
    ) -> Guide | None:
        """The conditions that points are carried under; None where the flow has none.

        Args:
            obs: annotations.
            given: what is chosen of the conditions, and the guidance.
            origin: where the points are from, for messages.

        Raises:
            ConfigError: if something is given that the model does not know.
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
        """Data units -> flow coordinates.

        Raises:
            DataError: if the number of features differs from the model's.
        """
        return self.chain.forward(points)

    def cloud(self, time: float, *, held_out: bool = False) -> Cloud | None:
        """The stored snapshot at a clock time, if there is one."""
        known = self.clouds if held_out else self.kept
        return next((cloud for cloud in known if cloud.time == time), None)

    @property
    def kept(self) -> tuple[Cloud, ...]:
        """The stored snapshots that the model learnt from."""
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
        """Positions of points at clock times, shape (T, n, d).

        Args:
            points: positions at the start time, shape (n, d), data units.
            times: clock times asked for, in any order.
            start: clock time of the points (default: the first).
            guide: the condition of each point, where the flow is conditional.
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
        """Log densities of points at a clock time (default: the last), in nats.

        log p(x | c) = log p_0(x_0 | c) - integral of div b + log |det of the transform|, from the
        source; from the target with the opposite sign; of stochastic dynamics as their estimator
        says.

        Reference: Chen et al. (2018), arXiv 1806.07366, eq. 8; Albergo et al. (2023),
            arXiv 2303.08797, sec. 2.6

        Args:
            points: positions, shape (n, d), data units.
            time: clock time.
            obs: conditions of the points, where the flow is conditional.
            scoring: where a density is known, and how it is carried from there.
            solver: integrator of the flow or its spec.
            streams: where probes, noise and the fit of the base come from; seed 0 without.

        Raises:
            ConfigError: for a spec that does not fit, or a time outside the snapshots.
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
        """What gives log densities of points at a clock time.

        Args:
            time: clock time.
            told: the conditions of all points that it is asked about.
            scoring: where a density is known, and how it is carried from there.
            solver: integrator of the flow.
            streams: where the fit of the base comes from.

        Raises:
            ConfigError: for a spec that does not fit, or a time outside the snapshots.
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
        """The same model with its field on a device."""
        return replace(self, field=self.field.to(device))
