"""Points in memory become tables, and come back as what the user gave."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cfmcli.errors import CfmWarning, DataError
from cfmcli.io import Annotation, Selection, from_object, like, read_table

VALUES = np.array([[0.5, 1.0], [2.0, 3.5], [4.0, 5.0]])


def _adata() -> ad.AnnData:
    obs = pd.DataFrame({"day": [0, 1, 1]}, index=list("abc"))
    data = ad.AnnData(sparse.csr_matrix(VALUES), obs=obs, var=pd.DataFrame(index=["g", "h"]))
    data.obsm["X_pca"] = VALUES[:, ::-1].copy()
    return data


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.bool_])
def test_arrays(kind: type, tmp_path: Path) -> None:
    """An array is the table that its .npy file is; one axis is one feature."""
    array: np.ndarray = VALUES.astype(kind)
    np.save(tmp_path / "a.npy", array)
    table, stored = from_object(array), read_table(str(tmp_path / "a.npy"))
    assert table.features == stored.features == ("x0", "x1")
    assert table.values.dtype == stored.values.dtype
    np.testing.assert_array_equal(table.values, array)
    assert from_object(array[:, 0]).values.shape == (3, 1)
    assert from_object(array.tolist()).values.dtype.kind == "f"
    assert table.obs.index.name is None


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.coo_array, sparse.csc_array])
def test_sparse_matrices(kind: Callable[..., Any]) -> None:
    """The points of a sparse matrix are those of the array that it stands for."""
    table = from_object(kind(VALUES), Selection(features="x1"))
    assert table.features == ("x1",)
    assert not isinstance(table.values, np.ndarray)
    np.testing.assert_array_equal(table.values.toarray(), VALUES[:, [1]])
    moved = like(kind(VALUES), from_object(VALUES))
    np.testing.assert_array_equal(moved, VALUES)


def test_what_is_masked_is_missing() -> None:
    """Whatever number stands behind the mask."""
    with pytest.raises(DataError, match="'x1': the value is missing"):
        from_object(np.ma.masked_greater(VALUES, 4.5))


def test_frame_is_the_table_of_its_csv(tmp_path: Path) -> None:
    """A DataFrame and the CSV it writes give the same features, ids and annotations."""
    frame = pd.DataFrame(
        {"u": VALUES[:, 0], "day": [1, 2, 3], "kind": ["p", "q", "r"], "v": VALUES[:, 1]},
        index=pd.Index(["007", "b", "c"], name="cell"),
    )
    frame.to_csv(tmp_path / "a.csv")
    keys = Selection(annotations=("day",))
    table, stored = from_object(frame, keys), read_table(str(tmp_path / "a.csv"), keys)
    np.testing.assert_array_equal(table.values, stored.values)
    assert table.features == stored.features == ("u", "v")
    pd.testing.assert_frame_equal(table.obs, stored.obs)


def test_frame_ids() -> None:
    """A counting index gives no ids, any other does; a conventional column wins."""
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    assert from_object(frame).obs.index.name is None
    assert from_object(frame.set_axis([3, 5], axis=0)).obs.index.tolist() == ["3", "5"]
    assert from_object(frame.assign(id=[8, 9])).obs.index.tolist() == ["8", "9"]
    assert from_object(frame.assign(id=[8, 9])).features == ("x",)


def test_frame_kinds() -> None:
    """Numbers of any width are features; times, booleans and text are not."""
    frame = pd.DataFrame(
        {
            "a": pd.array([1, 2], dtype="Int64"),
            "b": np.array([1, 2], dtype=np.float32),
            "c": [True, False],
            "d": pd.to_timedelta([1, 2]),
            "e": ["u", "v"],
        }
    )
    table = from_object(frame)
    assert table.features == ("a", "b")
    assert table.values.dtype == np.float64
    assert list(table.obs.columns) == ["c", "d", "e"]
    assert from_object(frame[["b"]]).values.dtype == np.float32


@pytest.mark.parametrize(
    "selection", [Selection(), Selection(use_rep="X_pca"), Selection(features="h")]
)
@pytest.mark.parametrize("backed", [False, True])
def test_anndata_is_the_table_of_its_file(
    selection: Selection, backed: bool, tmp_path: Path
) -> None:
    """An AnnData in memory, backed, or read by the reader gives one and the same table."""
    path = str(tmp_path / "a.h5ad")
    _adata().write_h5ad(path)
    stored = read_table(path, selection)
    data = ad.read_h5ad(path, backed="r") if backed else _adata()
    table = from_object(data, selection)
    if backed:
        data.file.close()
    assert (table.features, table.basis) == (stored.features, stored.basis)
    assert type(table.values) is type(stored.values)
    assert abs(table.values - stored.values).max() == 0
    pd.testing.assert_frame_equal(table.obs, stored.obs)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.array([[1.0, np.nan]]), "row 1, column 'x1'"),
        (np.array([["a"]]), "real numbers"),
        (np.zeros((0, 2)), "no points"),
        (pd.DataFrame({"x": [1.0, np.inf]}), "row 2, column 'x'"),
        (pd.DataFrame([[1.0, 2.0]], columns=["x", "x"]), "more than once"),
        (pd.DataFrame({"n": ["a"]}), "no numeric column"),
    ],
)
def test_bad_objects(data: object, words: str) -> None:
    """Objects are held to the same rules as files."""
    with pytest.raises(DataError, match=words):
        from_object(data)


def test_without_x_layers_and_representations_are_listed(tmp_path: Path) -> None:
    """Of a file as of an object."""
    data = _adata()
    data.layers["counts"] = data.X
    data.X = None
    data.write_h5ad(tmp_path / "a.h5ad")
    words = r"X is empty. Choose --layer \('counts'\) or --use-rep \('X_pca'\)"
    with pytest.raises(DataError, match=words):
        from_object(data)
    with pytest.raises(DataError, match=words):
        read_table(str(tmp_path / "a.h5ad"))


def test_unknown_parts() -> None:
    """A key that an AnnData does not have is answered with the nearest."""
    with pytest.raises(DataError, match="Did you mean 'X_pca'"):
        from_object(_adata(), Selection(use_rep="X_pcs"))
    with pytest.raises(DataError, match="--layer raw"):
        from_object(VALUES, Selection(layer="raw"))


def test_like_gives_back_the_same_kind() -> None:
    """Array for array, frame for frame with its index and order, AnnData for AnnData."""
    array = like(VALUES, from_object(VALUES).with_values(VALUES + 1))
    np.testing.assert_array_equal(array, VALUES + 1)
    assert like(VALUES[:, 0], from_object(VALUES[:, 0])).shape == (3,)
    frame = pd.DataFrame({"u": VALUES[:, 0], "kind": list("pqr"), "v": [1, 2, 3]}, list("abc"))
    moved = like(frame, from_object(frame).with_values(VALUES * 2))
    assert list(moved.columns) == ["u", "kind", "v"]
    assert moved.index.equals(frame.index)
    np.testing.assert_array_equal(moved[["u", "v"]].to_numpy(), VALUES * 2)
    np.testing.assert_array_equal(frame["u"], VALUES[:, 0])


def test_like_frame_of_other_points() -> None:
    """Other features or another number of points give a new frame with the annotations."""
    frame = pd.DataFrame({"u": [1.0, 2.0], "kind": ["p", "q"]}, ["a", "b"])
    table = from_object(frame).with_values(VALUES[:2], ("pc1", "pc2"))
    wide = like(frame, table)
    assert list(wide.columns) == ["kind", "pc1", "pc2"]
    assert wide.index.tolist() == ["a", "b"]


def test_like_anndata() -> None:
    """A copy gets the additions; the original is not touched."""
    data = _adata()
    table = from_object(data, Selection(use_rep="X_pca"))
    np.testing.assert_array_equal(like(data, table).obsm["X_cfm"], table.values)
    added = Annotation(obs={"t": np.zeros(3)}, obsm={"X_new": VALUES}, uns={"cfm": {"a": 1}})
    result = like(data, table, added)
    np.testing.assert_array_equal(result.obsm["X_new"], VALUES)
    assert result.obs["t"].tolist() == [0, 0, 0]
    assert set(data.obsm) == {"X_pca"}
    assert not data.uns
    with pytest.raises(DataError, match="shape"):
        like(data, table, Annotation(obsm={"X_new": VALUES[:2]}))


@pytest.mark.parametrize("make", [lambda f: f, lambda f: ad.AnnData(f.copy())])
def test_repeated_names_get_numbers_and_are_told(
    make: Callable[[pd.DataFrame], Any],
) -> None:
    """Names of a frame and of an AnnData become distinct, the first of each as it was."""
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=["a", "b", "a"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        data = make(frame)
    with pytest.warns(CfmWarning, match="'a'"):
        table = from_object(data)
    ids = list(table.obs.index)
    assert ids[:2] == ["a", "b"]
    assert len(set(ids)) == 3
