"""Plots: pictures of a run: clouds, velocity, held-out times, trends, fates and loss."""

from collections.abc import Callable

from cfmcli.catalog import did_you_mean
from cfmcli.errors import ConfigError
from cfmcli.model import Model
from cfmcli.plots import clouds, fates, holdout, loss, trends, velocity
from cfmcli.plots.canvas import FORMATS, Picture, style
from cfmcli.plots.embedding import Embedding
from cfmcli.plots.plane import own_plane
from cfmcli.plots.scene import Scene

__all__ = [
    "FORMATS",
    "PICTURES",
    "Embedding",
    "Picture",
    "Scene",
    "chosen",
    "draw",
    "of_run",
    "own_plane",
]

PICTURES: dict[str, Callable[[Scene], Picture]] = {
    "clouds": clouds.draw,
    "velocity": velocity.draw,
    "holdout": holdout.draw,
    "trends": trends.draw,
    "fates": fates.draw,
    "loss": loss.draw,
}


def chosen(scene: Scene, wanted: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Validate the requested pictures, or list all that the run allows.

    Raises:
        ConfigError: for an unknown picture, or one that the run does not allow.
    """
    lacking = _lacking(scene)
    for name in wanted:
        if name not in PICTURES:
            raise ConfigError(f"There is no picture '{name}'.{did_you_mean(name, PICTURES)}")
        if name in lacking:
            raise ConfigError(f"There is no picture '{name}' of this run: {lacking[name]}.")
    return wanted or tuple(name for name in PICTURES if name not in lacking)


def draw(scene: Scene, name: str) -> Picture:
    """Draw a picture by name."""
    with style():
        return PICTURES[name](scene)


def of_run(model: Model, losses: str) -> dict[str, bytes]:
    """Draw the pictures of a finished fit; return file name -> PNG.

    Args:
        model: the trained model.
        losses: content of losses.csv, empty if there is none.
    """
    scene = Scene(model, own_plane(model), losses)
    names = ("clouds", "loss") if losses else ("clouds",)
    return {f"{name}.png": draw(scene, name).encoded() for name in names}


def _lacking(scene: Scene) -> dict[str, str]:
    """Pictures that the run does not allow, with the reason."""
    reasons = {
        "holdout": (
            not scene.predictions,
            "no time was kept out of it; fit with --holdout TIME",
        ),
        "fates": (scene.colour is None, "name the column to colour by with --colour COLUMN"),
        "loss": (not scene.losses, "it has no history of training"),
    }
    return {name: why for name, (absent, why) in reasons.items() if absent}
