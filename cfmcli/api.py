"""The Python API: the commands as methods on arrays, DataFrames and AnnData."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from cfmcli import io, model, recipe, stored
from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Table
from cfmcli.data.times import Timeline
from cfmcli.errors import ConfigError, DataError
from cfmcli.flows.dynamics.choice import AnySolver, deterministic
from cfmcli.flows.dynamics.estimates import grain
from cfmcli.flows.dynamics.motion import motion
from cfmcli.flows.dynamics.solvers import Solver
from cfmcli.flows.streams import Streams
from cfmcli.keywords import CHOSEN, Guided, Scored, condition_of
from cfmcli.layers import from_layers
from cfmcli.requests import Progress, Runtime, Scoring
from cfmcli.scorer import LogProb
from cfmcli.workflows import fit as fitting
from cfmcli.workflows import intake, points, prepare, results, shards, verbs
from cfmcli.workflows.counted import not_logged
from cfmcli.workflows.journeys import Journey
from cfmcli.workflows.moved import Moved, additions
from cfmcli.workflows.run import Run
from cfmcli.workflows.scorers import Scorers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Model", "fit"]

Points = Any


@dataclass(frozen=True)
class Model:
    """A trained flow, for use in notebooks and scripts.

    Points are NumPy arrays of shape (n, d), DataFrames or AnnData in data units; results come back
    as the same kind. Times are clock times, or labels of the snapshots.

    Args:
        core: the underlying model on arrays.
        steps: optimiser steps of the fit, None if unknown.
    """

    core: model.Model
    steps: int | None = None

    @staticmethod
    def load(run: str | Path) -> "Model":
        """Load the model of a run folder.

        Raises:
            CheckpointError: if it is missing, unfinished, damaged or of another format.
        """
        return Model(stored.load(run), Run(Path(run)).metrics().get("steps"))

    def save(self, run: str | Path, *, force: bool = False) -> None:
        """Write the model as a run folder that every command can read.

        Raises:
            OutputExistsError: if a run exists there and `force` is not set.
        """
        folder = Run(Path(run))
        folder.claim((), force=force, resume=False)
        with folder.writing():
            fitting.write_model(folder, self.core, self.steps)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that points must have."""
        return self.core.features

    @property
    def timeline(self) -> Timeline:
        """The clock of the snapshots."""
        return self.core.timeline

    @property
    def clouds(self) -> tuple[Cloud, ...]:
        """The stored snapshots, in flow coordinates."""
        return self.core.clouds

    def sample(
        self,
        n: int,
        time: float | str | None = None,
        *,
        solver: AnySolver = "",
        sde: str | float = "",
        seed: int = 0,
        **condition: Unpack[Guided],
    ) -> Array:
        """Draw n source points and carry them to a time (default: the last), shape (n, d).

        Args:
            n: number of points.
            time: clock time.
            solver: integrator or its spec.
            sde: diffusion of stochastic dynamics, a number or a spec; empty for the flow itself.
            seed: seed of the draw, and of the noise.
            condition: label, covariates and guidance, if the flow is conditional.
        """
        when, given = self._clock(time, -1), condition_of(condition)
        return self.core.sample(n, when, given=given, solver=solver, sde=str(sde), seed=seed)

    def transport(
        self,
        data: Points,
        start: float | str | None = None,
        end: float | str | None = None,
        *,
        solver: AnySolver = "",
        sde: str | float = "",
        seed: int = 0,
        **condition: Unpack[Guided],
    ) -> Points:
        """Carry points from one time (default: the first) to another (default: the last).

        Args:
            data: points, with their conditions if the flow is conditional.
            start: clock time of the points, or "own" to read each point's time from its column.
            end: clock time of the destination.
            solver: integrator or its spec.
            sde: diffusion of stochastic dynamics, a number or a spec; empty for the flow itself.
            seed: seed of the noise.
            condition: label, covariates and guidance, replacing the points' own.

        Returns:
            An array for an array; a DataFrame with its features moved; a copy of an AnnData with
            `obsm["X_cfm"]`, velocities and, if the transform has an inverse, layers added.
        """
        table, given = self._table(data), condition_of(condition)
        begin = start if start == points.OWN else self._clock(start, 0)
        stop = self._clock(end, -1)
        starts = points.each_time(self.core, table, begin, "start")
        x, whole = self.core.encode(table.values), shards.of_all(self.core, len(table))
        guide = self.core.guide(table.obs, given, table.origin)
        journey = Journey(self.core, motion(solver, str(sde), Streams(seed)), starts, stop)
        paths, velocity, grown = journey.of(x, whole, guide)
        moved = Moved.of(self.core, (x, paths.points[-1], velocity), slice(None), grown)
        result = table.with_values(moved.values)
        if not io.is_anndata(data):
            found = io.like(data, result)
            return moved.columns(found) if io.is_named(data) else found
        span, how = {"start": begin, "end": stop}, results.chosen(given)
        facts = results.facts("transport", "", Runtime(), **span, nfe=paths.nfe, **how)
        added = additions(self.core, table, io.outline_of(data), moved, facts)
        return io.like(data, result, added)

    def interpolate(
        self,
        data: Points,
        times: Sequence[float | str],
        start: float | str | None = None,
        *,
        solver: AnySolver = "",
        sde: str | float = "",
        seed: int = 0,
        **condition: Unpack[Guided],
    ) -> Points:
        """Compute positions of points at several times, in any order.

        Args:
            data: points, with their conditions if the flow is conditional.
            times: clock times.
            start: clock time of the points (default: the first).
            solver: integrator or its spec.
            sde: diffusion of stochastic dynamics, a number or a spec; empty for the flow itself.
            seed: seed of the noise.
            condition: label, covariates and guidance, replacing the points' own.

        Returns:
            For an array, positions of shape (T, n, d). Else a tidy DataFrame with `trajectory`,
            `time`, the features and the annotations of the starting points.
        """
        table = self._table(data)
        guide = self.core.guide(table.obs, condition_of(condition), table.origin)
        when, begin = [verbs.clock_of(self.core, time) for time in times], self._clock(start, 0)
        frames = self.core.interpolate(
            table.values, when, begin, guide=guide, solver=solver, sde=str(sde), seed=seed
        )
        return self._tidy(table, when, frames) if io.is_named(data) else frames

    def log_prob(
        self,
        data: Points,
        time: float | str | None = None,
        *,
        solver: Solver | str = "dopri5",
        seed: int = 0,
        **how: Unpack[Scored],
    ) -> LogProb:
        """Compute log densities of points at a time (default: the last), in nats.

        Args:
            data: points, with their conditions if the flow is conditional.
            time: clock time of the points, or "own" to read each point's time from its column.
            solver: integrator of the flow or its spec.
            seed: seed of probes, noise and the fit of the base density.
            how: base, divergence, estimator, sde and known, as in `cfm likelihood`; label and
                covariates, replacing the points' own.
        """
        table = self._table(data)
        given = condition_of({k: v for k, v in how.items() if k in CHOSEN}).unguided()
        scoring = Scoring(**{k: str(v) for k, v in how.items() if k not in CHOSEN})
        told = self.core.conditions.told(table.obs, given, table.origin)
        when = time if time == points.OWN else self._clock(time, -1)
        times, streams = points.each_time(self.core, table, when, "time"), Streams(seed)
        scorer = self.core.scorer(times[0], told, scoring, deterministic(solver), streams)
        each = Scorers.of_times(scorer, times, grain(scorer.how[0], self.core.dim))
        return each.of(table.values, slice(0, len(table)), streams)

    def _clock(self, time: float | str | None, usual: int) -> float:
        """Resolve a clock time: a number, a snapshot's label, or None for the usual snapshot."""
        return self.timeline.times[usual] if time is None else verbs.clock_of(self.core, time)

    def _table(self, data: Points) -> Table:
        """Read points with the model's features, on the scale that it was fitted to."""
        return not_logged(self.core.chain, self._named(data))

    def _named(self, data: Points) -> Table:
        """Read points with the model's features, matched by name if they have names."""
        how = self.core.recipe
        if not io.is_named(data):
            table = io.from_object(data)
            return table.with_values(table.values, points.counted(self.core, table))
        inside = io.is_anndata(data)
        layer, rep = (how.layer, how.use_rep) if inside else ("", "")
        wanted = io.Selection(self.features, layer=layer, use_rep=rep)
        return intake.adopt(io.from_object(data, wanted), self.features, "the model")

    def _tidy(self, table: Table, times: Sequence[float], frames: Array) -> "pd.DataFrame":
        """Arrange positions at several times as rows of a DataFrame."""
        import pandas as pd

        taken = [name for name in ("trajectory", "time") if name in self.features]
        if taken:
            raise DataError(
                f"'{taken[0]}' is a feature, and what interpolate calls a column of its own: give "
                "an array, which gets one back, or fit to data with another name for it."
            )
        count = len(times)
        stacked = np.concatenate(list(frames))
        found = pd.DataFrame(stacked, columns=list(self.features))
        found.insert(0, "trajectory", np.tile(table.obs.index, count))
        found.insert(1, "time", np.repeat(np.asarray(times, dtype=float), len(table)))
        notes = table.obs.drop(columns=[c for c in found.columns if c in table.obs.columns])
        repeated = pd.concat([notes] * count, ignore_index=True)
        return pd.concat([found, repeated], axis=1)


def fit(*data: Points, device: str = "auto", threads: int = 0, **settings: Any) -> Model:
    """Fit a flow between point clouds in memory.

    Args:
        data: a source and a target, clouds in time order, or one object with a `time_key`; NumPy
            arrays of shape (n, d), DataFrames or AnnData.
        device: auto, cpu, cuda, cuda:I or mps.
        threads: number of CPU threads; 0 for one, or for up to 4 of those that the machine allows
            if a layer of the network holds a million values or more (its width times a batch).
        settings: recipe settings by name: method="otcfm", steps=3000, time_key="day", ...

    Returns:
        The trained model.

    Raises:
        CfmError: the same errors as the command line's.
    """
    if data and settings.get("from_run"):
        raise ConfigError("from_run takes the points of that run: give no data beside it.")
    if not (data or settings.get("from_run")):
        raise ConfigError("There is nothing to fit: give one or more clouds.")
    names = tuple(f"data[{k}]" for k in range(len(data)))
    how = from_layers(settings, {"inputs": names})
    tables = [_from(item, how) for item in data]
    where = Runtime(device=device, threads=threads, seed=how.seed)
    blocks: list[Progress] = []
    core = fitting.learn(how, tables, where, blocks.append)
    return Model(core, blocks[-1].done if blocks else 0)


def _from(item: Points, how: recipe.Recipe) -> Table:
    """Convert an object to a table, with columns selected by the recipe."""
    try:
        return io.from_object(item, prepare.selection(how))
    except TypeError as error:
        raise DataError(
            f"Cannot read points from a {type(item).__name__} ({error}): give an array of shape "
            "(n, d), a DataFrame or an AnnData."
        ) from None
