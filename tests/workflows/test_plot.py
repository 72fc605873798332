from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from cfmcli import metrics, plots
from cfmcli.errors import CfmError, CfmWarning, ConfigError, DataError, OutputExistsError
from cfmcli.io.colours import COLOURS
from cfmcli.plots.canvas import PALE
from cfmcli.requests import PlotRequest, Runtime, View
from cfmcli.stored import load
from cfmcli.workflows import sight
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.plot import plot

Fit = Callable[..., Any]
PLAIN = View()
HEADS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


def do(
    run: Path, *, view: View = PLAIN, what: tuple[str, ...] = (), seed: int = 0, **more: Any
) -> Any:
    """Plot a run on one thread."""
    where = Runtime(device="cpu", threads=1, force=more.pop("force", False), seed=seed)
    return plot(PlotRequest(str(run), view=replace(view, what=what), **more), where, ignore)


@pytest.fixture(scope="module")
def cells(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The time course with an embedding that is linear in the expression, and a score."""
    data = ad.read_h5ad(samples / "timecourse.h5ad")
    plane = np.random.default_rng(0).normal(size=(data.n_vars, 2))
    data.obsm["X_umap"] = np.log1p(data.X.toarray()) @ plane
    data.obsm["X_line"] = data.obsm["X_umap"][:, :1]
    data.obs["score"] = np.linspace(0, 1, data.n_obs)
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    data.write_h5ad(path)
    return path


def test_all_pictures_go_into_a_folder(days_run: Path, tmp_path: Path) -> None:
    """Every picture that the run can give, and nothing else; the captions are told."""
    outcome = do(days_run, output=str(tmp_path / "deep" / "p"), format="svg")
    names = ["clouds", "velocity", "holdout", "trends", "loss"]
    assert list(outcome.outputs) == list(outcome.figures["pictures"]) == names
    found = {path.name: path.read_bytes() for path in (tmp_path / "deep" / "p").iterdir()}
    assert set(found) == {f"{name}.svg" for name in names}
    assert all(data.startswith(HEADS[".svg"]) for data in found.values())


def test_held_out_times_are_shown_as_they_were_scored(
    samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Where a method predicts from both sides, the picture's points are those of its W1."""
    days = [samples / f"day{d}.csv" for d in ("0", "1", "2.5", "5")]
    run = tmp_path / "r"
    fit_run(run, *days, method="auto", times=(0, 1, 2.5, 5), holdout=("1",))
    seen = sight.scene(str(run), PLAIN, Runtime(device="cpu", threads=1))
    cloud, guess = next(c for c in seen.model.clouds if c.held_out), seen.predictions["1"]
    found = metrics.w1(guess.points, cloud.points, guess.weights, cloud.weights)
    assert found == pytest.approx(seen.scores["1"]["model_w1"], rel=1e-6)


@pytest.mark.parametrize("kind", HEADS)
def test_a_file_holds_one_picture(kind: str, toy_run: Path, tmp_path: Path) -> None:
    """In the format of its suffix: clouds, or the picture that is named; twice the same bytes."""
    for name in ("a", "b"):
        do(toy_run, output=str(tmp_path / f"{name}{kind}"), what=("loss",))
    one, other = ((tmp_path / f"{name}{kind}").read_bytes() for name in ("a", "b"))
    assert one == other
    assert one.startswith(HEADS[kind])
    assert list(do(toy_run, output=str(tmp_path / f"c{kind}")).outputs) == ["clouds"]
    assert (tmp_path / f"c{kind}").read_bytes() != one


def test_without_a_name_they_go_beside_the_run(
    toy_run: Path, tmp_path: Path, fit_run: Any, samples: Path
) -> None:
    """Into RUN/plots, which a second time is refused without force."""
    fit_run(tmp_path / "r", samples / "source.csv", samples / "target.csv", steps=1)
    do(tmp_path / "r", what=("loss",))
    assert [p.name for p in (tmp_path / "r" / "plots").iterdir()] == ["loss.png"]
    with pytest.raises(OutputExistsError, match=r"loss\.png"):
        do(tmp_path / "r", what=("loss",))
    do(tmp_path / "r", what=("loss",), force=True)


def test_a_run_s_clouds_stand_where_the_embedding_says(cells_run: Path, cells: Path) -> None:
    """Every stored cell lands on its own place, told by nothing but its coordinates."""
    scene = sight.scene(str(cells_run), View(str(cells), "umap"), Runtime(device="cpu", threads=1))
    data = ad.read_h5ad(cells)
    for cloud in load(cells_run).clouds:
        place = scene.plane.place(np.asarray(cloud.points), cloud.time)
        np.testing.assert_allclose(place, data[cloud.obs.index].obsm["X_umap"])


def test_colours_come_from_a_file_or_from_the_run(
    cells_run: Path, cells: Path, tmp_path: Path
) -> None:
    """From obs, from a table by id in any order, or from what the run keeps of its cells."""
    where = Runtime(device="cpu", threads=1)
    told = sight.scene(str(cells_run), View(str(cells), colour="score"), where).colour
    assert told is not None
    table = pd.DataFrame({"p_arm_a": told[::-1].iloc[:700]}).rename_axis("id")
    table.to_csv(tmp_path / "fates.csv")
    fates = sight.scene(
        str(cells_run), View(str(tmp_path / "fates.csv"), colour="p_arm_a"), where
    ).colour
    assert fates is not None
    assert fates.name == "p_arm_a"
    np.testing.assert_allclose(fates, told[fates.index])
    own = sight.scene(str(cells_run), View(colour="branch"), where).colour
    assert own is not None
    assert own.to_dict() == ad.read_h5ad(cells).obs["branch"].to_dict()
    done = do(cells_run, output=str(tmp_path / "p"), view=View(colour="branch"), what=("fates",))
    assert list(done.outputs) == ["fates"]


def test_a_feature_colours_cells_without_a_file(
    cells_run: Path, days_run: Path, cells: Path, samples: Path
) -> None:
    """As it was where nothing is dropped; else as the coordinates give it back, which is said."""
    where = Runtime(device="cpu", threads=1)
    own = sight.scene(str(days_run), View(colour="Stem2"), where).colour
    assert own is not None
    read = [
        pd.read_csv(samples / f"day{d}.csv", index_col=0)["Stem2"] for d in ("0", "1", "2.5", "5")
    ]
    pd.testing.assert_series_equal(own, pd.concat(read), check_names=False, atol=1e-5)
    with pytest.warns(CfmWarning, match="3 coordinates .* --data FILE"):
        gene = sight.scene(str(cells_run), View(colour="Stem1"), where).colour
    told = sight.scene(str(cells_run), View(str(cells), colour="Stem1"), where).colour
    assert gene is not None
    assert told is not None
    assert np.corrcoef(gene, told[gene.index])[0, 1] > 0.5


def test_points_that_files_number_alike_have_colours_of_their_own(
    tmp_path: Path, fit_run: Fit
) -> None:
    """Of a feature and of an annotation, in every snapshot, one of whose cells has none."""
    files = []
    for name, at in (("a", 0.0), ("b", 9.0)):
        rows = pd.DataFrame(
            {"x": at + np.arange(6.0), "y": np.arange(6.0) % 4, "kind": ["u", "v", "u"] * 2}
        )
        rows.loc[2, "kind"] = None
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        files.append(tmp_path / f"{name}.csv")
    fit_run(tmp_path / "r", *files, steps=1)
    for key, count in (("x", 12), ("kind", 10)):
        seen = sight.scene(str(tmp_path / "r"), View(colour=key), Runtime(device="cpu", threads=1))
        axes = plots.draw(seen, "fates").figure.axes[0]
        own = [
            c
            for c in axes.collections
            if to_rgb(PALE) != tuple(np.asarray(c.get_facecolor())[0, :3])
        ]
        assert sum(len(np.asarray(c.get_offsets())) for c in own) == count
        if key == "x":
            x = np.asarray(own[0].get_offsets())[:, 0]
            np.testing.assert_allclose(x, np.asarray(own[0].get_array()), atol=1e-5)


def test_a_gene_that_the_run_left_out_needs_its_file(
    cells: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """It comes back at its mean, which would colour all cells alike."""
    fit_run(tmp_path / "r", cells, time_key="day", transform="log1p,hvg:n=5,pca:n=3", steps=1)
    chain, where = load(tmp_path / "r").chain, Runtime(device="cpu", threads=1)
    spread = np.ptp(chain.to_genes(np.random.default_rng(0).normal(size=(9, 3))), axis=0)
    kept, left = chain.genes[int(spread.argmax())], chain.genes[int(spread.argmin())]
    with pytest.warns(CfmWarning, match="give back"):
        sight.scene(str(tmp_path / "r"), View(colour=kept), where)
    with pytest.raises(DataError, match="--data FILE"):
        sight.scene(str(tmp_path / "r"), View(colour=left), where)


def test_classes_have_the_colours_of_their_file(cells: Path, tmp_path: Path, fit_run: Fit) -> None:
    """Those that scanpy keeps beside the categories, of the run's own file or of another."""
    data = ad.read_h5ad(cells)
    data.obs["branch"] = data.obs["branch"].astype("category")
    names = list(data.obs["branch"].cat.categories)
    own = dict(zip(names, ("#123456", "#fedcba", "#0a0b0c", "#aabbcc"), strict=False))
    data.uns["branch_colors"] = np.array(list(own.values()), dtype=object)
    data.write_h5ad(tmp_path / "own.h5ad")
    run = tmp_path / "r"
    fit_run(run, tmp_path / "own.h5ad", time_key="day", transform="log1p,pca:n=3", steps=1)
    for view in (View(colour="branch"), View(str(tmp_path / "own.h5ad"), colour="branch")):
        seen = sight.scene(str(run), view, Runtime(device="cpu", threads=1))
        assert shades(plots.draw(seen, "fates")) == {to_rgb(own[name]) for name in names}
    seen = sight.scene(str(run), View(label_key="branch"), Runtime(device="cpu", threads=1))
    for name in ("clouds", "trends"):
        arrivals = {to_rgb(own[name]) for name in seen.journey.classes}
        assert arrivals <= shades(plots.draw(seen, name))


def test_cells_without_a_class_leave_the_others_their_colours(
    cells: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """They are a class of their own, in grey."""
    data = ad.read_h5ad(cells)
    branch = data.obs["branch"].astype("category")
    data.obs["branch"] = branch.where(np.arange(len(branch)) % 2 > 0)
    own = ("#123456", "#fedcba", "#0a0b0c", "#aabbcc")[: len(branch.cat.categories)]
    data.uns["branch_colors"] = np.array(own, dtype=object)
    data.write_h5ad(tmp_path / "own.h5ad")
    run = tmp_path / "r"
    fit_run(run, tmp_path / "own.h5ad", time_key="day", transform="log1p,pca:n=3", steps=1)
    seen = sight.scene(str(run), View(label_key="branch"), Runtime(device="cpu", threads=1))
    named = dict(zip(branch.cat.categories, own, strict=True))
    arrivals = set(seen.journey.classes)
    assert len(arrivals) > 1
    assert "nan" in arrivals
    wanted = {to_rgb(named[name]) for name in arrivals - {"nan"}}
    assert wanted <= shades(plots.draw(seen, "trends"))


def test_words_that_are_no_colours_are_not_taken_for_them(cells_run: Path) -> None:
    """Classes look as they do without."""
    seen = sight.scene(str(cells_run), View(colour="branch"), Runtime(device="cpu", threads=1))
    plain = shades(plots.draw(seen, "fates"))
    assert seen.colour is not None
    seen.colour.attrs = {COLOURS: {"branch": dict.fromkeys(set(seen.colour), "no colour")}}
    assert shades(plots.draw(seen, "fates")) == plain


def shades(picture: plots.Picture) -> set[tuple[float, ...]]:
    """The colours of points and lines of the first panel."""
    axes = picture.figure.axes[0]
    dots = [
        tuple(np.asarray(c.get_facecolor())[0, :3])
        for c in axes.collections
        if c.get_array() is None
    ]
    return {*dots, *(to_rgb(line.get_color()) for line in axes.lines)}


def test_the_view_changes_the_pictures(cells_run: Path, cells: Path, tmp_path: Path) -> None:
    """Basis, label key, features and seed each show in the picture that they concern."""
    rows: dict[str, tuple[str, dict[str, Any]]] = {
        "plain": ("clouds", {}),
        "basis": ("clouds", {"view": View(str(cells), "umap")}),
        "label": ("clouds", {"view": View(label_key="branch")}),
        "seed": ("clouds", {"seed": 1}),
        "trends": ("trends", {}),
        "features": ("trends", {"view": View(features=("House1", "Stem1"))}),
    }
    for name, (what, more) in rows.items():
        do(cells_run, output=str(tmp_path / f"{name}.png"), what=(what,), **more)
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in rows}) == len(rows)


WRONG: dict[str, tuple[type[CfmError], dict[str, Any], str]] = {
    "basis alone": (ConfigError, {"view": View(basis="umap")}, "--data"),
    "data alone": (ConfigError, {"view": View(data="CELLS")}, "--basis"),
    "unknown basis": (DataError, {"view": View("CELLS", "tsne")}, "X_tsne"),
    "basis of a csv": (ConfigError, {"view": View("CSV", "umap")}, "h5ad"),
    "one column": (DataError, {"view": View("CELLS", "line")}, "one column"),
    "unknown label": (DataError, {"view": View(label_key="kind")}, "branch"),
    "unknown colour": (DataError, {"view": View(colour="kind")}, "--data"),
    "unknown column": (DataError, {"view": View("CELLS", colour="kind")}, "score"),
    "other cells": (DataError, {"view": View("CSV", colour="x")}, "none of its ids"),
    "unknown feature": (ConfigError, {"view": View(features=("Stem",))}, "Stem1"),
    "unknown picture": (ConfigError, {"what": ("cloud",)}, "clouds"),
    "no such format": (ConfigError, {"format": "gif"}, ".png"),
    "no such suffix": (ConfigError, {"output": "a.jpg"}, ".png"),
    "formats differ": (ConfigError, {"output": "a.png", "format": "pdf"}, "differ"),
    "two in a file": (ConfigError, {"output": "a.png", "what": ("clouds", "loss")}, "folder"),
    "existing": (OutputExistsError, {"output": "CSV.png"}, "--force"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused(
    case: str, cells_run: Path, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason and the way out, and nothing written."""
    monkeypatch.chdir(tmp_path)
    Path("CSV.png").write_text("")
    Path("points.csv").write_text("id,x,y\nnobody,1,2\n")
    kind, more, words = WRONG[case]
    if "view" in more:
        view = more["view"]
        data = {"CELLS": str(cells), "CSV": "points.csv"}.get(view.data, view.data)
        more = {"view": replace(view, data=data)}
    with pytest.raises(kind, match=words):
        do(cells_run, **({"output": "new"} | more))
    assert {path.name for path in tmp_path.iterdir()} == {"CSV.png", "points.csv"}
