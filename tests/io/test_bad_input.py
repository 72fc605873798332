"""Every kind of bad input: its exit code, and a message that says where and what."""

import gzip
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from cfmcli.errors import CfmError
from cfmcli.io import Selection, read_table, require

GOOD = b"id,x,y\na,1,2\nb,3,4\nc,5,6\n"

# name of the file, its content, selection, exit code, words of the message
TEXTS: dict[str, tuple[str, bytes, Selection, int, tuple[str, ...]]] = {
    "empty file": ("a.csv", b"", Selection(), 3, ("empty",)),
    "blank lines only": ("a.csv", b"\n \n\n", Selection(), 3, ("empty",)),
    "header only": ("a.csv", b"id,x\n", Selection(), 3, ("no points",)),
    "empty cell": ("a.csv", b"id,x\na,1\nb,\nc,\n", Selection(), 3, ("line 3", "'x'", "2 such")),
    "nan": ("a.csv", b"x,y\n1,2\n3,4\n5,nan\n", Selection(), 3, ("line 4", "'y'", "NaN")),
    "word for missing": ("a.csv", b"x\n1\nNA\n2\n", Selection(), 3, ("line 3", "'x'", "--drop x")),
    "infinity": ("a.csv", b"x\n1\n-inf\n", Selection(), 3, ("line 3", "infinite")),
    "only infinity": ("a.csv", b"x,y\ninf,1\ninf,1\n", Selection(), 3, ("line 2", "infinite")),
    "overflow": ("a.csv", b"x\n1\n1e999\n", Selection(), 3, ("line 3", "infinite")),
    "blank line counts": ("a.csv", b"x,y\n\n1,2\n3,nan\n", Selection(), 3, ("line 4",)),
    "quoted line breaks count": (
        "a.csv", b'n,x\n"a\nb",1\n"c\n\nd",nan\n', Selection(), 3, ("line 4", "'x'")),
    "text among numbers": (
        "a.csv", b"x,y\n1,2\n3,oops\n4,5\n", Selection(), 3, ("line 3", "'y'", "'oops'", "1 such")),
    "decimal comma": ("a.csv", b'x\n1\n2\n"3,5"\n', Selection(), 3, ("line 4", "'3,5'")),
    "underscore": ("a.csv", b"x\n1\n2\n1_0\n", Selection(), 3, ("line 4", "'1_0'")),
    "too few fields": ("a.csv", b"x,y\n1,2\n3\n", Selection(), 3, ("line 3", "1 fields", "2")),
    "too many fields": ("a.csv", b"x,y\n1,2\n3,4,5\n", Selection(), 3, ("line 3", "3 fields")),
    "open quote": ("a.csv", b'n,x\n"a,1\nb,2\n', Selection(), 3, ("line 2", "quote")),
    "no numeric column": ("a.csv", b"id,n\na,b\nc,d\n", Selection(), 3, ("no numeric", "'n'")),
    "semicolons": ("a.csv", b"x;y\n1;2\n", Selection(), 3, ("no numeric", "'x;y'")),
    "semicolons and a comma in a name": (
        "a.csv", b"id;ab,c;x\na;1;2\nb;3;4\n", Selection(), 3, ("line 1", "';'", "'id;ab'")),
    "semicolons and quotes": (
        "a.csv", b'"";"x";"y"\n"1";1,5;2\n', Selection(), 3, ("separated by ';'",)),
    "semicolons and decimal commas": (
        "a.csv", b"id;ab,c;x\na;1,5;2,5\nb;3,5;4\n", Selection(), 3, ("line 1", "';'")),
    "decimal commas": (
        "a.tsv", b"x\ty\n1,5\t2,5\n3\t4\n3,5\t4,5\n", Selection(), 3,
        ("line 2", "'x'", "'1,5' holds a comma (2 such cells)", "point", "--drop x")),
    "duplicate columns": ("a.csv", b"x,y,x\n1,2,3\n", Selection(), 3, ("'x'", "more than once")),
    "duplicate ids": (
        "a.csv",
        b"id,x\na,1\nb,2\na,3\n",
        Selection(id_key="id"),
        3,
        ("line 4", "'a'"),
    ),
    "empty id": ("a.csv", b"id,x\na,1\n,2\n", Selection(), 3, ("line 3", "no id")),
    "no header": ("a.csv", b"1.5,2.5\n3.5,4.5\n", Selection(), 3, ("line 1", "names")),
    "latin-1 cell": ("a.csv", b"n,x\na,1\n\xfc,2\n", Selection(), 3, ("line 3", "0xfc", "UTF-8")),
    "latin-1 header": ("a.csv", b"M\xfcller,x\na,2\n", Selection(), 3, ("line 1", "UTF-8")),
    "utf-16": ("a.csv", "x,y\n1,2\n".encode("utf-16"), Selection(), 3, ("UTF-16",)),
    "gzip by another name": ("a.csv", gzip.compress(GOOD), Selection(), 3, ("gzip",)),
    "truncated gzip": ("a.csv.gz", gzip.compress(GOOD)[:-12], Selection(), 3, ("truncated",)),
    "not gzip": ("a.csv.gz", GOOD, Selection(), 3, ("gzip",)),
    "unknown suffix": ("a.xlsx", GOOD, Selection(), 2, (".xlsx", ".h5ad", ".parquet")),
    "no suffix": ("a", GOOD, Selection(), 2, ("(no suffix)", ".csv")),
    "unknown feature": (
        "a.csv", GOOD, Selection(features="x,yy"), 3, ("'yy'", "Did you mean 'y'", "'id'")),
    "unknown drop": ("a.csv", GOOD, Selection(drop="z*"), 3, ("'z*'",)),
    "unknown id": ("a.csv", GOOD, Selection(id_key="idd"), 3, ("'idd'", "Did you mean 'id'")),
    "feature that is text": (
        "a.csv", b"n,x\na,1\nb,2\n", Selection(features="n,x"), 3, ("'n'", "does not hold")),
    "all dropped": ("a.csv", GOOD, Selection(drop="x,y"), 3, ("no numeric",)),
    "layer of a csv": ("a.csv", GOOD, Selection(layer="raw"), 3, ("--layer raw", ".h5ad")),
    "rep of a csv": ("a.csv", GOOD, Selection(use_rep="X_pca"), 3, ("--use-rep X_pca",)),
    "not parquet": ("a.parquet", GOOD, Selection(), 3, ("Parquet",)),
    "not npy": ("a.npy", GOOD, Selection(), 3, ("npy",)),
    "empty npy": ("a.npy", b"", Selection(), 3, ("npy",)),
    "not npz": ("a.npz", GOOD, Selection(), 3, ("npz",)),
    "not h5ad": ("a.h5ad", GOOD, Selection(), 3, ("no AnnData file",)),
}  # fmt: skip


def _refused(path: Path, selection: Selection, code: int, words: tuple[str, ...]) -> None:
    with pytest.raises(CfmError) as caught:
        read_table(str(path), selection)
    assert caught.value.exit_code == code
    message = str(caught.value)
    assert message.startswith(str(path))
    for word in words:
        assert word in message


@pytest.mark.parametrize("case", TEXTS)
def test_bad_text(case: str, tmp_path: Path) -> None:
    """Bad bytes give the stated exit code and a message with file, line, column and value."""
    name, content, selection, code, words = TEXTS[case]
    (tmp_path / name).write_bytes(content)
    _refused(tmp_path / name, selection, code, words)


ARRAYS: dict[str, tuple[object, tuple[str, ...]]] = {
    "three axes": (np.zeros((2, 2, 2)), ("(n, d)", "(2, 2, 2)")),
    "text": (np.array([["a", "b"]]), ("real numbers", "<U1")),
    "complex": (np.ones((2, 2), dtype=complex), ("real numbers", "complex128")),
    "objects": (np.array([[None, 1]], dtype=object), ("npy",)),
    "nan": (np.array([[1.0, 2.0], [3.0, np.nan]]), ("row 2", "'x1'")),
    "no rows": (np.zeros((0, 3)), ("no points",)),
    "no columns": (np.zeros((3, 0)), ("(3, 0)",)),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_bad_array(case: str, tmp_path: Path) -> None:
    """Arrays that are no finite points are refused; pickled objects are never loaded."""
    content, words = ARRAYS[case]
    np.save(tmp_path / "a.npy", content, allow_pickle=True)  # type: ignore[arg-type]
    _refused(tmp_path / "a.npy", Selection(), 3, words)


ARCHIVES: dict[str, tuple[dict[str, object], Selection, tuple[str, ...]]] = {
    "two tables": ({"a": np.eye(2), "b": np.eye(2)}, Selection(), ("'a', 'b'", "--use-rep")),
    "no table": ({"a": np.ones(2)}, Selection(), ("'a'", "2-D of them: none")),
    "wrong key": ({"pcs": np.eye(2)}, Selection(use_rep="pca"), ("Did you mean 'pcs'",)),
    "ids too short": ({"X": np.eye(2), "ids": np.array(["a"])}, Selection(), ("ids", "(1,)")),
    "names too few": ({"X": np.eye(2), "features": np.array(["a"])}, Selection(), ("1 features",)),
    "names repeat": (
        {"X": np.eye(2), "features": np.array(["a", "a"])}, Selection(), ("more than once",)),
}  # fmt: skip


@pytest.mark.parametrize("case", ARCHIVES)
def test_bad_archive(case: str, tmp_path: Path) -> None:
    """Archives without one table of points, or whose names do not fit it, are refused."""
    content, selection, words = ARCHIVES[case]
    np.savez(tmp_path / "a.npz", **content)  # type: ignore[arg-type]
    _refused(tmp_path / "a.npz", selection, 3, words)


def _adata() -> ad.AnnData:
    data = ad.AnnData(np.arange(6.0).reshape(3, 2), obs=pd.DataFrame(index=list("abc")))
    data.var_names = ["g", "h"]
    data.obsm["X_pca"] = np.ones((3, 2))
    data.layers["raw"] = np.ones((3, 2))
    return data


def _nan_in_x(data: ad.AnnData) -> None:
    data.X[1, 1] = np.nan


def _repeat_genes(data: ad.AnnData) -> None:
    data.var_names = ["g", "g"]


def _no_x(data: ad.AnnData) -> None:
    del data.X


def _as_is(data: ad.AnnData) -> None:
    data.uns["note"] = "good"


BOTH = Selection(layer="raw", use_rep="X_pca")
ANNDATAS: dict[
    str, tuple[Callable[[ad.AnnData], None], Selection, int, tuple[str, ...]]
] = {
    "nan": (_nan_in_x, Selection(), 3, ("row 2", "'b'", "'h'")),
    "repeated genes": (_repeat_genes, Selection(), 3, ("'g'", "var_names_make_unique")),
    "no X": (_no_x, Selection(), 3, ("X is empty", "'X_pca'")),
    "unknown obsm": (_as_is, Selection(use_rep="X_pcaa"), 3, ("Did you mean 'X_pca'", "obsm")),
    "unknown layer": (_as_is, Selection(layer="counts"), 3, ("'counts'", "'raw'", "layers")),
    "both": (_as_is, BOTH, 2, ("exclude each other",)),
    "unknown gene": (_as_is, Selection(features="gg"), 3, ("Did you mean 'g'",)),
    "unknown id": (_as_is, Selection(id_key="barcode"), 3, ("'barcode'",)),
    "nothing left": (_as_is, Selection(drop="*"), 3, ("no feature",)),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize("case", ANNDATAS)
@pytest.mark.filterwarnings("ignore")
def test_bad_anndata(case: str, suffix: str, tmp_path: Path) -> None:
    """What an AnnData lacks, or holds badly, is named with what it does hold."""
    spoil, selection, code, words = ANNDATAS[case]
    data, path = _adata(), tmp_path / f"a{suffix}"
    spoil(data)
    (data.write_zarr if suffix == ".zarr" else data.write_h5ad)(path)
    _refused(path, selection, code, words)


def test_truncated_h5ad(tmp_path: Path) -> None:
    """A download that broke off is told apart from a bug."""
    path = tmp_path / "a.h5ad"
    _adata().write_h5ad(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _refused(path, Selection(), 3, ("truncated",))


def test_hdf5_of_another_kind(tmp_path: Path) -> None:
    """HDF5 without obs and var is no AnnData."""
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file["data"] = np.eye(2)
    _refused(tmp_path / "a.h5ad", Selection(), 3, ("no AnnData file", "obs"))


def test_folder_that_is_no_zarr(tmp_path: Path) -> None:
    """A folder called .zarr with nothing in it is refused, as is a folder called .csv."""
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.csv").mkdir()
    _refused(tmp_path / "a.zarr", Selection(), 3, ("AnnData",))
    _refused(tmp_path / "a.csv", Selection(), 3, ("folder",))


def test_missing_file_suggests(tmp_path: Path) -> None:
    """A misspelt file name gets the nearest one in its folder."""
    (tmp_path / "cells.csv").write_bytes(GOOD)
    _refused(tmp_path / "cell.csv", Selection(), 3, ("Did you mean", "cells.csv"))
    _refused(tmp_path / "no" / "cell.csv", Selection(), 3, ("folder",))


def test_missing_annotation_suggests(tmp_path: Path) -> None:
    """A misspelt key names the nearest column, even one that became a feature."""
    (tmp_path / "a.csv").write_bytes(b"cell,day,x,kind\na,1,2,u\nb,2,3,v\n")
    table = read_table(str(tmp_path / "a.csv"), Selection(annotations=("dya",)))
    require(table, "kind", "")
    with pytest.raises(CfmError, match="Did you mean 'day'") as caught:
        require(table, "dya")
    assert caught.value.exit_code == 3
    with pytest.raises(
        CfmError, match=r"a\.csv: column 'cell' holds the ids .* --id-key"
    ) as caught:
        require(table, "cell")
    assert caught.value.exit_code == 3
