"""What a file is said to hold is what reading it gives, without the heavy libraries."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cfmcli.data.table import Table
from cfmcli.io import Annotation, Selection, describe, read_table, write_anndata, write_table

COLUMNAR = [".csv", ".tsv", ".txt.gz", ".parquet", ".npz", ".h5ad", ".zarr"]


def _table() -> Table:
    obs = pd.DataFrame(
        {
            "kind": ["u", "v"] * 15,
            "day": [0, 2, 7] * 10,
            "score": [*np.linspace(-1, 1, 29), np.nan],
            "on": [True, False] * 15,
        },
        index=pd.Index([f"c{i}" for i in range(30)], name="id"),
    )
    return Table(np.random.default_rng(0).normal(size=(30, 12)), tuple("abcdefghijkl"), obs)


@pytest.mark.parametrize("suffix", COLUMNAR)
def test_description_agrees_with_reading(suffix: str, tmp_path: Path) -> None:
    """Counts, names and annotations are those of the table that the reader returns."""
    path = str(tmp_path / f"a{suffix}")
    write_table(path, _table())
    keys = Selection(annotations=("day", "score"))
    about, table = describe(path, keys), read_table(path, keys)
    assert json.loads(json.dumps(about, allow_nan=False)) == about
    assert about["points"] == len(table)
    assert about["features"] == {"count": 12, "first": list("abcdefghij")}
    assert about["ids"] == table.obs.index.name
    assert set(about["annotations"]) == set(table.obs.columns)
    kinds = {name: note["kind"] for name, note in about["annotations"].items()}
    assert kinds == {"kind": "text", "day": "integer", "score": "number", "on": "boolean"}
    assert about["annotations"]["day"]["values"] == {"0": 10, "2": 10, "7": 10}
    assert about["annotations"]["kind"]["values"] == {"u": 15, "v": 15}
    score = about["annotations"]["score"]
    assert (score["missing"], score["min"], score["max"]) == (1, -1.0, 1.0)
    assert about["format"] == suffix
    assert about["bytes"] > 0


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_parts_of_an_anndata(suffix: str, tmp_path: Path) -> None:
    """Shapes and storage of X, layers and obsm; categories in their order, unused ones too."""
    stage = pd.Categorical(["d10", "d2", None], categories=["d2", "d10", "d30"])
    obs = pd.DataFrame({"stage": stage}, index=list("abc"))
    added = Annotation(
        obsm={"X_pca": np.ones((3, 2)), "frame": pd.DataFrame({"u": [1.0, 2, 3]}, list("abc"))},
        layers={"dense": np.ones((3, 4))},
    )
    path = str(tmp_path / f"a{suffix}")
    write_anndata(path, sparse.csr_matrix(np.eye(3, 4)), obs, list("ghij"), added)
    about = describe(path)
    assert (about["shape"], about["storage"]) == ([3, 4], "sparse csr")
    assert about["layers"] == {"dense": {"shape": [3, 4], "storage": "dense"}}
    assert about["obsm"]["X_pca"] == {"shape": [3, 2], "storage": "dense"}
    assert about["obsm"]["frame"] == {"shape": [3, 1], "storage": "table"}
    note = about["annotations"]["stage"]
    assert list(note["values"].items()) == [("d2", 1), ("d10", 1), ("d30", 0)]
    assert (note["kind"], note["missing"], about["ids"]) == ("category", 1, "")


def test_plain_array(tmp_path: Path) -> None:
    """A .npy has points and numbered features only."""
    np.save(tmp_path / "a.npy", np.eye(3))
    about = describe(str(tmp_path / "a.npy"))
    assert (about["points"], about["features"]["first"]) == (3, ["x0", "x1", "x2"])
    assert (about["ids"], about["annotations"]) == (None, {})


def test_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    """Importing the room loads no data library; describing loads no pandas, anndata or torch."""
    paths = [str(tmp_path / f"a{suffix}") for suffix in [*COLUMNAR, ".npy"]]
    bare = Table(
        _table().values, tuple("abcdefghijkl"), pd.DataFrame(index=list(map(str, range(30))))
    )
    for path in paths:
        write_table(path, bare if path.endswith(".npy") else _table())
    program = f"""
import sys
import cfmcli.io
heavy = {{"pandas", "anndata", "h5py", "pyarrow", "torch", "scipy", "zarr"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
for path in {paths!r}:
    cfmcli.io.describe(path)
    heavy = {{"pandas", "anndata", "torch", "ot", "scanpy", "scipy"}}
    assert not heavy & set(sys.modules), (path, heavy & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
