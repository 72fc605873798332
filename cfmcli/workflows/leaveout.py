"""Leave out: how well methods predict unseen interior times of a time course."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from cfmcli import catalog, io, metrics
from cfmcli.data.snapshots import Cloud
from cfmcli.data.transforms import some
from cfmcli.errors import ConfigError
from cfmcli.flows.dynamics.motion import Motion
from cfmcli.flows.streams import Streams
from cfmcli.model import Model
from cfmcli.recipe import Recipe
from cfmcli.requests import LeaveOutRequest, Listener, Outcome, Progress, Runtime
from cfmcli.workflows import assemble, fit, prepare, runtime, score, targets, verbs
from cfmcli.workflows.bending import stated
from cfmcli.workflows.evaluate import TABLES
from cfmcli.workflows.folds import Fold, folds
from cfmcli.workflows.measures import DISTANCES, measures
from cfmcli.workflows.tally import FLOOR, MODEL, REFERENCE, Row, tally, write

SPLITS, FEWEST = 3, 2
NOTE = (
    "each interior time is left out in turn and predicted from the others; floor: the distance "
    f"between two halves of what was observed then, mean of {SPLITS} splits; points: how many of "
    "a prediction were compared"
)


def leave_out(
    recipes: Sequence[Recipe], request: LeaveOutRequest, where: Runtime, listen: Listener
) -> Outcome:
    """Score methods at each interior time, fitted without it, against model-free references.

    Args:
        recipes: one recipe per method, otherwise identical; the times they hold out are left out,
            one at a time, or all interior ones by default.
        request: the request.
        where: device, threads, and the seed of the first fit, of subsamples and of splits.
        listen: receives progress.

    Raises:
        CfmError: see the command line's exit codes.
    """
    how, first = verbs.motion_of(request.integration, where), recipes[0]
    _check(recipes, request, where)
    request = replace(request, by=request.by or first.label_key)
    tables = [io.read_table(path, _selection(first, request)) for path in first.inputs]
    for table in tables if first.time_key else tables[1:]:
        if request.by:
            io.require(table, request.by)
    course = folds(recipes, tables, strict=request.strict)
    about = {
        "points": {fold.observed.label: fold.sizes(request.max_points) for fold in course},
        "transform_fitted_to": "the other times" if request.strict else "all times",
        "solver": request.integration.chosen,
        "scored_in": "flow coordinates",
    }
    total = len(course) * len(recipes) * request.seeds
    if request.dry_run:
        return Outcome({}, about, (f"would fit {total} models",))
    width = catalog.build("fields", first.field).width
    device = runtime.prepare(where, width, first.batch_size)
    scorer = Scorer(request, Streams(where.seed), how, device)
    rows: list[Row] = []
    paces: list[dict[str, Any]] = []
    done = 0
    for fold in course:
        for guess in scorer.guesses(fold):
            rows += scorer.scores(fold.observed, guess)
            paces += guess.paces(fold.observed.time)
            done += guess.kind == MODEL
            listen(Progress(done, total, f"{guess.method} at {fold.observed.label}"))
        rows += scorer.floors(fold.observed)
    if request.output:
        write(request.output, rows)
    _say_what_is_empty(rows, request.by)
    outputs = {"metrics": request.output} if request.output else {}
    chosen = {"steps": paces} if paces else {}
    return Outcome(outputs, about | chosen | tally(rows), (NOTE,))


def _check(recipes: Sequence[Recipe], request: LeaveOutRequest, where: Runtime) -> None:
    """Refuse invalid or unwritable requests before any work."""
    for recipe in recipes:
        if recipe.source == "gaussian" or recipe.from_run:
            raise ConfigError(
                "cfm evaluate DATA leaves out times of a course of snapshots: leave --source and "
                "--from-run out, or score a run with cfm evaluate RUN."
            )
        assemble.triple(recipe)
        path = recipe.triple()[1]
        if path.startswith("bent") and stated(path):
            runtime.warn(
                f"{path} is taken as it stands at every time left out. If a fit to these data "
                "chose it, it has seen those times: have it chosen anew with --method auto."
            )
    fit.check_specs(recipes[0])
    if request.max_points < 2 or request.seeds < 1:
        raise ConfigError(
            f"--max-points {request.max_points}, --seeds {request.seeds}: expected at least 2 "
            "points and 1 seed."
        )
    if request.output:
        inputs = recipes[0].inputs
        io.claim(request.output, force=where.force, inputs=inputs, suffixes=TABLES)


def _selection(recipe: Recipe, request: LeaveOutRequest) -> io.Selection:
    """Columns to read: the recipe's, and the labels for separate scores."""
    chosen = prepare.selection(recipe)
    more = [request.by] if request.by and request.by not in chosen.annotations else []
    return replace(chosen, annotations=(*chosen.annotations, *more))


@dataclass(frozen=True)
class Guess:
    """A prediction of the points at a time.

    Args:
        method: name of the method.
        kind: model or reference.
        seed: seed of the fit.
        cloud: predicted points, in flow coordinates.
        told: the steps chosen to carry them, and what is known of their error.
    """

    method: str
    kind: str
    seed: int
    cloud: Cloud
    told: Mapping[str, Any] = field(default_factory=dict)

    def paces(self, time: float) -> list[dict[str, Any]]:
        """Row describing the steps chosen to reach a time, if any."""
        about = {"time": time, "method": self.method, "seed": self.seed}
        return [{**about, **self.told}] if self.told else []


@dataclass(frozen=True)
class Scorer:
    """Makes and scores predictions of a time.

    Args:
        request: seeds, labels and the maximum number of points.
        streams: random streams for subsamples and splits.
        how: the motion.
        device: device of training.
    """

    request: LeaveOutRequest
    streams: Streams
    how: Motion
    device: torch.device

    def guesses(self, fold: Fold) -> Iterator[Guess]:
        """Yield predictions of a time by each method and seed, and by each reference."""
        time, most = fold.observed.time, self.request.max_points
        for prepared in fold.prepared:
            for seed in range(self.streams.seed, self.streams.seed + self.request.seeds):
                recipe = replace(prepared.recipe, seed=seed)
                model = fit.trained(replace(prepared, recipe=recipe), self.device)
                cloud = score.predicted(model, time, self.how, self.streams, most)
                yield Guess(recipe.method, MODEL, seed, cloud, self._told(model, time))
        for name, cloud in score.references(fold.kept, time, self.streams, most).items():
            yield Guess(name, REFERENCE, self.streams.seed, cloud)

    def _told(self, model: Model, time: float) -> dict[str, Any]:
        """Steps chosen to predict a time, from one side or from both."""
        first, *_, last = model.timeline.times
        starts = (first, last) if score.looks_at_both(model) else (first,)
        return self.how.told(model.flow, [(start, time) for start in starts])

    def scores(self, observed: Cloud, guess: Guess) -> Iterator[Row]:
        """Yield all distances of a prediction, for all points and for each label."""
        target = score.subsample(observed, self.streams, self.request.max_points)
        predicted = self._parts(guess.cloud)
        for label, theirs in self._parts(target).items():
            ours = predicted.get(label)
            count = 0 if ours is None else len(ours)
            about = (observed.time, label, guess.method, guess.kind, guess.seed)
            if ours is None or min(count, len(theirs)) < FEWEST:
                yield from (Row(*about, name, None, count) for name in DISTANCES)
                continue
            for name, measure in measures(theirs, self.streams).items():
                value = measure(ours.points, theirs.points, ours.weights, theirs.weights)
                yield Row(*about, name, value, count)

    def floors(self, observed: Cloud) -> Iterator[Row]:
        """Yield all distances between two halves of the observed points."""
        target = score.subsample(observed, self.streams, self.request.max_points)
        for label, own in self._parts(target).items():
            about = (observed.time, label, FLOOR, FLOOR, self.streams.seed)
            half = len(own) // 2
            if len(own) < FEWEST:
                yield from (Row(*about, name, None, half) for name in DISTANCES)
                continue
            for name, measure in measures(own, self.streams).items():
                rng = self.streams.numpy(f"floor {observed.label} {label}")
                value = metrics.floor(measure, own.points, own.weights, rng=rng, splits=SPLITS)
                yield Row(*about, name, value, half)

    def _parts(self, cloud: Cloud) -> dict[str, Cloud]:
        """Split a cloud: all points under the empty label, and those of each label."""
        by = self.request.by
        if by not in cloud.obs.columns:
            return {"": cloud}
        told = np.array(targets.names(cloud.obs[by]))
        own = np.unique(told[told != ""])
        return {"": cloud} | {str(name): cloud.rows(told == name) for name in own}


def _say_what_is_empty(rows: Sequence[Row], by: str) -> None:
    """Warn about labels with too few predicted or observed points for a score."""
    empty = {(row.label, row.time): row.method for row in rows if row.value is None}
    if empty:
        first = [f"{label} at {time:g} ({who})" for (label, time), who in empty.items()]
        runtime.warn(
            f"--by {by}: fewer than {FEWEST} points are predicted or observed of {some(first)}: "
            "such scores are left empty, and means are over the others."
        )
