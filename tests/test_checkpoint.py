import json
import pickle
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from cfmcli import checkpoint, stored
from cfmcli.checkpoint import MODEL, pack, pack_frame, unpack, unpack_frame
from cfmcli.errors import CheckpointError
from cfmcli.io import write_anndata

WORD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)


def restored(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """A frame after a journey through a file."""
    arrays, facts = pack_frame(frame, "f")
    path = folder / checkpoint.MODEL
    path.write_bytes(pack(arrays, {"frame": facts}))
    back, said = unpack(path)
    return unpack_frame(back, said["frame"], "f")


def every_kind() -> pd.DataFrame:
    """A frame with a column of each kind that annotations come in."""
    stage = pd.Categorical(["late", "early", "late"], ["early", "mid", "late"], ordered=True)
    return pd.DataFrame(
        {
            "int8": np.array([1, -2, 3], np.int8),
            "int64": [2**60, -1, 0],
            "uint16": np.array([65535, 0, 1], np.uint16),
            "float32": np.array([0.1, -np.inf, np.nan], np.float32),
            "float64": [0.1, 1e-300, np.nan],
            "bool": [True, False, True],
            "words": ["a", "é漢字🧬", ""],
            "gaps": ["a", None, "b"],
            "stage": stage,
            "plain": pd.Categorical(["x", None, "y"]),
            "day": pd.Categorical([2.5, 0.0, 2.5], [0.0, 2.5, 5.0], ordered=True),
            "plate": pd.Categorical([3, 1, 3]),
            "flag": pd.Categorical([True, False, True]),
            "": [1.0, 2.0, 3.0],
            "größe/µm": [1, 2, 3],
        },
        index=pd.Index(["c1", "ż 2", "c,3"], name="cell"),
    )


def test_a_frame_of_every_kind_survives(tmp_path: Path) -> None:
    """Values, order, kinds of numbers, categories and their order, gaps and names."""
    frame = every_kind()
    found = restored(frame, tmp_path)
    pd.testing.assert_frame_equal(found, frame, check_categorical=True)
    assert found["stage"].cat.ordered
    assert not found["plain"].cat.ordered


def test_categories_of_times_still_compare_with_numbers(tmp_path: Path) -> None:
    """A query such as day == 2.5 finds the same rows before and after."""
    found = restored(every_kind(), tmp_path)
    assert found.query("day == 2.5").index.tolist() == ["c1", "c,3"]
    assert found.query("plate == 3").index.tolist() == ["c1", "c,3"]


def test_a_frame_without_columns_or_index_name_survives(tmp_path: Path) -> None:
    """Numbered rows without annotations."""
    frame = pd.DataFrame(index=pd.Index(["0", "1"]))
    pd.testing.assert_frame_equal(restored(frame, tmp_path), frame, check_column_type=False)


def test_numbers_with_gaps_stay_numbers(tmp_path: Path) -> None:
    """Whole numbers and truth values as they were, others with NaN, as AnnData stores them."""
    frame = pd.DataFrame(
        {
            "Int64": pd.array([3, pd.NA, 2**62 + 1], dtype="Int64"),
            "UInt8": pd.array([3, 0, 255], dtype="UInt8"),
            "boolean": pd.array([True, pd.NA, False], dtype="boolean"),
            "none": pd.array([pd.NA] * 3, dtype="Int64"),
        },
        index=["0", "1", "2"],
    )
    found = restored(frame, tmp_path)
    pd.testing.assert_frame_equal(found, frame)
    wide = frame.assign(Float64=pd.array([0.5, pd.NA, 1.0], dtype="Float64"))
    assert restored(wide, tmp_path)["Float64"].equals(pd.Series([0.5, np.nan, 1.0], frame.index))
    write_anndata(str(tmp_path / "a.h5ad"), np.zeros((3, 1)), found, ["x"])
    again = anndata.read_h5ad(tmp_path / "a.h5ad").obs
    pd.testing.assert_frame_equal(again, frame)


def test_runs_without_word_of_gaps_are_read(tmp_path: Path) -> None:
    """As earlier versions wrote them."""
    arrays, facts = pack_frame(pd.DataFrame({"n": pd.array([3, pd.NA], dtype="Int64")}), "f")
    del facts["columns"][0]["nullable"]
    assert unpack_frame(arrays, facts, "f")["n"].tolist()[0] == 3


def test_kinds_that_are_not_numpys_come_back_as_words(tmp_path: Path) -> None:
    """Dates, text and nullable numbers keep what they say and where they have gaps."""
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(pd.Series(["2020-01-01", None])).to_numpy(),
            "text": pd.array(["a", pd.NA], dtype="string"),
            "count": pd.array([3, pd.NA], dtype="Int64"),
        },
        index=["0", "1"],
    )
    found = restored(frame, tmp_path)
    assert found.isna().equals(frame.isna())
    assert found["when"][0].startswith("2020-01-01")
    assert found["text"][0] == "a"
    assert int(found["count"][0]) == 3


@given(st.lists(st.tuples(WORD, st.one_of(st.none(), WORD)), min_size=1, max_size=6))
def test_any_words_survive(rows: list[tuple[str, str | None]]) -> None:
    """Ids and annotations of any characters, gaps included."""
    frame = pd.DataFrame({"w": [w for _, w in rows]}, index=[i for i, _ in rows], dtype=object)
    arrays, facts = pack_frame(frame, "p")
    found = unpack_frame(arrays, json.loads(json.dumps(facts)), "p")
    assert found.index.tolist() == frame.index.tolist()
    assert [None if pd.isna(w) else w for w in found["w"]] == [w for _, w in rows]


def test_the_same_content_gives_the_same_bytes() -> None:
    """Whatever the order of facts and the memory layout of arrays."""
    a = np.arange(12.0).reshape(3, 4)
    one = pack({"a": a, "b": a[:, 1]}, {"x": 1, "y": [2]})
    other = pack({"a": np.asfortranarray(a), "b": a[:, 1].copy()}, {"y": [2], "x": 1})
    assert one == other
    assert pack({"a": a + 1, "b": a[:, 1]}, {"x": 1, "y": [2]}) != one


@pytest.fixture(scope="module")
def content(toy_run: Path) -> bytes:
    """The bytes of a true checkpoint."""
    return (toy_run / checkpoint.MODEL).read_bytes()


@pytest.mark.parametrize("share", [0, 1, 7, 8, 9, 100, 0.1, 0.5, 0.9, 0.999, -1])
def test_a_truncated_checkpoint_is_refused(content: bytes, share: float, tmp_path: Path) -> None:
    """At every length, in the header and in the tensors."""
    length = int(share * len(content)) if isinstance(share, float) else share
    path = tmp_path / checkpoint.MODEL
    path.write_bytes(content[:length])
    with pytest.raises(CheckpointError, match=r"damaged.*fit again"):
        unpack(path)


@pytest.mark.parametrize(
    "wrong",
    [
        b"not a checkpoint at all, just some words that go on for a while",
        b"\x80\x04\x95" + bytes(60),
        b"\x08" + bytes(7) + b"[1,2,3] ",
        b"\x02" + bytes(7) + b"{}",
        b"\xff" * 40,
        bytes(40),
    ],
)
def test_other_files_are_refused(wrong: bytes, tmp_path: Path) -> None:
    """Whatever they hold."""
    path = tmp_path / checkpoint.MODEL
    path.write_bytes(wrong)
    with pytest.raises(CheckpointError):
        unpack(path)


@pytest.mark.parametrize("facts", ["[]", "3", "null", '{"format": 99}', "{}", "{"])
def test_other_formats_are_refused(facts: str, tmp_path: Path) -> None:
    """A safetensors file of another tool, or of another version of this one."""
    from safetensors.numpy import save

    path = tmp_path / checkpoint.MODEL
    path.write_bytes(save({"a": np.zeros(2)}, metadata={"cfm": facts}))
    with pytest.raises(CheckpointError):
        unpack(path)
    path.write_bytes(save({"a": np.zeros(2)}))
    with pytest.raises(CheckpointError):
        unpack(path)


def test_another_format_says_both_numbers(tmp_path: Path) -> None:
    """What was found, what is read, and what to do."""
    path = tmp_path / checkpoint.MODEL
    path.write_bytes(pack({}, {}).replace(b'\\"format\\": 2', b'\\"format\\": 7'))
    with pytest.raises(CheckpointError, match="format 7, this version reads 2"):
        unpack(path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """No folder, a folder that is no run, and an unfinished run are told apart."""
    with pytest.raises(CheckpointError, match="no run"):
        unpack(tmp_path / "nowhere" / checkpoint.MODEL)
    with pytest.raises(CheckpointError, match="no run of cfm"):
        unpack(tmp_path / checkpoint.MODEL)
    (tmp_path / checkpoint.TRAINING).write_bytes(b"")
    with pytest.raises(CheckpointError, match="--resume"):
        unpack(tmp_path / checkpoint.MODEL)


def test_nothing_in_a_run_can_execute(toy_run: Path) -> None:
    """No file of a run is a pickle or a zip of pickles; the header is JSON, the rest numbers."""
    for path in (p for p in toy_run.rglob("*") if p.is_file()):
        data = path.read_bytes()
        assert not data.startswith((b"\x80", b"PK")), path
        with pytest.raises((pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError)):
            harmless(data)
    data = (toy_run / checkpoint.MODEL).read_bytes()
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    kinds = {item["dtype"] for name, item in header.items() if name != "__metadata__"}
    assert kinds <= {"F32", "F64", "U8", "I32", "I64", "BOOL"}


class _Harmless(pickle.Unpickler):
    """An unpickler that loads no class."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Refuse."""
        raise pickle.UnpicklingError("no classes here")


def harmless(data: bytes) -> object:
    """Try to read bytes as a pickle, without executing anything."""
    import io

    return _Harmless(io.BytesIO(data)).load()


@given(st.lists(st.integers(0, 3), max_size=3).map(tuple), st.sampled_from(["f4", "f8", "i4", "?"]))
def test_arrays_keep_their_shape_and_kind(shape: tuple[int, ...], kind: str) -> None:
    """Numbers without axes and empty arrays too."""
    import tempfile

    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / checkpoint.MODEL
        path.write_bytes(pack({"a": array, "b": array.T}, {}))
        found, _ = unpack(path)
    assert found["a"].shape == shape
    assert found["a"].dtype == array.dtype
    assert np.array_equal(found["a"], array)
    assert np.array_equal(found["b"], array.T)


def test_points_of_clouds_stay_on_disk(toy_run: Path) -> None:
    """In float32, as they are stored, until they are used."""
    model = stored.load(toy_run)
    for cloud in model.clouds:
        points = np.asarray(cloud.points)
        assert points.dtype == np.float32
        assert isinstance(points.base, np.memmap)
    arrays = load_file(toy_run / MODEL)
    np.testing.assert_array_equal(np.asarray(model.clouds[1].points), arrays["cloud.1.points"])
