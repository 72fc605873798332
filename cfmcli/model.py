"""The model: a recipe, a clock, a transform and trained weights, with the verbs that use them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cfmcli import catalog, checkpoint
from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Array
from cfmcli.data.times import Timeline
from cfmcli.data.transforms import Chain, load_chain
from cfmcli.errors import CheckpointError, ConfigError, DataError
from cfmcli.flows.densities import Base, Density, standard_normal
from cfmcli.flows.dynamics import Flow, Paths
from cfmcli.flows.fields import MLP, Field
from cfmcli.flows.plans import systematic
from cfmcli.flows.solvers import Adaptive, Solver
from cfmcli.flows.streams import Streams
from cfmcli.recipe import Recipe, from_layers

if TYPE_CHECKING:
    from cfmcli.data.table import Matrix


@dataclass(frozen=True)
class LogProb:
    """Log densities of points.

    Args:
        values: log p in nats, in the stated coordinates, shape (n,).
        error: standard error of each, shape (n,); zero where exact.
        stochastic: whether the divergence was estimated.
        base: name of the source density.
        coordinates: what the density is a density of.
        nfe: evaluations of the field, at most for a chunk.
    """

    values: Array
    error: Array
    stochastic: bool
    base: str
    coordinates: str
    nfe: int


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
    """

    recipe: Recipe
    timeline: Timeline
    chain: Chain
    field: Field
    clouds: tuple[Cloud, ...]
    gaussian_source: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that points must have."""
        return self.chain.features

    @property
    def dim(self) -> int:
        """Dimension D of flow coordinates."""
        return len(self.chain.outputs)

    @cached_property
    def flow(self) -> Flow:
        """The flow in flow coordinates."""
        return Flow(self.field, self.timeline)

    def encode(self, points: "Matrix") -> Array:
        """Data units -> flow coordinates.

        Raises:
            DataError: if the number of features differs from the model's.
        """
        if points.shape[1] != len(self.features):
            raise DataError(
                f"The points have {points.shape[1]} features, the model expects "
                f"{len(self.features)}: {', '.join(self.features[:5])}..."
            )
        return self.chain.forward(points)

    def cloud(self, time: float, *, held_out: bool = False) -> Cloud | None:
        """The stored snapshot at a clock time, if there is one."""
        found = [c for c in self.clouds if c.time == time and (held_out or not c.held_out)]
        return found[0] if found else None

    def source(self, n: int, streams: Streams) -> Array:
        """n points of the source in flow coordinates: normal, or resampled from its cloud."""
        rng = streams.numpy("source")
        if self.gaussian_source:
            return rng.standard_normal((n, self.dim))
        cloud = self.kept[0]
        return np.asarray(cloud.points[systematic(cloud.weights, n, rng)], dtype=np.float64)

    @property
    def kept(self) -> tuple[Cloud, ...]:
        """The stored snapshots that the model learnt from."""
        return tuple(c for c in self.clouds if not c.held_out)

    def sample(
        self, n: int, time: float | None = None, *, solver: Solver | str = "dopri5", seed: int = 0
    ) -> Array:
        """Draw n source points and carry them to a clock time (default: the last), (n, d).

        Raises:
            ConfigError: if n is not positive, or the time lies outside the snapshots.
        """
        if n < 1:
            raise ConfigError(f"Cannot draw {n} samples: expected at least 1.")
        start = self.source(n, Streams(seed))
        end = self.timeline.times[-1] if time is None else time
        paths = self.flow.paths(start, (self.timeline.times[0], end), as_solver(solver))
        return self.chain.inverse(paths.points[-1])

    def transport(
        self,
        points: "Matrix",
        start: float | None = None,
        end: float | None = None,
        *,
        solver: Solver | str = "dopri5",
    ) -> Array:
        """Carry points from one clock time (default: the first) to another (the last), (n, d)."""
        times = (
            self.timeline.times[0] if start is None else start,
            self.timeline.times[-1] if end is None else end,
        )
        paths = self.flow.paths(self.encode(points), times, as_solver(solver))
        return self.chain.inverse(paths.points[-1])

    def interpolate(
        self,
        points: "Matrix",
        times: Sequence[float],
        start: float | None = None,
        *,
        solver: Solver | str = "dopri5",
    ) -> Array:
        """Positions of points at clock times, shape (T, n, d).

        Args:
            points: positions at the start time, shape (n, d), data units.
            times: clock times asked for, in any order.
            start: clock time of the points (default: the first).
            solver: integrator or its spec.
        """
        begin = self.timeline.times[0] if start is None else start
        paths = self.trajectories(self.encode(points), times, begin, as_solver(solver))
        return np.stack([self.chain.inverse(frame) for frame in paths.points])

    def trajectories(self, x: Array, times: Sequence[float], start: float, solver: Solver) -> Paths:
        """Positions in flow coordinates at clock times in any order, before or after the start."""
        after = sorted({t for t in times if t >= start})
        before = sorted({t for t in times if t < start}, reverse=True)
        forward = self.flow.paths(x, [start, *after], solver)
        backward = self.flow.paths(x, [start, *before], solver)
        place = {t: forward.points[k + 1] for k, t in enumerate(after)}
        place |= {t: backward.points[k + 1] for k, t in enumerate(before)}
        points = np.stack([place[t] for t in times])
        return Paths(points, forward.energy + backward.energy, forward.nfe + backward.nfe)

    def log_prob(
        self,
        points: "Matrix",
        time: float | None = None,
        *,
        base: str = "auto",
        divergence: str = "auto",
        solver: Solver | str = "dopri5",
        seed: int = 0,
    ) -> LogProb:
        """Log densities of points at a clock time (default: the last), in nats.

        log p(x) = log p_0(x_0) - integral of div b + log |det of the transform|.

        Reference: Chen et al. (2018), arXiv 1806.07366, eq. 8; Albergo et al. (2023),
            arXiv 2303.08797, sec. 2.6

        Args:
            points: positions, shape (n, d), data units.
            time: clock time.
            base: spec of the source density, where the source is a cloud.
            divergence: spec of the divergence.
            solver: integrator or its spec.
            seed: seed of probes and of fitting the base.

        Raises:
            ConfigError: for a spec that does not fit, or a time outside the snapshots.
        """
        streams = Streams(seed)
        when = self.timeline.times[-1] if time is None else time
        density = self.base_density(base, streams)
        how = catalog.build("divergences", divergence)
        moved = self.flow.log_change(
            self.encode(points), when, how, as_solver(solver), streams.torch("probes")
        )
        values = density.log_prob(moved.origin) + moved.change + self.chain.log_abs_det(points)
        return LogProb(
            values,
            moved.error,
            how.stochastic(self.dim),
            density.name,
            self.chain.coordinates,
            moved.nfe,
        )

    def base_density(self, spec: str, streams: Streams) -> Density:
        """The density of the source: N(0, I) where it is Gaussian, else fitted to its cloud.

        Raises:
            ConfigError: if a density is asked for where the source is exactly N(0, I).
        """
        base: Base = catalog.build("bases", spec)
        if self.gaussian_source:
            if spec != "auto":
                raise ConfigError(
                    f"--base {spec}: the source is exactly N(0, I) here, its density needs no "
                    "fit; leave --base out."
                )
            return standard_normal(self.dim)
        cloud = self.kept[0]
        return base.fit(
            np.asarray(cloud.points, dtype=np.float64), cloud.weights, streams.numpy("base")
        )

    def on(self, device: torch.device) -> "Model":
        """The same model with its field on a device."""
        return replace(self, field=self.field.to(device))

    def pack(self) -> bytes:
        """The checkpoint's bytes."""
        arrays: dict[str, Any] = {
            f"field.{name}": value.detach().cpu().numpy()
            for name, value in self.field.state_dict().items()
        }
        arrays |= {f"transform.{name}": value for name, value in self.chain.arrays().items()}
        stored = []
        for k, cloud in enumerate(self.clouds):
            frame, facts = checkpoint.pack_frame(cloud.obs, f"cloud.{k}")
            arrays |= frame
            arrays[f"cloud.{k}.points"] = np.asarray(cloud.points, dtype=np.float32)
            arrays[f"cloud.{k}.weights"] = cloud.weights
            facts |= {"label": cloud.label, "time": cloud.time, "held_out": cloud.held_out}
            stored.append(facts)
        facts = {
            "recipe": self.recipe.to_mapping(),
            "times": self.timeline.times,
            "labels": self.timeline.labels,
            "features": self.features,
            "transforms": self.chain.kinds,
            "heads": list(self.field.heads),
            "clouds": stored,
            "gaussian_source": self.gaussian_source,
        }
        return checkpoint.pack(arrays, facts)

    @staticmethod
    def load(run: str | Path) -> "Model":
        """The model of a run folder.

        Raises:
            CheckpointError: if it is missing, unfinished, damaged or of another format.
        """
        path = Path(run) / checkpoint.MODEL
        arrays, facts = checkpoint.unpack(path)
        try:
            return _assemble(arrays, facts)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} does not hold what its header promises ({' '.join(str(error).split())}): "
                "fit again, or use the version of cfm that wrote it."
            ) from None


def as_solver(solver: Solver | str) -> Solver:
    """A solver from its spec."""
    found: Solver = catalog.build("solvers", solver) if isinstance(solver, str) else solver
    return found


def with_tolerances(spec: str, atol: float | None, rtol: float | None) -> Solver:
    """A solver from its spec, with tolerances given apart.

    Raises:
        ConfigError: if the solver has fixed steps and knows no tolerance.
    """
    solver = as_solver(spec)
    if isinstance(solver, Adaptive):
        return replace(
            solver,
            atol=solver.atol if atol is None else atol,
            rtol=solver.rtol if rtol is None else rtol,
        )
    if atol is not None or rtol is not None:
        raise ConfigError(
            f"--solver {spec} has fixed steps and knows no --atol or --rtol: leave them out, or "
            "use dopri5."
        )
    return solver


def _assemble(arrays: dict[str, Any], facts: dict[str, Any]) -> Model:
    """A model from a checkpoint's content."""
    layers = [section.items() for section in facts["recipe"].values()]
    recipe = from_layers({name: value for items in layers for name, value in items})
    chain = load_chain(facts["transforms"], _under(arrays, "transform."), facts["features"])
    timeline = Timeline(tuple(facts["times"]), tuple(facts["labels"]))
    network: MLP = catalog.build("fields", recipe.field)
    field = network.build(
        tuple(facts["heads"]), len(chain.outputs), timeline.segments, torch.Generator()
    )
    state = _under(arrays, "field.")
    field.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    clouds = tuple(
        Cloud(
            arrays[f"cloud.{k}.points"].astype(np.float64),
            arrays[f"cloud.{k}.weights"],
            checkpoint.unpack_frame(arrays, item, f"cloud.{k}"),
            item["label"],
            item["time"],
            item["held_out"],
        )
        for k, item in enumerate(facts["clouds"])
    )
    return Model(recipe, timeline, chain, field.eval(), clouds, facts["gaussian_source"])


def _under(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The arrays below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
