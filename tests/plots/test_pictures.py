import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfmcli
from cfmcli import plots
from cfmcli.errors import ConfigError
from cfmcli.model import Model
from cfmcli.plots import Embedding, Scene, own_plane, trends
from cfmcli.plots.canvas import SHOWN
from cfmcli.plots.plane import FeaturePlane
from cfmcli.plots.scene import LINES
from cfmcli.plots.velocity import averaged
from cfmcli.stored import load
from tests.plots.conftest import Stage

LATE = ["late", "mid", "early"]
LOSSES = (
    "step,loss,grad_norm,seconds,velocity,validation\n25,2.0,1,0.1,2.0,{}\n50,1.0,1,0.2,1.0,{}\n"
)


@pytest.fixture(scope="module")
def toy(toy_run: Path, stage: Stage) -> Scene:
    """Two clouds in two dimensions."""
    return stage(toy_run)


@pytest.fixture(scope="module")
def days(days_run: Path, stage: Stage) -> Scene:
    """Four days, one held out, in thirty dimensions, with branches."""
    scene = stage(days_run)
    return replace(scene, classes=scene.model.kept[-1].obs["branch"])


def pixels(picture: plots.Picture) -> np.ndarray:
    """The picture as an array."""
    from matplotlib.image import imread

    return np.asarray(imread(io.BytesIO(picture.encoded())))


@pytest.mark.parametrize("name", ["clouds", "velocity", "holdout", "trends", "loss"])
def test_pictures_are_the_same_twice_and_show_something(name: str, days: Scene) -> None:
    """The same bytes from a fresh scene; ink that is neither nothing nor everything."""
    picture = plots.draw(days, name)
    again = plots.draw(replace(days), name)
    assert (picture.name, picture.title, picture.caption) == (
        *(again.name, again.title, again.caption),
    )
    image = pixels(picture)
    assert (image == pixels(again)).all()
    ink = (image[..., :3].min(axis=-1) < 0.9).mean()
    assert 0.005 < ink < 0.5


def test_other_data_give_other_pictures(toy: Scene) -> None:
    """Clouds, velocity and trends depend on the points."""
    model = toy.model
    moved = tuple(replace(c, points=np.asarray(c.points) * [1, -0.5]) for c in model.clouds)
    other = replace(toy, model=replace(model, clouds=moved))
    for name in ("clouds", "velocity", "trends"):
        one, two = pixels(plots.draw(toy, name)), pixels(plots.draw(other, name))
        assert one.shape != two.shape or (one != two).any(axis=-1).mean() > 0.003


def test_a_run_gives_the_pictures_it_can(toy: Scene, days: Scene) -> None:
    """Without a wish all of them; a wish that cannot be met is told why."""
    assert plots.chosen(toy) == ("clouds", "velocity", "trends", "loss")
    assert plots.chosen(days) == ("clouds", "velocity", "holdout", "trends", "loss")
    assert plots.chosen(toy, ("loss", "clouds")) == ("loss", "clouds")
    untrained = replace(toy, losses="")
    for scene, name, why in (
        (toy, "holdout", "--holdout"),
        (toy, "fates", "--colour"),
        (untrained, "loss", "history"),
        (toy, "cloud", "Did you mean 'clouds'"),
    ):
        with pytest.raises(ConfigError, match=why):
            plots.chosen(scene, (name,))


def test_a_fit_leaves_clouds_and_loss(toy_run: Path, toy: Scene) -> None:
    """The same as the pictures asked for later; no loss where nothing was trained."""
    model, losses = load(toy_run), (toy_run / "losses.csv").read_text()
    found = plots.of_run(model, losses)
    assert found == {f"{n}.png": plots.draw(toy, n).encoded() for n in ("clouds", "loss")}
    assert set(plots.of_run(model, "")) == {"clouds.png"}


@pytest.mark.parametrize(("values", "lines"), [(("", ""), 1), (("1.5", "1.2"), 2)])
def test_the_loss_is_drawn(values: tuple[str, str], lines: int, toy: Scene) -> None:
    """Training loss always, validation loss and a legend where there is one."""
    (axes,) = plots.draw(replace(toy, losses=LOSSES.format(*values)), "loss").figure.axes
    drawn = [np.asarray(line.get_ydata(), dtype=float).tolist() for line in axes.lines]
    assert drawn[0] == [2.0, 1.0]
    assert drawn[1:] == ([[1.5, 1.2]] if lines == 2 else [])
    assert (axes.get_legend() is not None) == (lines == 2)
    assert (axes.get_xlabel(), axes.get_yscale()) == ("step", "log")
    told = [t.get_text() for t in axes.get_yticklabels(which="both") if t.get_text()]
    assert len(told) == len(set(told)) > 1
    assert all(float(text) > 0 for text in told)


def test_clouds_are_drawn_in_data_units(toy: Scene) -> None:
    """In two dimensions the axes are the features, and trajectories start on source points."""
    (axes,) = plots.draw(toy, "clouds").figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")
    source = toy.model.chain.inverse(np.asarray(toy.model.clouds[0].points))
    shown = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(np.sort(shown[:, 0]), np.sort(source[:, 0]), atol=1e-5)
    assert len(axes.lines) == LINES
    for line in axes.lines:
        start = np.asarray(line.get_xydata())[0]
        assert ((source - start) ** 2).sum(axis=1).min() < 1e-8


def named(picture: plots.Picture) -> list[str]:
    """What the legend names."""
    return [text.get_text() for item in picture.figure.legends for text in item.get_texts()]


def test_every_snapshot_and_class_is_in_the_legend(days: Scene) -> None:
    """Held-out ones are marked; beyond two dimensions the axes are principal, and it is said."""
    picture = plots.draw(days, "clouds")
    times = ["time 0", "time 1 (held out)", "time 2.5", "time 5"]
    assert named(picture) == [*times, *(f"to {name}" for name in sorted(set(days.journey.classes)))]
    assert picture.figure.axes[0].get_xlabel() == "principal axis 1"
    assert "principal axes of the 30" in picture.caption


def test_many_snapshots_do_not_flood_the_legend(toy: Scene) -> None:
    """At most twelve are named, first and last among them."""
    cloud = toy.model.clouds[0]
    clouds = [replace(cloud, time=t / 40, label=f"{t}") for t in range(41)]
    found = named(
        plots.draw(replace(toy, model=replace(toy.model, clouds=tuple(clouds))), "clouds")
    )
    assert len(found) == 12
    assert (found[0], found[-1]) == ("time 0", "time 40")


def test_large_clouds_are_thinned(toy: Scene) -> None:
    """No more points than the picture can show."""
    cloud = toy.model.clouds[0].rows(np.zeros(4000, dtype=int))
    model = replace(toy.model, clouds=(cloud, toy.model.clouds[1]))
    (axes,) = plots.draw(replace(toy, model=model), "clouds").figure.axes
    assert len(np.asarray(axes.collections[0].get_offsets())) == SHOWN


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("source", ["data", "gaussian"])
def test_every_dimension_can_be_drawn(dimension: int, source: str) -> None:
    """Also a line, drawn against time, and a generator without a source cloud."""
    rng = np.random.default_rng(0)
    clouds = [rng.normal(size=(20, dimension)) + k for k in range(1 + (source == "data"))]
    model = cfmcli.fit(
        *clouds, source=source, steps=1, field="mlp:width=4", device="cpu", threads=1
    ).core
    scene = Scene(model, own_plane(model))
    for name in plots.chosen(scene):
        assert plots.draw(scene, name).encoded().startswith(b"\x89PNG")
    if dimension == 1:
        (axes,) = plots.draw(scene, "clouds").figure.axes
        assert axes.get_xlabel() == "time"
        assert (np.asarray(axes.lines[0].get_xdata())[[0, -1]] == model.timeline.times).all()


def test_a_line_is_drawn_in_data_units_with_streamlines_between_the_times() -> None:
    """Under the name of the feature stand its own numbers; all that was observed is in sight."""
    rng = np.random.default_rng(0)
    clouds = [50.0 + 9.0 * rng.normal(size=(60, 1)) + 30.0 * k for k in range(2)]
    model = cfmcli.fit(*clouds, steps=100, field="mlp:width=16", device="cpu", threads=1).core
    scene = Scene(model, own_plane(model))
    for name in ("clouds", "velocity"):
        (axes,) = plots.draw(scene, name).figure.axes
        shown = np.concatenate([np.asarray(dots.get_offsets()) for dots in axes.collections[:2]])
        np.testing.assert_allclose(np.sort(shown[:, 1]), np.sort(np.vstack(clouds)[:, 0]))
        low, high = axes.get_ylim()
        assert low < shown[:, 1].min() < shown[:, 1].max() < high
    lines = axes.collections[2].get_segments()  # type: ignore[attr-defined]
    steps = np.concatenate([np.diff(line, axis=0) for line in lines])
    middle = np.concatenate([(line[1:, 0] + line[:-1, 0]) / 2 for line in lines])
    across, up = steps[(middle > 0.4) & (middle < 0.6) & (steps[:, 0] > 0)].T
    assert len(across) > 5
    assert np.median(up / across) == pytest.approx(30, rel=0.2)


def test_streamlines_follow_the_velocity() -> None:
    """Averages of one velocity are it, of a linear field nearly the field; few cells, no line."""
    rng = np.random.default_rng(0)
    place = rng.uniform(-1, 1, size=(4000, 2))
    x, y, u, v = averaged(place, np.tile([2.0, -3.0], (4000, 1)))
    np.testing.assert_allclose(u.compressed(), 2.0)
    np.testing.assert_allclose(v.compressed(), -3.0)
    x, y, u, v = averaged(place, place @ np.array([[0.0, 1.0], [-1.0, 0.0]]))
    inner = np.ix_(np.abs(y) < 0.8, np.abs(x) < 0.8)
    across, up = np.meshgrid(x, y)
    np.testing.assert_allclose(u[inner], -up[inner], atol=0.05)
    np.testing.assert_allclose(v[inner], across[inner], atol=0.05)
    lonely = np.vstack((place, [[30.0, 30.0]]))
    assert averaged(lonely, lonely)[2].mask.mean() > 0.9


def test_what_is_held_out_stands_beside_what_is_predicted(days: Scene) -> None:
    """The cells of that time, and those of the time before, carried there; the score as told."""
    picture = plots.draw(days, "holdout")
    (axes,) = picture.figure.axes
    cloud = next(c for c in days.model.clouds if c.held_out)
    observed, predicted = (np.asarray(c.get_offsets()) for c in axes.collections[-2:])
    expected = days.plane.place(np.asarray(cloud.points), cloud.time)
    np.testing.assert_allclose(observed, expected)
    carried = days.model.transport(
        days.model.chain.inverse(np.asarray(days.model.clouds[0].points)), 0.0, cloud.time
    )
    moved = days.plane.place(days.model.encode(carried), cloud.time)
    np.testing.assert_allclose(predicted, moved, atol=1e-4)
    assert f"W1 {days.scores['1']['model_w1']:.3g}" in axes.get_title()


@pytest.mark.parametrize(
    ("ours", "theirs", "title"),
    [(11.1, 10.96, "W1 11.1, static OT 11.0"), (0.9, 110.2, "W1 0.900, static OT 110")],
)
def test_scores_in_titles_have_three_digits(
    days: Scene, ours: float, theirs: float, title: str
) -> None:
    """Zeros too."""
    scores = {"1": {"model_w1": ours, "static_ot_w1": theirs}}
    axes, *_ = plots.draw(replace(days, scores=scores), "holdout").figure.axes
    assert axes.get_title().endswith(f"\n{title}")


def test_trends_begin_and_end_where_the_points_are(cells_run: Path, stage: Stage) -> None:
    """The first mean is that of the starts, in data units; every observed mean is marked."""
    scene = stage(cells_run)
    names = ("Stem1", "ArmA2")
    picture = plots.draw(replace(scene, features=names), "trends")
    shown = [axes for axes in picture.figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in shown] == list(names)
    start = scene.model.chain.inverse(scene.journey.points[0])
    for axes, name in zip(shown, names, strict=True):
        column = scene.model.features.index(name)
        line, marks = axes.lines[0], axes.lines[1]
        assert float(np.asarray(line.get_ydata())[0]) == pytest.approx(start[:, column].mean())
        assert np.asarray(marks.get_xdata()).tolist() == [0, 1, 2.5, 5]
        cloud = scene.model.clouds[2]
        mean = scene.model.chain.inverse(np.asarray(cloud.points))[:, column].mean()
        assert float(np.asarray(marks.get_ydata())[2]) == pytest.approx(mean)


def test_the_features_that_change_most_are_those_that_do() -> None:
    """Where two of eight features move, these come first, the one that moves more at the head."""
    rng = np.random.default_rng(0)
    x0 = rng.normal(size=(60, 8))
    x1 = x0 + np.array([0, 0, 0, 4.0, 0, 9.0, 0, 0])
    model = cfmcli.fit(x0, x1, transform="none", method="static-ot", device="cpu").core
    journey = Scene(model, own_plane(model)).journey
    assert trends.most_changed(model, journey)[:2] == (model.features[5], model.features[3])
    assert len(trends.most_changed(model, journey)) == 6


def test_classes_are_those_of_the_nearest_end(days: Scene) -> None:
    """Every trajectory is told by the observed cell nearest to its end."""
    assert days.classes is not None
    ends, last = days.journey.points[-1], np.asarray(days.model.kept[-1].points)
    for end, name in zip(ends, days.journey.classes, strict=True):
        nearest = np.linalg.norm(last - end, axis=1).argmin()
        assert name == days.classes.iloc[nearest]
    rows = np.concatenate(list(days.journey.groups().values()))
    assert sorted(rows.tolist()) == list(range(LINES))


def coloured(model: Model, values: Any) -> pd.Series:
    """A column about the first snapshot."""
    return pd.Series(values, index=model.clouds[0].obs.index, name="p_arm_a")


def test_fates_colour_the_cells_they_speak_of(days: Scene) -> None:
    """Numbers by value with a bar, each at its cell's place; all others are grey."""
    first = days.model.clouds[0]
    column = coloured(days.model, np.linspace(0, 1, len(first)))
    picture = plots.draw(replace(days, colour=column), "fates")
    axes, bar = picture.figure.axes
    dots = axes.collections[-1]
    assert np.asarray(dots.get_array()).tolist() == column.tolist()
    place = days.plane.place(np.asarray(first.points), first.time)
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), place)
    assert bar.get_ylabel() == "p_arm_a"
    grey = sum(len(np.asarray(c.get_offsets())) for c in axes.collections[:-1])
    assert grey == sum(len(cloud) for cloud in days.model.clouds[1:])


def test_fates_may_be_words(days: Scene) -> None:
    """Classes have a legend, and more than eight are still told apart."""
    words = [f"k{i % 11:02}" for i in range(len(days.model.clouds[0]))]
    picture = plots.draw(replace(days, colour=coloured(days.model, words)), "fates")
    assert named(picture) == sorted(set(words))


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (
            pd.Categorical(["240h", "0h", "48h"], ["0h", "48h", "96h", "240h"]),
            ["0h", "48h", "240h"],
        ),
        (pd.array([True, False, True], dtype="boolean"), ["False", "True"]),
        (np.array([True, False, True]), ["False", "True"]),
    ],
)
def test_classes_are_in_their_own_order(words: Any, order: list[str], days: Scene) -> None:
    """That of categories, without those that no cell has; truth values are classes too."""
    column = pd.Series(words, index=days.model.clouds[0].obs.index[:3], name="kind")
    picture = plots.draw(replace(days, colour=column), "fates")
    assert named(picture) == order


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (pd.Categorical(LATE, LATE), LATE),
        (["10", "9", "-1"], ["-1", "9", "10"]),
        ([10, 9, -1], ["-1", "9", "10"]),
        (["b", None, "10"], ["10", "b", "None"]),
    ],
)
def test_trajectories_are_named_in_the_order_of_their_classes(
    words: Any, order: list[str], days: Scene
) -> None:
    """That of categories, of numbers or of letters; cells without a class come last."""
    last = days.model.kept[-1]
    kinds = pd.Series(words, dtype=getattr(words, "dtype", None))
    column = kinds.iloc[np.arange(len(last)) % 3].set_axis(last.obs.index)
    scene = replace(days, classes=column)
    assert [name for name in named(plots.draw(scene, "clouds")) if name.startswith("to ")] == [
        f"to {name}" for name in order
    ]


def test_a_class_whose_name_begins_with_an_underscore_is_in_the_legend(days: Scene) -> None:
    """As every other is."""
    words = [("_other", "a")[i % 2] for i in range(len(days.model.clouds[0]))]
    picture = plots.draw(replace(days, colour=coloured(days.model, words)), "fates")
    assert [name.strip() for name in named(picture)] == ["_other", "a"]


def test_long_names_are_neither_cut_off_nor_laid_over_each_other(days: Scene) -> None:
    """Of genes above their panels, of classes in the legend, with blanks or without."""
    genes = tuple(f"a_long_name_of_a_gene_and_of_its_transcript_{k}" for k in range(30))
    chain = replace(days.model.chain, features=genes)
    model = replace(days.model, chain=chain)
    picture = plots.draw(replace(days, model=model, classes=None), "trends")
    picture.figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in picture.figure.axes]
    width = picture.figure.bbox.width
    assert all(0 <= box.x0 < box.x1 <= width for box in boxes)
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes) if abs(a.y0 - b.y0) < 1)
    words = [("effector " * 9, "effector_" * 9)[i % 2] for i in range(len(days.model.clouds[0]))]
    picture = plots.draw(replace(days, colour=coloured(days.model, words)), "fates")
    picture.figure.draw_without_rendering()
    (box,) = (item.get_window_extent() for item in picture.figure.legends)
    assert 0 <= box.x0 < box.x1 <= picture.figure.bbox.width


def test_cells_that_are_numbered_alike_are_those_at_the_start(toy: Scene) -> None:
    """Files without ids share row numbers: a column by number speaks of the first."""
    column = coloured(toy.model, np.arange(500.0))
    axes = plots.draw(replace(toy, colour=column), "fates").figure.axes[0]
    place = toy.plane.place(np.asarray(toy.model.clouds[0].points), 0.0)
    np.testing.assert_allclose(np.asarray(axes.collections[-1].get_offsets()), place)


def test_an_embedding_takes_the_place_of_the_axes(days: Scene) -> None:
    """Cells stand where it says, and the captions say how points came there."""
    stacked = np.concatenate([np.asarray(c.points) for c in days.model.clouds])
    places = np.random.default_rng(0).normal(size=(len(stacked), 2))
    scene = replace(days, plane=Embedding("X_umap", stacked, places))
    picture = plots.draw(scene, "clouds")
    (axes,) = picture.figure.axes
    assert axes.get_xlabel() == "UMAP1"
    count = len(days.model.clouds[0])
    np.testing.assert_allclose(np.asarray(axes.collections[0].get_offsets()), places[:count])
    assert "nearest cells" in picture.caption
    assert "running means" in picture.caption
    assert "differences of places" in plots.draw(scene, "velocity").caption


def test_two_features_are_drawn_even_when_the_flow_is_turned() -> None:
    """After a rotation the axes are still the features, and arrows are in their units."""
    x0 = np.random.default_rng(0).normal(size=(50, 2)) * [3, 1]
    model = cfmcli.fit(x0, x0 + 1, transform="pca:n=2", method="static-ot", device="cpu").core
    plane = own_plane(model)
    assert isinstance(plane, FeaturePlane)
    x, v = np.asarray(model.clouds[0].points)[:5], np.ones((5, 2))
    step = plane.place(x + 1e-3 * v, 0.0) - plane.place(x, 0.0)
    np.testing.assert_allclose(plane.push(x, v, 0.0), step / 1e-3, atol=1e-6)
