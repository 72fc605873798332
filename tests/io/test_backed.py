"""Numbers that stay on disk until their rows are asked for are those of the whole table."""

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet
from scipy import sparse

from cfmcli.data.maps import dense
from cfmcli.errors import DataError
from cfmcli.io import Selection, open_table, read_table, write_table, writing
from cfmcli.requests import Integration, Runtime, Shard, TransportRequest
from cfmcli.workflows import shards
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.transport import transport

N = 1000
QUICK = Integration("euler:steps=2")
HERE = Runtime(device="cpu", threads=1)
FORMS = [".npy", ".parquet", ".h5ad", ".csv", ".npz"]


def stored(folder: Path, suffix: str, *, bad: int = -1, sparsely: bool = False) -> str:
    """Points in a file, one number of which may be missing."""
    x = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
    x[bad if bad >= 0 else 0, 1] = np.nan if bad >= 0 else 1.0
    path = folder / f"points{suffix}"
    frame = pd.DataFrame(x, columns=["x", "y"])
    frame.insert(0, "id", [f"c{k}" for k in range(N)])
    frame["note"] = [None if k < N // 2 else f"n{k}" for k in range(N)]
    if suffix == ".npy":
        np.save(path, x)
    elif suffix == ".npz":
        np.savez(path, X=x, ids=frame["id"].to_numpy(str), features=np.array(["x", "y"]))
    elif suffix == ".parquet":
        frame.to_parquet(path, row_group_size=300, index=False)
    elif suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        obs = frame.set_index("id")[["note"]]
        values = sparse.csr_matrix(x) if sparsely else x
        ad.AnnData(values, obs, pd.DataFrame(index=["x", "y"])).write_h5ad(path)
    return str(path)


@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("suffix", FORMS)
def test_rows_are_those_of_the_whole(suffix: str, sparsely: bool, tmp_path: Path) -> None:
    """In any order, over the borders of row groups, with ids and annotations."""
    path = stored(tmp_path, suffix, sparsely=sparsely)
    whole, backed = read_table(path), open_table(path)
    assert len(backed) == N
    assert backed.head.features == whole.features
    pd.testing.assert_frame_equal(backed.head.obs, whole.obs)
    for rows in (slice(0, 250), slice(250, 700), slice(100, 301), slice(999, N)):
        part, wanted = backed.rows(rows), whole.rows(rows)
        assert part.values.dtype == wanted.values.dtype
        np.testing.assert_array_equal(dense(part.values), dense(wanted.values))
        pd.testing.assert_frame_equal(part.obs, wanted.obs)


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".h5ad"])
def test_only_the_rows_asked_for_are_read(suffix: str, tmp_path: Path) -> None:
    """A missing number elsewhere is not met; where it is read, its row is named."""
    backed = open_table(stored(tmp_path, suffix, bad=700))
    assert np.isfinite(backed.rows(slice(0, 600)).values).all()
    with pytest.raises(DataError, match="row 701"):
        backed.rows(slice(600, 800))


def test_row_groups_before_a_shard_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Spy(parquet.ParquetFile):  # type: ignore[misc]
        """A file that notes which row groups are read."""

        def iter_batches(self, *args: Any, **more: Any) -> Any:
            asked.append(more["row_groups"])
            return super().iter_batches(*args, **more)

    backed = open_table(stored(tmp_path, ".parquet"))
    monkeypatch.setattr(parquet, "ParquetFile", Spy)
    backed.rows(slice(650, 800))
    backed.rows(slice(800, 900))
    assert asked == [[2, 3]]


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".csv", ".csv.gz", ".npz"])
@pytest.mark.filterwarnings("ignore:.*npy holds numbers only")
def test_a_file_written_in_pieces_is_the_whole(suffix: str, tmp_path: Path) -> None:
    """Also where the first piece of a column of text holds none."""
    table = read_table(stored(tmp_path, ".csv"))
    one, two = str(tmp_path / f"one{suffix}"), str(tmp_path / f"two{suffix}")
    write_table(one, table)
    with writing(two, table.without_values()) as append:
        for start in range(0, N, 300):
            append(table.rows(slice(start, start + 300)))
    if suffix == ".parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(two), pd.read_parquet(one))
    else:
        assert Path(two).read_bytes() == Path(one).read_bytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, fit_run: Any) -> str:
    """A run between two clouds whose features are x and y."""
    folder = tmp_path_factory.mktemp("backed")
    for k in (0, 2):
        points = np.random.default_rng(k).normal(k, size=(50, 2))
        pd.DataFrame(points, columns=["x", "y"]).to_csv(folder / f"{k}.csv", index=False)
    fit_run(folder / "run", folder / "0.csv", folder / "2.csv")
    return str(folder / "run")


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".h5ad", ".csv"])
@pytest.mark.filterwarnings("ignore:.*npy holds numbers only")
def test_transport_in_pieces(
    suffix: str, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces give the table and the figures of all rows at once; a bad one leaves nothing."""
    source, tables, figures = stored(tmp_path, suffix), [], []
    monkeypatch.setattr(shards, "grain", lambda model, total: 256)
    for numbers in (2**22, 1):
        monkeypatch.setattr(shards, "NUMBERS", numbers)
        out = str(tmp_path / f"out{numbers}{suffix}")
        request = TransportRequest(run, source, out, integration=QUICK)
        figures.append(dict(transport(request, HERE, ignore).figures))
        tables.append(read_table(out, Selection(use_rep="X_cfm" if suffix == ".h5ad" else "")))
    np.testing.assert_allclose(tables[1].values, tables[0].values, rtol=1e-5)
    pd.testing.assert_frame_equal(tables[1].obs, tables[0].obs)
    assert figures[1].pop("scored_points") == figures[0].pop("scored_points")
    told = [{k: v for k, v in f.items() if isinstance(v, float)} for f in figures]
    assert told[1] == pytest.approx(told[0], rel=1e-5)
    if suffix == ".csv":
        return
    source = stored(tmp_path, suffix, bad=700)
    before = set(tmp_path.iterdir())
    request = TransportRequest(run, source, str(tmp_path / f"no{suffix}"), integration=QUICK)
    with pytest.raises(DataError, match="row 701"):
        transport(request, HERE, ignore)
    assert set(tmp_path.iterdir()) == before
    part = tmp_path / f"part{suffix}"
    request = TransportRequest(run, source, str(part), integration=QUICK, shard=Shard(1, 2))
    transport(request, HERE, ignore)
    assert part.exists()


@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_an_anndata_written_in_pieces_is_the_whole(
    suffix: str, sparsely: bool, tmp_path: Path
) -> None:
    """Numbers, their kind, and annotations; sparse numbers stay sparse."""
    table = read_table(stored(tmp_path, ".h5ad", sparsely=sparsely))
    one, two = str(tmp_path / f"one{suffix}"), str(tmp_path / f"two{suffix}")
    write_table(one, table)
    with writing(two, table.without_values()) as append:
        for start in range(0, N, 300):
            append(table.rows(slice(start, start + 300)))
    whole, pieces = read_table(one), read_table(two)
    assert sparse.issparse(pieces.values) == sparsely
    assert pieces.values.dtype == whole.values.dtype
    np.testing.assert_array_equal(dense(pieces.values), dense(whole.values))
    pd.testing.assert_frame_equal(pieces.obs, whole.obs)
