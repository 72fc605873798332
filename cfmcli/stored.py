"""Stored: serialisation of models as checkpoints."""

from pathlib import Path
from typing import Any

import torch

from cfmcli import catalog, checkpoint
from cfmcli.data.chain import load_chain
from cfmcli.data.conditions import load_conditions
from cfmcli.data.times import Timeline
from cfmcli.errors import CheckpointError
from cfmcli.flows.fields import MLP, Shape
from cfmcli.flows.training.triple import Triple, path_state, restore_path
from cfmcli.layers import from_layers
from cfmcli.model import Model


def pack(model: Model) -> bytes:
    """Serialise a model as a checkpoint."""
    arrays: dict[str, Any] = {
        f"field.{name}": value.detach().cpu().numpy()
        for name, value in model.field.state_dict().items()
    }
    arrays |= {f"transform.{name}": value for name, value in model.chain.arrays().items()}
    arrays |= {
        f"path.{name}": value.detach().cpu().numpy()
        for name, value in path_state(model.reading.interpolant).items()
    }
    packed, stored = checkpoint.pack_clouds(model.clouds)
    arrays |= packed
    facts = {
        "recipe": model.recipe.to_mapping(),
        "times": model.timeline.times,
        "labels": model.timeline.labels,
        "features": model.features,
        "genes": model.chain.genes if model.chain.decoder else (),
        "transforms": model.chain.kinds,
        "heads": list(model.field.heads),
        "clouds": stored,
        "gaussian_source": model.gaussian_source,
        "conditions": model.conditions.facts(),
    }
    return checkpoint.pack(arrays, facts)


def load(run: str | Path) -> Model:
    """Load the model of a run folder.

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


def _assemble(arrays: dict[str, Any], facts: dict[str, Any]) -> Model:
    """Rebuild a model from the content of a checkpoint."""
    layers = [section.items() for section in facts["recipe"].values()]
    recipe = from_layers({name: value for items in layers for name, value in items})
    fitted, genes = _under(arrays, "transform."), facts.get("genes", ())
    chain = load_chain(facts["transforms"], fitted, facts["features"], genes)
    timeline = Timeline(tuple(facts["times"]), tuple(facts["labels"]))
    conditions = load_conditions(facts["conditions"])
    network: MLP = catalog.build("fields", recipe.field)
    shape = Shape(len(chain.outputs), timeline.segments, conditions.width)
    field = network.build(tuple(facts["heads"]), shape, torch.Generator())
    triple = Triple.of(*recipe.triple()).bound(shape.dim, torch.Generator())
    path = _under(arrays, "path.")
    restore_path(
        triple.interpolant, {name: torch.from_numpy(value) for name, value in path.items()}
    )
    state = _under(arrays, "field.")
    field.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    clouds = checkpoint.unpack_clouds(arrays, facts["clouds"])
    gaussian = facts["gaussian_source"]
    reading = triple.reading(gaussian)
    return Model(recipe, timeline, chain, field.eval(), clouds, gaussian, reading, conditions)


def _under(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Arrays with a name prefix, which is removed."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
