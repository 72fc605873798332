from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cfmcli import plots
from cfmcli.stored import load

LOSSES = (
    "step,loss,grad_norm,seconds,velocity,validation\n25,2.0,1,0.1,2.0,{}\n50,1.0,1,0.2,1.0,{}\n"
)


def test_pictures_are_png_and_the_same_twice(toy_run: Path) -> None:
    """Two pictures, each a PNG of some size, the same bytes for the same model."""
    model, losses = load(toy_run), (toy_run / "losses.csv").read_text()
    one, other = plots.of_run(model, losses), plots.of_run(model, losses)
    assert set(one) == {"loss.png", "clouds.png"}
    assert one == other
    for data in one.values():
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = (int.from_bytes(data[k : k + 4], "big") for k in (16, 20))
        assert width > 500
        assert height > 400


@pytest.mark.parametrize(("values", "lines"), [(("", ""), 1), (("1.5", "1.2"), 2)])
def test_the_loss_is_drawn(values: tuple[str, str], lines: int) -> None:
    """Training loss always, validation loss and a legend where there is one."""
    (axes,) = plots.loss_figure(LOSSES.format(*values)).axes
    drawn = [np.asarray(line.get_ydata(), dtype=float).tolist() for line in axes.lines]
    assert drawn[0] == [2.0, 1.0]
    assert len(drawn) == lines
    assert drawn[1:] == ([[1.5, 1.2]] if lines == 2 else [])
    assert (axes.get_legend() is not None) == (lines == 2)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("step", "loss", "log")


def test_clouds_are_drawn_in_data_units(toy_run: Path) -> None:
    """In two dimensions the axes are the features, and trajectories start on source points."""
    model = load(toy_run)
    (axes,) = plots.cloud_figure(model).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")
    source = model.chain.inverse(np.asarray(model.clouds[0].points))
    shown = np.asarray(axes.collections[0].get_offsets())
    assert len(shown) == 500
    np.testing.assert_allclose(np.sort(shown[:, 0]), np.sort(source[:, 0]), atol=1e-5)
    assert len(axes.lines) == plots.LINES
    for line in axes.lines:
        start = np.asarray(line.get_xydata())[0]
        assert ((source - start) ** 2).sum(axis=1).min() < 1e-8


def test_every_snapshot_is_in_the_legend(days_run: Path) -> None:
    """Held-out ones are marked; beyond two dimensions the axes are principal."""
    (axes,) = plots.cloud_figure(load(days_run)).axes
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["0", "1 (held out)", "2.5", "5"]
    assert axes.get_xlabel() == "principal axis 1"


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_every_dimension_can_be_drawn(dimension: int) -> None:
    """Also a line, and a generator without a source cloud."""
    import cfmcli

    rng = np.random.default_rng(0)
    for source in ("data", "gaussian"):
        clouds = [rng.normal(size=(20, dimension)) + k for k in range(1 + (source == "data"))]
        model = cfmcli.fit(
            *clouds, source=source, steps=1, field="mlp:width=4", device="cpu", threads=1
        )
        assert plots.png(plots.cloud_figure(model.core)).startswith(b"\x89PNG")


def test_large_clouds_are_thinned(toy_run: Path) -> None:
    """No more points than the picture can show."""
    model = load(toy_run)
    cloud = model.clouds[0].rows(np.zeros(4000, dtype=int))
    (axes,) = plots.cloud_figure(replace(model, clouds=(cloud, model.clouds[1]))).axes
    assert len(np.asarray(axes.collections[0].get_offsets())) == plots.SHOWN
