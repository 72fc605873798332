"""What is written reads back: values, ids, annotations, and the same bytes twice."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from cfmcli.data.table import Table
from cfmcli.errors import DataError
from cfmcli.io import Selection, describe, open_table, read_table, sha256, write_table

COLUMNAR = [".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet", ".npz"]
NAMED = [*COLUMNAR, ".h5ad"]
KEYS = Selection(annotations=("count", "score", "flag", "text"))

# No NUL (NumPy's text arrays drop it at the end) and no lone surrogates (not UTF-8).
LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
WORDS = st.text(LETTERS, max_size=8).map(lambda word: f"w{word}")
TRICKY = st.sampled_from(['"', ",", "\n", "\r\n", "\t", " pad ", "a,b", 'say "x"', "NA", "é", "日"])
NAMES = st.text(
    st.characters(categories=["Lu", "Ll", "Nd"], include_characters="_ -.,"), min_size=1
)
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    n, d = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    names = draw(st.lists(NAMES.map(lambda s: f"f{s}"), min_size=d, max_size=d, unique=True))
    ids = draw(st.lists(st.one_of(WORDS, TRICKY), min_size=n, max_size=n, unique=True))
    text = draw(st.lists(st.one_of(WORDS, TRICKY), min_size=n, max_size=n))
    columns = {
        "count": draw(arrays(np.int64, n, elements=st.integers(-(10**17), 10**17))),
        "score": draw(arrays(np.float64, n, elements=st.one_of(FINITE, st.just(np.nan)))),
        "flag": draw(arrays(np.bool_, n)),
        "text": ["w", *text[1:]],
    }
    obs = pd.DataFrame(columns, index=pd.Index(ids, dtype=object, name="id"))
    return Table(draw(arrays(np.float64, (n, d), elements=FINITE)), tuple(names), obs)


def _same(got: Table, want: Table) -> None:
    assert got.values.dtype == want.values.dtype
    assert got.values.tobytes() == want.values.tobytes()
    assert got.features == want.features
    assert got.obs.index.tolist() == want.obs.index.tolist()
    assert set(got.obs.columns) == set(want.obs.columns)
    for name in want.obs.columns:
        np.testing.assert_array_equal(got.obs[name].to_numpy(), want.obs[name].to_numpy())


@pytest.mark.parametrize("suffix", NAMED)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables())
def test_round_trip(suffix: str, table: Table, tmp_path: Path) -> None:
    """write, read = identity on bits of values, ids, and annotations; two writes agree."""
    one, two = str(tmp_path / f"a{suffix}"), str(tmp_path / f"b{suffix}")
    write_table(one, table)
    write_table(two, table)
    assert Path(one).read_bytes() == Path(two).read_bytes()
    got = read_table(one, KEYS)
    _same(got, table)
    assert got.obs["count"].dtype == np.int64
    assert got.obs["flag"].dtype == np.bool_
    assert got.obs.index.name == "id"


@pytest.mark.parametrize("suffix", [*NAMED, ".npy"])
def test_no_clock_gets_in(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same table written years apart gives the same bytes."""
    table = Table(np.eye(2), ("x", "y"), pd.DataFrame(index=["0", "1"]))
    for name, now in (("a", 1e9), ("b", 1.7e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        write_table(str(tmp_path / f"{name}{suffix}"), table)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_zarr_round_trip(tmp_path: Path) -> None:
    """The same law for Zarr, whose result is a folder."""
    obs = pd.DataFrame({"text": ["a,b", "c/d"]}, index=pd.Index(["p", "q"], name="id"))
    table = Table(np.array([[1.5, -0.0], [5e-324, 1e308]]), ("u", "v"), obs)
    for name in ("a.zarr", "b.zarr"):
        write_table(str(tmp_path / name), table)
    _same(read_table(str(tmp_path / "a.zarr")), table)
    assert sha256(str(tmp_path / "a.zarr")) == sha256(str(tmp_path / "b.zarr"))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=arrays(
        np.float32, (3, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_npy_keeps_bits(values: np.ndarray, tmp_path: Path) -> None:
    """A .npy file holds float32 as float32, as numpy.load sees it too."""
    path = str(tmp_path / "a.npy")
    obs = pd.DataFrame(index=["0", "1", "2"])
    write_table(path, Table(values, ("x0", "x1"), obs))
    assert np.load(path).tobytes() == values.tobytes()
    _same(read_table(path), Table(values, ("x0", "x1"), obs))


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".h5ad"])
def test_float32_is_kept(suffix: str, tmp_path: Path) -> None:
    """Binary formats hand back single precision as they store it."""
    values = np.array([[0.1, 2.0], [3.0, 4.0]], dtype=np.float32)
    path = str(tmp_path / f"a{suffix}")
    write_table(path, Table(values, ("u", "v"), pd.DataFrame(index=["0", "1"])))
    assert read_table(path).values.dtype == np.float32


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".h5ad"])
def test_annotations_in_float32_are_the_decimals_that_were_meant(
    suffix: str, opened: bool, tmp_path: Path
) -> None:
    """0.1, not 0.10000000149, among categories too; gaps and infinities stay what they are."""
    single = np.array([0.1, 2.3, 1e-30, np.nan, -np.inf], dtype=np.float32)
    obs = pd.DataFrame({"day": single, "long": np.arange(5) / 3}, index=list("abcde"))
    obs["step"] = pd.Categorical(np.array([0.1, 0.7] * 2 + [0.1], dtype=np.float32), ordered=True)
    if suffix != ".h5ad":
        obs = obs.drop(columns="step")
    path = str(tmp_path / f"a{suffix}")
    write_table(path, Table(np.eye(5), ("u", "v", "w", "x", "y"), obs))
    wanted = Selection(annotations=("day", "long", "step"))
    found = open_table(path, wanted).head.obs if opened else read_table(path, wanted).obs
    np.testing.assert_array_equal(found["day"], [0.1, 2.3, 1e-30, np.nan, -np.inf])
    assert found["long"].tolist() == (np.arange(5) / 3).tolist()
    if "step" in obs:
        assert found["step"].cat.ordered
        assert found["step"].tolist() == [0.1, 0.7, 0.1, 0.7, 0.1]


def test_mixed_precision_becomes_double(tmp_path: Path) -> None:
    """One double among single-precision columns makes all of them double: no digit is lost."""
    frame = pd.DataFrame({"u": np.array([0.1], dtype=np.float32), "v": [0.1]})
    frame.to_parquet(tmp_path / "a.parquet")
    values = read_table(str(tmp_path / "a.parquet")).values
    assert values.dtype == np.float64
    assert values.tolist() == [[float(np.float32(0.1)), 0.1]]


@pytest.mark.parametrize("suffix", [*NAMED, ".npy"])
def test_sparse_values_are_written(suffix: str, tmp_path: Path) -> None:
    """A CSR table writes to every format the numbers that its dense twin holds."""
    dense = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, 0.0]])
    table = Table(sparse.csr_matrix(dense), ("x0", "x1", "x2"), pd.DataFrame(index=["0", "1"]))
    path = str(tmp_path / f"a{suffix}")
    write_table(path, table)
    values = read_table(path).values
    np.testing.assert_array_equal(getattr(values, "toarray", lambda: values)(), dense)


@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz", ".parquet", ".h5ad"])
def test_missing_annotations_survive(suffix: str, tmp_path: Path) -> None:
    """A gap in text or numbers stays a gap, and an empty text of a CSV stays a text."""
    obs = pd.DataFrame({"text": ["a", None, "b"], "score": [1.5, np.nan, 2.0]}, index=list("pqr"))
    path = str(tmp_path / f"a{suffix}")
    write_table(path, Table(np.eye(3), ("x", "y", "z"), obs))
    got = read_table(path, KEYS).obs
    assert got["text"].isna().tolist() == [False, True, False]
    assert got["score"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("suffix", [".parquet", ".h5ad"])
def test_categories_keep_their_order(suffix: str, tmp_path: Path) -> None:
    """An ordered categorical comes back ordered, with its unused and unsorted categories."""
    stage = pd.Categorical(["d10", "d2", "d10"], categories=["d2", "d10", "d30"], ordered=True)
    path = str(tmp_path / f"a{suffix}")
    table = Table(np.eye(3), ("x", "y", "z"), pd.DataFrame({"stage": stage}, index=list("pqr")))
    write_table(path, table)
    got = read_table(path).obs["stage"]
    assert got.dtype == stage.dtype
    assert got.tolist() == ["d10", "d2", "d10"]


def test_columns_keep_their_place(tmp_path: Path) -> None:
    """A CSV that is read and written is the same text; a new feature goes to the end."""
    text = 'x,cell,stage,y,note\n1.5,007,3,-2.0,"a,b"\n0.25,008,4,1e-300,\n'
    (tmp_path / "a.csv").write_text(text)
    table = read_table(str(tmp_path / "a.csv"), Selection(annotations=("stage",)))
    write_table(str(tmp_path / "b.csv"), table)
    assert (tmp_path / "b.csv").read_text() == text
    wider = table.with_values(np.ones((2, 3)), ("x", "y", "new"))
    write_table(str(tmp_path / "c.csv"), wider)
    assert (tmp_path / "c.csv").read_text().splitlines()[0] == "x,cell,stage,y,note,new"


def test_one_name_for_two_things_is_refused(tmp_path: Path) -> None:
    """A feature called like an annotation or the ids would lose one of them: nothing is written."""
    obs = pd.DataFrame({"x": ["a"]}, index=pd.Index(["p"], name="id"))
    for feature in ("x", "id"):
        for suffix in (".csv", ".parquet"):
            with pytest.raises(DataError, match=feature):
                write_table(str(tmp_path / f"a{suffix}"), Table(np.eye(1), (feature,), obs))
    assert list(tmp_path.iterdir()) == []


def test_pandas_reads_what_is_written(tmp_path: Path) -> None:
    """A rival reader sees the same numbers and text."""
    obs = pd.DataFrame(
        {"note": ['q"u', "l\nine", "a,b"]}, index=pd.Index(["é", "b", "c"], name="id")
    )
    values = np.random.default_rng(0).normal(size=(3, 2)) * 1e-7
    write_table(str(tmp_path / "a.csv"), Table(values, ("u", "v"), obs))
    rival = pd.read_csv(tmp_path / "a.csv", index_col="id", float_precision="round_trip")
    np.testing.assert_array_equal(rival[["u", "v"]].to_numpy(), values)
    assert rival["note"].tolist() == obs["note"].tolist()
    assert rival.index.tolist() == ["é", "b", "c"]


def test_stream(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` is CSV on stdin and stdout, byte for byte what a file would hold."""
    (tmp_path / "a.csv").write_text("id,x\np,1.0\nq,2.5\n")
    with (tmp_path / "a.csv").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        table = read_table("-")
    assert table.origin == "stdin"
    write_table("-", table)
    assert capfdbinary.readouterr().out == (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix])
def test_blocks_of_rows_join(make: Callable[..., sparse.spmatrix], tmp_path: Path) -> None:
    """More rows than one block of the writer: no row is lost, doubled or moved."""
    values = np.arange(10_001.0)[:, None]
    ids = pd.Index([f"c{i}" for i in range(10_001)], name="cell")
    matrix = make(values).tocsr()
    write_table(str(tmp_path / "a.csv"), Table(matrix, ("x",), pd.DataFrame(index=ids)))
    got = read_table(str(tmp_path / "a.csv"))
    np.testing.assert_array_equal(got.values, values)
    assert got.obs.index.tolist() == ids.tolist()


def test_nested_cells_are_text(tmp_path: Path) -> None:
    """Lists and records of a Parquet file, which other formats cannot hold, are JSON."""
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 5.0], "l": [[1, 2], [3]]})
    frame["r"] = pd.Series([{"a": 1}, None])
    frame.to_parquet(tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    for got in (read_table(path), open_table(path).head):
        assert got.features == ("x", "y")
        assert got.obs["l"].tolist() == ["[1, 2]", "[3]"]
        assert [got.obs["r"].iloc[0], got.obs["r"].isna().tolist()] == ['{"a": 1}', [False, True]]
    assert describe(path)["annotations"]["l"]["distinct"] == 2
