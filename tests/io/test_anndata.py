"""AnnData files: what is read, what is left alone, and what is added."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cfmcli.errors import DataError, ResourceError
from cfmcli.io import (
    Annotation,
    Selection,
    annotate,
    from_object,
    like,
    read_table,
    write_anndata,
)

SUFFIXES = [".h5ad", ".zarr"]
pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2", "ignore:zarr v3 autosharding")


def _adata(*, csc: bool = False) -> ad.AnnData:
    rng = np.random.default_rng(0)
    ids, genes = [f"c{i}" for i in range(6)], [f"g{i}" for i in range(5)]
    stage = pd.Categorical(list("bababa"), categories=["b", "a", "z"], ordered=True)
    obs = pd.DataFrame({"stage": stage, "n": range(6), "kind": list("uvwuvw")}, index=ids)
    counts = (sparse.csc_matrix if csc else sparse.csr_matrix)(rng.poisson(1, (6, 5)))
    data = ad.AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=genes))
    data.obsm["X_pca"] = rng.normal(size=(6, 3)).astype(np.float32)
    data.obsm["frame"] = pd.DataFrame(rng.normal(size=(6, 2)), ids, ["left", "right"])
    data.layers["ints"] = counts.toarray().astype(np.int32)
    data.uns["cfm"] = {"old": 1}
    data.uns["log1p"] = {"base": 2.0}
    data.raw = data.copy()
    return data


def _write(data: ad.AnnData, path: Path) -> str:
    (data.write_zarr if path.suffix == ".zarr" else data.write_h5ad)(path)
    return str(path)


def _load(path: str) -> ad.AnnData:
    return ad.read_zarr(path) if path.endswith(".zarr") else ad.read_h5ad(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("csc", [False, True])
def test_sparse_stays_sparse(suffix: str, csc: bool, tmp_path: Path) -> None:
    """CSR and CSC come back as CSR with the same numbers and type."""
    data = _adata(csc=csc)
    table = read_table(_write(data, tmp_path / f"a{suffix}"))
    assert isinstance(table.values, sparse.csr_matrix)
    assert table.values.dtype == np.float32
    np.testing.assert_array_equal(table.values.toarray(), data.X.toarray())
    assert (table.basis, table.features) == ("X", tuple(data.var_names))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parts(suffix: str, tmp_path: Path) -> None:
    """Layers and obsm are read by key, named, and converted only if they are integers."""
    data = _adata()
    path = _write(data, tmp_path / f"a{suffix}")
    layer = read_table(path, Selection(layer="ints"))
    assert (layer.basis, layer.values.dtype) == ("layer:ints", np.float64)
    np.testing.assert_array_equal(layer.values, data.layers["ints"])
    pca = read_table(path, Selection(use_rep="X_pca", drop="pca2"))
    assert (pca.basis, pca.features, pca.values.dtype) == (
        "obsm:X_pca",
        ("pca1", "pca3"),
        np.float32,
    )
    np.testing.assert_array_equal(pca.values, data.obsm["X_pca"][:, [0, 2]])
    assert read_table(path, Selection(use_rep="frame")).features == ("left", "right")
    some = read_table(path, Selection(features="g4,g1"))
    assert some.features == ("g1", "g4")
    assert isinstance(some.values, sparse.csr_matrix)
    np.testing.assert_array_equal(some.values.toarray(), data.X.toarray()[:, [1, 4]])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_annotations(suffix: str, tmp_path: Path) -> None:
    """Categoricals keep order, integers stay integers, ids are the obs names."""
    data = _adata()
    table = read_table(_write(data, tmp_path / f"a{suffix}"), Selection(annotations=("n",)))
    assert table.obs["stage"].dtype == data.obs["stage"].dtype
    assert table.obs["n"].tolist() == list(range(6))
    assert table.obs["n"].dtype.kind == "i"
    assert table.obs.index.tolist() == list(data.obs_names)
    keyed = read_table(_write(data, tmp_path / f"b{suffix}"), Selection(id_key="n"))
    assert keyed.obs.index.tolist() == [str(i) for i in range(6)]


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    """With a representation chosen X is never read: its bytes may even be unreadable."""
    data = _adata()
    data.X = np.arange(30.0).reshape(6, 5)
    path = tmp_path / "a.h5ad"
    data.write_h5ad(path, compression="gzip")
    with h5py.File(path, "r+") as file:
        chunk = file["X"].id.get_chunk_info(0)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\xff" * chunk.size)
    with pytest.raises(DataError, match="damaged"):
        read_table(str(path))
    table = read_table(str(path), Selection(use_rep="X_pca"))
    np.testing.assert_array_equal(table.values, data.obsm["X_pca"])


def test_files_are_closed(tmp_path: Path) -> None:
    """After reading, and after a refusal, the file can be opened for writing."""
    path = _write(_adata(), tmp_path / "a.h5ad")
    read_table(path)
    with pytest.raises(DataError) as caught:
        read_table(path, Selection(use_rep="none"))
    assert caught.value.__traceback__ is not None
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 0
    with h5py.File(path, "r+") as file:
        assert "obs" in file


def test_a_gap_in_a_sparse_matrix_is_located(tmp_path: Path) -> None:
    """The row, id and gene of a stored NaN are named, behind empty rows too."""
    matrix = np.zeros((5, 4))
    matrix[0, 1], matrix[3, 0], matrix[3, 2] = 1.0, np.nan, 2.0
    out = str(tmp_path / "a.h5ad")
    write_anndata(out, sparse.csr_matrix(matrix), pd.DataFrame(index=list("pqrst")), list("ghij"))
    with pytest.raises(DataError, match=r"row 4, id 's', column 'g'.*1 such"):
        read_table(out)


ADDED = Annotation(
    obs={"cfm_time": np.arange(6.0), "kind": np.array(list("abcabc"))},
    obsm={"X_cfm": np.ones((6, 2)), "X_pca": np.zeros((6, 3))},
    layers={"cfm": sparse.csr_matrix(np.eye(6, 5))},
    varm={"PCs": np.ones((5, 2))},
    uns={"cfm": {"method": "otcfm", "times": np.array([0.0, 1.0]), "none": None, "ok": True}},
)


@pytest.mark.parametrize("source", SUFFIXES)
@pytest.mark.parametrize("target", SUFFIXES)
def test_annotate_keeps_and_adds(source: str, target: str, tmp_path: Path) -> None:
    """Everything of the input is in the output, with the additions, and the input is as it was."""
    data = _adata()
    path, out = _write(data, tmp_path / f"a{source}"), str(tmp_path / f"b{target}")
    annotate(path, out, ADDED)
    got = _load(out)
    np.testing.assert_array_equal(got.X.toarray(), data.X.toarray())
    np.testing.assert_array_equal(got.raw.X.toarray(), data.X.toarray())
    assert got.obs["stage"].dtype == data.obs["stage"].dtype
    assert list(got.obs.columns) == ["stage", "n", "kind", "cfm_time"]
    assert got.obs["kind"].tolist() == list("abcabc")
    np.testing.assert_array_equal(got.obsm["frame"], data.obsm["frame"])
    np.testing.assert_array_equal(got.obsm["X_pca"], np.zeros((6, 3)))
    np.testing.assert_array_equal(got.layers["cfm"].toarray(), np.eye(6, 5))
    np.testing.assert_array_equal(got.layers["ints"], data.layers["ints"])
    assert got.varm["PCs"].shape == (5, 2)
    assert got.uns["log1p"] == {"base": 2.0}
    assert got.uns["cfm"]["method"] == "otcfm"
    assert "old" not in got.uns["cfm"]
    assert "X_cfm" not in _load(path).obsm


def test_annotate_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """No clock and no temporary name gets into the output."""
    path = _write(_adata(), tmp_path / "a.h5ad")
    for name in ("b.h5ad", "c.h5ad"):
        annotate(path, str(tmp_path / name), ADDED)
    assert (tmp_path / "b.h5ad").read_bytes() == (tmp_path / "c.h5ad").read_bytes()


def test_annotate_may_replace_its_own_kind_of_column(tmp_path: Path) -> None:
    """An ordered categorical of floats survives: the form that CellRank and WOT read."""
    path, out = _write(_adata(), tmp_path / "a.h5ad"), str(tmp_path / "b.h5ad")
    days = pd.Categorical([2.0, 0.5] * 3, categories=[0.5, 2.0], ordered=True)
    annotate(path, out, Annotation(obs={"stage": days}))
    got = ad.read_h5ad(out).obs["stage"]
    assert got.cat.ordered
    assert got.cat.categories.dtype == np.float64
    assert got.astype(float).tolist() == [2.0, 0.5] * 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_row_keeps_its_colour(suffix: str, tmp_path: Path) -> None:
    """In the order of the new categories; those of labels and of other columns stay as they are."""
    data = _adata()
    labels = pd.Categorical(["d2", "d10", None, "d2", "d10", "d2"], ["none", "d10", "d2"])
    data.obs["day"], data.uns["day_colors"] = labels, np.array(["grey", "red", "blue"])
    data.obs["other"] = pd.Categorical(list("aabbab"))
    data.uns["other_colors"] = np.array(["white", "black"])
    days = pd.Categorical([2.0, 10.0, np.nan, 2.0, 10.0, 2.0])
    added = Annotation(obs={"day": days, "day_label": data.obs["day"], "stage": days})
    path, out = _write(data, tmp_path / f"a{suffix}"), str(tmp_path / f"b{suffix}")
    annotate(path, out, added)
    for got in (_load(out), like(data, from_object(data), added)):
        assert list(got.uns["day_colors"]) == ["blue", "red"]
        assert list(got.uns["day_label_colors"]) == ["grey", "red", "blue"]
        assert list(got.uns["other_colors"]) == ["white", "black"]
        assert "stage_colors" not in got.uns


REFUSED = {
    "uns key": (Annotation(uns={"cfm": {0.5: 1}}), "0.5"),
    "uns tuple": (Annotation(uns={("a", "b"): 1}), r"\('a', 'b'\)"),  # type: ignore[dict-item]
    "slash": (Annotation(obs={"a/b": np.arange(6)}), "'a/b'"),
    "obs length": (Annotation(obs={"t": np.arange(5)}), r"\(5,\).*\(6,\)"),
    "obsm rows": (Annotation(obsm={"X": np.ones((5, 2))}), r"\(5, 2\)"),
    "layer shape": (Annotation(layers={"L": np.ones((6, 4))}), r"\(6, 5\)"),
    "varm rows": (Annotation(varm={"PCs": np.ones((6, 2))}), r"varm\['PCs'\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_stored_is_refused_first(case: str, tmp_path: Path) -> None:
    """A wrong shape or key is named before anything is written."""
    annotation, words = REFUSED[case]
    path = _write(_adata(), tmp_path / "a.h5ad")
    with pytest.raises(DataError, match=words):
        annotate(path, str(tmp_path / "b.h5ad"), annotation)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_new_anndata(suffix: str, tmp_path: Path) -> None:
    """A new object holds X, obs, names and additions, as anndata itself reads them."""
    obs = pd.DataFrame({"time": [0.0, 1.0]}, index=pd.Index(["p", "q"], name="id"))
    added = Annotation(obs={"step": np.array([3, 4])}, layers={"velocity": np.ones((2, 3))})
    out = str(tmp_path / f"a{suffix}")
    write_anndata(out, np.eye(2, 3), obs, ("g", "h", "a/b"), added)
    got = _load(out)
    np.testing.assert_array_equal(got.X, np.eye(2, 3))
    assert list(got.var_names) == ["g", "h", "a/b"]
    assert got.obs["step"].tolist() == [3, 4]
    assert list(got.obs_names) == ["p", "q"]
    np.testing.assert_array_equal(got.layers["velocity"], np.ones((2, 3)))


def test_columns_of_any_type_are_stored(tmp_path: Path) -> None:
    """Dates and mixed objects become text, nullable numbers and gaps stay what they are."""
    obs = pd.DataFrame(
        {
            "date": [pd.Timestamp("2024-01-02"), pd.NaT],
            "span": pd.to_timedelta([1, 2], unit="D"),
            "mixed": [1, "a"],
            "gap": pd.array([1, None], dtype="Int64"),
            "string": pd.array(["u", None], dtype="string"),
        },
        index=["p", "q"],
    )
    out = str(tmp_path / "a.h5ad")
    write_anndata(out, np.eye(2), obs, ("g", "h"))
    got = read_table(out).obs
    assert got["date"].isna().tolist() == [False, True]
    assert str(got["date"].iloc[0]).startswith("2024-01-02")
    assert got["span"].tolist() == ["1 days 00:00:00", "2 days 00:00:00"]
    assert got["mixed"].tolist() == ["1", "a"]
    assert got["gap"].iloc[0] == 1
    assert got["string"].isna().tolist() == [False, True]


@pytest.mark.parametrize("name", ["a/b", ""])
def test_column_names_that_hdf5_takes_for_paths(name: str, tmp_path: Path) -> None:
    """They are refused by name rather than stored somewhere else."""
    with pytest.raises(DataError, match="Rename"):
        write_anndata(str(tmp_path / "a.h5ad"), np.eye(1), pd.DataFrame({name: [1]}, ["p"]), ("g",))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_both_versions_of_zarr(version: int, tmp_path: Path) -> None:
    """Zarr 2 and 3 are read, and annotated in the version they have."""
    data = _adata()
    with ad.settings.override(zarr_write_format=version):
        path = _write(data, tmp_path / "a.zarr")
    out = str(tmp_path / "b.zarr")
    annotate(path, out, ADDED)
    assert (tmp_path / "b.zarr" / "zarr.json").exists() == (version == 3)
    np.testing.assert_array_equal(
        read_table(out, Selection(use_rep="X_cfm")).values, np.ones((6, 2))
    )
    assert _load(out).uns["cfm"]["method"] == "otcfm"


@pytest.mark.parametrize("columns", [["g4500"], ["g4500", "g1"]])
def test_columns_of_a_tall_matrix(columns: list[str], tmp_path: Path) -> None:
    """Columns of a dense matrix read in blocks of rows are those of the whole."""
    values = np.random.default_rng(0).normal(size=(4500, 3))
    names = ["g1", "g4500", "h"]
    out = str(tmp_path / "a.h5ad")
    write_anndata(out, values, pd.DataFrame(index=[f"c{i}" for i in range(4500)]), names)
    places = [k for k, name in enumerate(names) if name in columns]
    got = read_table(out, Selection(features=",".join(columns))).values
    np.testing.assert_array_equal(got, values[:, places])


def test_a_full_disk_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5's own words for a full disk become a resource error, and nothing is changed."""

    def full(*_: object, **__: object) -> None:
        raise OSError("Can't write data (file write failed: errno = 28, error message = 'No space'")

    obs = pd.DataFrame(index=["p"])
    out = tmp_path / "a.h5ad"
    write_anndata(str(out), np.eye(1), obs, ("g",))
    before = out.read_bytes()
    monkeypatch.setattr(ad.AnnData, "write_h5ad", full)
    with pytest.raises(ResourceError, match="free some space"):
        write_anndata(str(out), np.eye(1), obs, ("g",))
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]
