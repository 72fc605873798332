"""Training: sets up a fit, with its path chosen and its plans solved."""

from dataclasses import dataclass

import torch

from cfmcli import catalog
from cfmcli.data.snapshots import Snapshots
from cfmcli.flows import processes
from cfmcli.flows.coupling.pairing import PlannedPairs
from cfmcli.flows.dynamics.displacement import check_pairs
from cfmcli.flows.fields import Field, Shape
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.ranks import ALONE, Ranks
from cfmcli.flows.training.schedule import Schedule, weight_decay
from cfmcli.flows.training.tasks import Task
from cfmcli.flows.training.trainer import Trainer
from cfmcli.flows.training.triple import Triple, settle_path
from cfmcli.model import Model
from cfmcli.recipe import Recipe
from cfmcli.workflows import assemble, rectify
from cfmcli.workflows.aside import parted, timed
from cfmcli.workflows.bending import Bending, settled
from cfmcli.workflows.binding import Binder
from cfmcli.workflows.prepare import Prepared
from cfmcli.workflows.sides import PlanNote


@dataclass(frozen=True)
class Job:
    """A fit that is ready to run.

    Args:
        prepared: the data.
        triple: the method, set up for the dimension of the data.
        field: the network.
        trainer: the trainer, None if there is nothing to train.
        plans: notes on the couplings.
        bending: choices made for the path.
    """

    prepared: Prepared
    triple: Triple
    field: Field
    trainer: Trainer | None
    plans: list[PlanNote]
    bending: Bending

    @property
    def turn(self) -> int:
        """The step at which an open horizon closed, 0 if none did."""
        return self.trainer.turn if self.trainer else 0

    @property
    def converged(self) -> int | None:
        """The step at which the validation loss converged, None if it did not or is unknown."""
        if not (self.trainer and self.trainer.turn and self.trainer.best.found):
            return None
        return None if self.trainer.schedule.last(self.turn) else self.turn

    def ended(self) -> tuple[str, ...]:
        """Note on the number of steps, if it was determined during training."""
        if not (self.trainer and self.trainer.turn):
            return ()
        steps, best = f"steps: {self.trainer.step}", self.trainer.best.step
        if self.converged:
            return (f"{steps}; the validation loss had converged, least at {best}",)
        if not self.trainer.best.found:
            return (f"{steps}; the validation loss was never finite",)
        return (f"{steps}, the most of auto; the validation loss had not converged",)

    def model(self) -> Model:
        """Finish training and return the model, on the CPU."""
        if self.trainer:
            self.trainer.finish()
        snapshots = self.prepared.snapshots
        return Model(
            self.prepared.recipe,
            snapshots.timeline,
            self.prepared.chain,
            self.field.eval(),
            snapshots.clouds,
            snapshots.gaussian_source,
            self.triple.reading(snapshots.gaussian_source),
            self.prepared.conditions,
        )


def job(
    prepared: Prepared,
    streams: Streams,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Job:
    """Set up a fit: choose the path, solve the plans and build the network.

    Args:
        prepared: the data and their recipe.
        streams: the run's randomness.
        device: device of training.
        ranks: the processes that share the training.

    Raises:
        ConfigError: inconsistent options.
        DataError: clouds too small for the held-out fraction.
        NumericsError: a plan that cannot be solved.
    """
    prepared, bending = settled(prepared, streams)
    parts = assemble.triple(prepared.recipe)
    snapshots, conditions = prepared.snapshots, prepared.conditions
    recipe = timed(prepared.recipe, snapshots)
    shape = Shape(len(prepared.chain.outputs), snapshots.timeline.segments, conditions.width)
    triple = parts.bound(shape.dim, streams.torch("path"))
    assemble.check_data(triple, snapshots, conditions)
    carry = rectify.carrier(recipe.from_run)
    binder = Binder(recipe, triple.coupling, conditions, streams, carry)
    task, plans = _task(recipe, triple, binder, snapshots)
    network = catalog.build("fields", recipe.field)
    field: Field = network.build(triple.objective.heads, shape, streams.torch("weights"))
    if not triple.objective.heads:
        for part in task.pairs:
            if isinstance(part, PlannedPairs):
                check_pairs(part.plan, shape.dim)
        return Job(prepared, triple, field, None, plans, bending)
    moments = snapshots.moments
    means, spreads, center = map(torch.as_tensor, (moments.means, moments.spreads, moments.center))
    field.view.settle(means, spreads, moments.scale)
    settle_path(triple.interpolant, center, moments.scale, device)
    opening, aside = parted(task, recipe, snapshots, streams)
    schedule = Schedule(
        recipe.most_steps,
        recipe.batch_size,
        recipe.lr,
        recipe.ema,
        recipe.precision == "bf16",
        weight_decay([len(cloud) for cloud in snapshots.kept]),
        processes.allowed() if any(plan.coupled_in_batches for plan in plans) else 0,
        open=bool(aside and aside.finale),
    )
    field = field.to(device)
    trainer = Trainer(field, opening, schedule, streams, aside, recipe.patience, ranks)
    return Job(prepared, triple, field, trainer, plans, bending)


def _task(
    recipe: Recipe, triple: Triple, binder: Binder, snapshots: Snapshots
) -> tuple[Task, list[PlanNote]]:
    """Bind a triple to snapshots, solving its plans."""
    path = triple.interpolant
    pairs, layout, plans = binder.segments(snapshots, path)
    dropout = recipe.condition_dropout
    return Task(pairs, path, triple.objective, layout, dropout), plans
