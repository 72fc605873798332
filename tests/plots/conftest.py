"""Scenes of the tiny runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cfmcli.plots import Scene, own_plane
from cfmcli.stored import load

Stage = Callable[[Path], Scene]


@pytest.fixture(scope="session")
def stage() -> Stage:
    """A function that makes the scene of a run."""

    def made(run: Path) -> Scene:
        model = load(run)
        scores = json.loads((run / "metrics.json").read_text())["holdout"]
        losses = (run / "losses.csv").read_text()
        held = {score["label"]: score for score in scores}
        return Scene(model, own_plane(model), losses, held)

    return made
