"""Scenes of the tiny runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cfmcli.flows.streams import Streams
from cfmcli.plots import Scene, own_plane
from cfmcli.stored import load
from cfmcli.workflows.score import foretold

Stage = Callable[[Path], Scene]


@pytest.fixture(scope="session")
def stage() -> Stage:
    """A function that makes the scene of a run."""

    def made(run: Path) -> Scene:
        model = load(run)
        scores = json.loads((run / "metrics.json").read_text())["holdout"]
        losses = (run / "losses.csv").read_text()
        held = {score["label"]: score for score in scores}
        absent = [cloud for cloud in model.clouds if cloud.held_out]
        said = {cloud.label: foretold(model, cloud, Streams(0)) for cloud in absent}
        return Scene(model, own_plane(model), losses, held, predictions=said)

    return made
