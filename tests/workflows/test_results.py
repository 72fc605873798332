from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from cfmcli.data.table import Table
from cfmcli.errors import CfmWarning
from cfmcli.requests import (
    InterpolateRequest,
    LikelihoodRequest,
    Runtime,
    SampleRequest,
    TransportRequest,
)
from cfmcli.stored import load
from cfmcli.workflows import results
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.interpolate import interpolate
from cfmcli.workflows.likelihood import likelihood
from cfmcli.workflows.sample import sample
from cfmcli.workflows.transport import transport
from tests.conftest import Fit


def test_the_clock_is_an_ordered_categorical_of_numbers(tmp_path: Path) -> None:
    """Ascending float categories, whatever the order of rows, also after a file."""
    clock = results.clock(np.array([5.0, 0.5, 2.0, 0.5]))
    assert clock.ordered
    assert clock.categories.tolist() == [0.5, 2.0, 5.0]
    assert clock.astype(float).tolist() == [5.0, 0.5, 2.0, 0.5]
    obs = pd.DataFrame({"time": clock}, index=list("abcd"))
    anndata.AnnData(np.zeros((4, 1)), obs=obs).write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad").obs["time"]
    assert again.cat.ordered
    assert again.cat.categories.dtype.kind == "f"


def test_row_names_are_distinct_and_say_their_time() -> None:
    """One name for each pair of id and time."""
    names = results.unique_names(pd.Index(["a", "b", "a"]), np.array([0.0, 0.0, 1 / 3]))
    assert len(set(names)) == 3
    assert names[0].startswith("a")
    assert "0.333333" in names[2]


def test_what_a_result_says_does_not_change_between_equal_runs() -> None:
    """The verb, the run, the version and the seed; no date, no duration."""
    where = Runtime(seed=4, command="anything")
    assert results.facts("sample", "r", where, time=1.0) == results.facts(
        "sample", "r", Runtime(seed=4), time=1.0
    )
    assert results.facts("sample", "r", where)["generated"] is True
    assert results.facts("transport", "r", where)["generated"] is False


def test_loadings_rebuild_the_coordinates(cells_run: Path, toy_run: Path) -> None:
    """PCs and X_mean as scanpy defines them; without a PCA there are none."""
    model = load(cells_run)
    found = results.loadings(model)
    counts = np.random.default_rng(0).poisson(3, size=(5, 30))
    rebuilt = (np.log1p(counts) - found["X_mean"].ravel()) @ found["PCs"]
    np.testing.assert_allclose(rebuilt, model.encode(counts), atol=1e-10)
    assert results.loadings(load(toy_run)) == {}
    assert results.explained(load(toy_run)) == {}


@pytest.mark.parametrize(
    ("path", "is_one"),
    [("a.h5ad", True), ("a.H5AD", True), ("b.zarr", True), ("c.csv", False), ("-", False)],
)
def test_anndata_is_known_by_its_suffix(path: str, is_one: bool) -> None:
    """In any case of letters."""
    assert results.is_anndata(path) is is_one


def test_a_pca_is_written_under_names_of_its_own_where_others_are_taken(
    samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Its loadings are there, and do not pass for those of other coordinates; scaled scores too."""
    fit_run(
        tmp_path / "run",
        samples / "timecourse.h5ad",
        time_key="day",
        transform="log1p,pca:n=3,standardize",
    )
    model = load(tmp_path / "run")
    found = results.loadings(model, own=False)
    assert set(found) == {"cfm_PCs", "cfm_X_mean"}
    free = results.loadings(model)
    assert set(free) == {"PCs", "X_mean"}
    np.testing.assert_array_equal(free["PCs"], found["cfm_PCs"])
    assert set(results.explained(model)) == {"pca"}
    counts = np.random.default_rng(0).poisson(3, size=(5, 30))
    projected = (np.log1p(counts) - found["cfm_X_mean"].ravel()) @ found["cfm_PCs"]
    np.testing.assert_allclose(model.chain.maps[-1].forward(projected), model.encode(counts))


def test_ids_stay_beside_an_annotation_of_their_name(tmp_path: Path) -> None:
    """Columns beside points of which an annotation is called id."""
    obs = pd.DataFrame({"id": [100, 101]}, index=pd.Index(["c0", "c1"], name="cell"))
    table = Table(np.eye(2), ("x", "y"), obs)
    results.write_columns(str(tmp_path / "a.csv"), table, {"log_prob": np.array([1.0, 2.0])})
    found = pd.read_csv(tmp_path / "a.csv")
    assert found.columns.tolist() == ["cell", "id", "log_prob"]
    assert found["cell"].tolist() == ["c0", "c1"]
    plain = Table(np.eye(2), ("x", "y"), obs.drop(columns="id"))
    results.write_columns(str(tmp_path / "b.csv"), plain, {"log_prob": np.array([1.0, 2.0])})
    assert pd.read_csv(tmp_path / "b.csv").columns.tolist() == ["id", "log_prob"]


@pytest.mark.parametrize(
    ("notes", "own", "key"),
    [
        (["id", "cell"], "cell", "barcode"),
        (["id", "cell"], "sample", "sample"),
        (["id", "cell"], "", "barcode"),
        (["id", "cell", "barcode"], "", "obs_names"),
        (["id", "cell", "barcode", "obs_names"], "cell", "id1"),
        (["id", "cell", "barcode", "obs_names", "id1"], "", "id2"),
    ],
)
def test_ids_find_a_name_that_is_free(notes: list[str], own: str, key: str, tmp_path: Path) -> None:
    """Whatever the annotations beside them are called."""
    obs = pd.DataFrame({name: [7, 8] for name in notes}, index=pd.Index(["c0", "c1"], name=own))
    table = Table(np.eye(2), ("x", "y"), obs)
    results.write_columns(str(tmp_path / "a.csv"), table, {"log_prob": np.array([1.0, 2.0])})
    found = pd.read_csv(tmp_path / "a.csv")
    assert found.columns.tolist() == [key, *notes, "log_prob"]
    assert found[key].tolist() == ["c0", "c1"]


def test_a_day_keeps_its_colour(samples: Path, tmp_path: Path, fit_run: Fit) -> None:
    """Where the categories were in the order of their names, and where a result is moved again."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    names = {0.0: "d9", 1.0: "d10", 2.5: "d25", 5.0: "d100"}
    data.obs["day"] = pd.Categorical([names[day] for day in data.obs["day"].astype(float)])
    assert list(data.obs["day"].cat.categories) == ["d10", "d100", "d25", "d9"]
    data.uns["day_colors"] = np.array(["red", "yellow", "green", "blue"])
    source = tmp_path / "cells.h5ad"
    data.write_h5ad(source)
    fit_run(tmp_path / "run", source, time_key="day", transform="log1p,pca:n=3")
    moved = [str(source), str(tmp_path / "once.h5ad"), str(tmp_path / "twice.h5ad")]
    for one, other in pairwise(moved):
        request = TransportRequest(str(tmp_path / "run"), one, other, start="own")
        transport(request, Runtime(device="cpu", threads=1), ignore)
        found = anndata.read_h5ad(other)
        assert list(found.obs["day"].cat.categories) == [9.0, 10.0, 25.0, 100.0]
        assert list(found.uns["day_colors"]) == ["blue", "red", "green", "yellow"]
        assert list(found.uns["day_label_colors"]) == list(data.uns["day_colors"])


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.filterwarnings("ignore:The class .* is absent", "ignore:.*zarr v")
def test_new_points_keep_the_colours_of_their_classes(
    suffix: str, samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Of the run's cells or of those that are given; not of a column that lost its categories."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    kinds, run = list(data.obs["branch"].cat.categories), str(tmp_path / "run")
    data.uns["branch_colors"] = np.array([f"the colour of {name}" for name in kinds])
    data.uns["gone_colors"] = np.array(["red"])
    source, other, out = (str(tmp_path / f"{name}{suffix}") for name in ("a", "b", "out"))
    save(data, source)
    fit_run(Path(run), source, time_key="day", transform="log1p,pca:n=3", label_key="branch")
    data.obs["branch"] = data.obs["branch"].cat.reorder_categories(kinds[::-1])
    data.uns["branch_colors"] = np.array([f"the hue of {name}" for name in kinds[::-1]])
    save(data, other)
    paths, here = InterpolateRequest(run, out, frames=2), Runtime(device="cpu", force=True)
    asked: list[tuple[Any, Any, str]] = [
        (interpolate, paths, "colour"),
        (interpolate, replace(paths, population=True), "colour"),
        (interpolate, replace(paths, data=other, start="0"), "hue"),
        (sample, SampleRequest(run, out, 50), "colour"),
    ]
    for verb, request, word in asked:
        verb(request, here, ignore)
        found = read(out)
        own = [f"the {word} of {name}" for name in found.obs["branch"].cat.categories]
        assert list(found.uns["branch_colors"]) == own
        assert "gone_colors" not in found.uns


def save(data: anndata.AnnData, path: str) -> None:
    """Write an AnnData."""
    (data.write_zarr if path.endswith(".zarr") else data.write_h5ad)(path)


def read(path: str) -> anndata.AnnData:
    """Read one."""
    return anndata.read_zarr(path) if path.endswith(".zarr") else anndata.read_h5ad(path)


def test_a_column_that_is_replaced_is_told(toy_run: Path, samples: Path, tmp_path: Path) -> None:
    """Scores that points had before, from whatever model."""
    points = pd.read_csv(samples / "target.csv").head(20).assign(log_prob=7.0, note="a")
    source, out = tmp_path / "scored.csv", tmp_path / "again.csv"
    points.to_csv(source, index=False)
    request = LikelihoodRequest(str(toy_run), str(source), str(out), time="1")
    with pytest.warns(CfmWarning, match=r"'log_prob' of the points is replaced in .*again\.csv"):
        likelihood(request, Runtime(device="cpu", threads=1), ignore)
    found = pd.read_csv(out)
    assert list(found.columns) == ["id", "note", "log_prob"]
    assert (found["log_prob"] < 7).all()
