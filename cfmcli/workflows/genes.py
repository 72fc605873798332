"""Genes: expression along trajectories, as a table of trends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfmcli import io
from cfmcli.data.arrays import Array
from cfmcli.data.neighbours import Rows
from cfmcli.data.snapshots import Cloud
from cfmcli.data.table import Table
from cfmcli.data.transforms import some
from cfmcli.data.trends import change, means, quantiles
from cfmcli.errors import ConfigError
from cfmcli.flows.streams import Streams
from cfmcli.io.selection import matched
from cfmcli.model import Model
from cfmcli.requests import GenesRequest, Listener, Outcome, Runtime, Vote
from cfmcli.workflows import fate, interpolate, points, runtime, targets, verbs
from cfmcli.workflows.evaluate import TABLES

LEVELS = {"q25": 0.25, "q50": 0.5, "q75": 0.75}
POOR = 0.3
"""Correlation of a gene with its reconstruction below which its trend is unreliable."""


def genes(request: GenesRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write means and quartiles of genes along trajectories, ordered by largest change.

    Raises:
        CfmError: see the command line's exit codes.
    """
    paths = request.paths
    if sum(map(bool, (request.label_key, request.fate_key, request.fates))) > 1:
        raise ConfigError(
            "Give one of --label-key, --fate-key and --fates: it groups the trajectories."
        )
    how = verbs.motion_of(paths.integration, where)
    inputs = verbs.given(paths.data, paths.cells, request.fates)
    io.claim(paths.output, force=where.force, inputs=inputs, suffixes=TABLES)
    model = verbs.load(paths.run, where)
    _has_genes(model)
    named = matched(request.genes, model.features, paths.run) if request.genes else set()
    times = interpolate.asked_times(model, paths)
    start = verbs.clock_time(model, paths.start)
    notes: list[str] = []
    (backed,) = points.starts(model, paths, start, Streams(where.seed), notes.append)
    cloud = backed.whole()
    about: dict[str, Any] = {"times": times, "points": len(cloud)}
    if paths.dry_run:
        return Outcome({}, about, (f"would follow {len(cloud)} points at {len(times)} times",))
    guide = model.guide(cloud.obs, paths.condition)
    x, last = np.asarray(cloud.points, dtype=np.float64), model.timeline.times[-1]
    went = how.trajectories(model.flow, x, [*times, last], cloud.time, guide)
    *places, end = went.points
    trips = [(cloud.time, time) for time in (*times, last)]
    about |= how.told(model.flow, trips, paths.condition.guidance)
    if request.fate_key:
        ballot = targets.ballot(model, Vote(request.fate_key), last, Streams(where.seed))
        groups = Groups.of(ballot.among.classes, ballot.votes(end))
    else:
        groups = _groups(request, cloud)
    about |= {"groups": groups.sizes, "units": model.chain.units}
    groups = groups.weighted(len(cloud) * cloud.weights)
    growth = [went.masses(k, np.ones(len(cloud))) for k in range(len(times))]
    frames = Frames(model, places, groups, np.stack(growth))
    changes = frames.changes
    # Groups with less than one trajectory count proportionally.
    size = np.abs(changes) * np.minimum(groups.mass.sum(axis=0), 1)[:, None]
    ranked = np.argsort(-size.max(axis=0), kind="stable")
    kept = [k for k in ranked if not named or model.features[k] in named]
    shown = np.array(kept if named else kept[: request.top])
    fidelity = _fidelity(model, paths.data, shown)
    _write(paths.output, frames, times, shown, fidelity)
    told = [
        {
            "gene": model.features[k],
            "change": dict(zip(groups.names, changes[:, k].tolist(), strict=True)),
        }
        for k in shown
    ]
    figures = about | _judged(model, shown, fidelity, told)
    return Outcome({"trends": paths.output}, figures, tuple(notes))


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of points with fractional membership.

    Args:
        names: names of the G groups.
        mass: membership of each point in each group, shape (n, G).
    """

    names: tuple[str, ...]
    mass: Array

    @classmethod
    def of(cls, names: Sequence[str], mass: Array) -> "Groups":
        """Build groups, dropping those without any members."""
        some = np.flatnonzero(mass.any(axis=0))
        return cls(tuple(names[k] for k in some.tolist()), mass[:, some])

    def weighted(self, weights: Array) -> "Groups":
        """Multiply memberships by weights of the points, shape (n,)."""
        return Groups(self.names, self.mass * weights[:, None])

    @property
    def shares(self) -> Array:
        """Weight of each point within each group, columns of sum 1, shape (n, G)."""
        return np.asarray(self.mass / self.mass.sum(axis=0))

    @property
    def sizes(self) -> dict[str, float]:
        """Number of points of each group, with fractional members."""
        return dict(zip(self.names, self.mass.sum(axis=0).tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Frames:
    """Points along trajectories, decoded one time after another to bound memory.

    Args:
        model: the model whose coordinates they are in.
        places: flow coordinates at each time, shape (n, D).
        groups: groups of the n points, weighted by their initial masses.
        growth: mass at each time per unit of each point's initial mass, shape (T, n).
    """

    model: Model
    places: Sequence[Array]
    groups: Groups
    growth: Array

    def __iter__(self) -> Iterator[tuple[Array, Groups]]:
        """Yield points at each time, data units, shape (n, d), with groups weighted by mass."""
        for place, grown in zip(self.places, self.growth, strict=True):
            yield self.model.chain.inverse(place), self.groups.weighted(grown)

    @property
    def changes(self) -> Array:
        """Largest change of each gene in each group, in standard deviations, shape (G, d)."""
        trends, first, second = [], [], []
        for values, groups in self:
            trends.append(means(values, groups.shares))
            weights = groups.mass.sum(axis=1)
            first.append(np.average(values, axis=0, weights=weights))
            spread = np.average((values - first[-1]) ** 2, axis=0, weights=weights)
            second.append(spread + first[-1] ** 2)
        scale = np.sqrt(np.maximum(np.mean(second, axis=0) - np.mean(first, axis=0) ** 2, 0.0))
        return np.stack([change(own, scale) for own in np.stack(trends, axis=1)])


def _has_genes(model: Model) -> None:
    """Raise if the features of a run are not genes."""
    if model.recipe.use_rep:
        raise ConfigError(
            f"The run was fitted on obsm '{model.recipe.use_rep}', from which no way leads back "
            'to genes: fit on X with --transform "log1p,pca:n=50".'
        )


def _groups(request: GenesRequest, cloud: Cloud) -> Groups:
    """Group the starting points: by an annotation, by their fates, or all in one."""
    if request.fates:
        names, mass = fate.read(request.fates, cloud.obs.index)
        return Groups.of(names, mass)
    if not request.label_key:
        return Groups(("all",), np.ones((len(cloud), 1)))
    io.require(Table(cloud.points, (), cloud.obs, "the starting points"), request.label_key)
    labels = np.array(targets.names(cloud.obs[request.label_key]))
    if (labels == "").any():
        runtime.warn(
            f"{int((labels == '').sum())} starting points have no '{request.label_key}' and are "
            "in no group."
        )
    names = tuple(map(str, np.unique(labels[labels != ""])))
    return Groups(names, np.stack([labels == name for name in names], axis=1).astype(float))


def _fidelity(model: Model, data: str, shown: Rows) -> Array | None:
    """Correlation of genes with their reconstruction, shape (len(shown),).

    For counts that the transform normalises, the normalised ones are compared. None if the
    transform is lossless, or without input to compare with.
    """
    if model.chain.invertible or not data:
        return None
    values = points.read_points(model, data).values
    decoded = model.chain.inverse(model.encode(values))[:, shown]
    given = model.chain.restored(values)[:, shown]
    apart = (part - part.mean(axis=0) for part in (given, decoded))
    first, second = (part / np.maximum(np.linalg.norm(part, axis=0), 1e-300) for part in apart)
    return np.asarray((first * second).sum(axis=0))


def _write(
    path: str, frames: Frames, times: list[float], shown: Rows, fidelity: Array | None
) -> None:
    """Write the trends, one row per gene, group and time."""
    import pandas as pd

    names = frames.groups.names
    found = np.empty((len(shown), len(names), len(times), 1 + len(LEVELS)))
    for t, (values, groups) in enumerate(frames):
        own, shares = values[:, shown], groups.shares
        found[:, :, t, 0] = means(own, shares).T
        for g in range(len(names)):
            levels = quantiles(own, shares[:, g], tuple(LEVELS.values()))
            found[:, g, t, 1:] = levels.T
    genes = [frames.model.features[k] for k in shown]
    index = pd.MultiIndex.from_product([genes, names, times], names=["gene", "group", "time"])
    rows = index.to_frame(index=False)
    columns = {"mean": 0, **{name: k + 1 for k, name in enumerate(LEVELS)}}
    numbers = {name: found[..., k].ravel() for name, k in columns.items()}
    numbers["change"] = np.repeat(frames.changes[:, shown].T.ravel(), len(times))
    if fidelity is not None:
        numbers["reconstruction"] = np.repeat(fidelity, len(names) * len(times))
    values = np.stack(list(numbers.values()), axis=1)
    order = ("gene", "time", "group", *numbers)
    io.write_table(path, Table(values, tuple(numbers), rows, columns=order))


def _judged(
    model: Model, shown: Rows, fidelity: Array | None, told: list[dict[str, Any]]
) -> dict[str, Any]:
    """Build the JSON output of genes; warn if some are badly reconstructed."""
    if fidelity is None:
        return {"genes": told}
    poor = [model.features[k] for k, r in zip(shown, fidelity, strict=True) if not r >= POOR]
    if poor:
        runtime.warn(
            f"{len(poor)} of the {len(told)} genes come back from the transform with a "
            f"correlation below {POOR:g} with the input, so their trends are doubtful: "
            f"{some(poor)}. Keep more components (--transform pca:n=...)."
        )
    rows = [row | {"reconstruction": float(r)} for row, r in zip(told, fidelity, strict=True)]
    return {"genes": rows, "median_reconstruction": float(np.median(fidelity))}
