"""Which columns of a text are features, ids and annotations, and what becomes of their cells."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cfmcli.data.table import Table
from cfmcli.errors import CfmWarning, DataError
from cfmcli.io import Selection, read_table, write_table


def _read(tmp_path: Path, text: str | bytes, name: str = "a.csv", **options: object) -> Table:
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / name).write_bytes(data)
    return read_table(str(tmp_path / name), Selection(**options))  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=st.lists(st.floats(-1e307, 1e307), min_size=1, max_size=8))
def test_numbers_parse_as_python_reads_them(numbers: list[float], tmp_path: Path) -> None:
    """Every spelling of a float is read as float() reads it: repr, fixed, signed, padded."""
    spellings = ["{!r}", "{:.3f}", "{:+.17e}", " {:.5g} ", "{:E}"]
    cells = [f.format(x) for x in numbers for f in spellings]
    table = _read(tmp_path, "x\n" + "\n".join(cells) + "\n")
    assert table.values[:, 0].tolist() == [float(cell) for cell in cells]


@pytest.mark.parametrize("name", ["cell", "barcode", "id", "obs_names", ""])
def test_id_columns(name: str, tmp_path: Path) -> None:
    """Each conventional name holds ids, with their exact text, and is never a feature."""
    table = _read(tmp_path, f"x,{name}\n1,007\n2,08\n")
    assert table.features == ("x",)
    assert table.obs.index.tolist() == ["007", "08"]
    assert table.obs.index.name == name


@pytest.mark.parametrize("features", ["pc1,pc2,pc3,pc4", "pc4,pc?", ("pc1", "pc2", "pc3", "pc4")])
def test_what_is_asked_for_is_no_other_that_was_meant(
    features: str | tuple[str, ...], tmp_path: Path
) -> None:
    """Of a name that is missing only others than those beside it are near."""
    with pytest.raises(DataError, match=r"'pc4'\. It holds: .*'pc3'"):
        _read(tmp_path, "pc1,pc2,pc3\n1,2,3\n", features=features)
    with pytest.raises(DataError, match=r"'pc4'\. Did you mean 'pca4'\? It holds: "):
        _read(tmp_path, "pc1,pc2,pc3,pca4\n1,2,3,4\n", features=features)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('"x" "day"\n"1" 0.5 "d1"\n"7" 1.5 "d2"\n', "a.txt"),
        ("x\tday\n1\t0.5\td1\n7\t1.5\td2\n", "a.tsv"),
        ("x,day\n1,0.5,d1\n7,1.5,d2\n", "a.csv"),
    ],
)
def test_row_names_of_r_are_ids(text: str, name: str, tmp_path: Path) -> None:
    """As write.table leaves them, under a header that is one name short; said aloud."""
    with pytest.warns(CfmWarning, match="R writes row names"):
        table = _read(tmp_path, text, name)
    assert table.features == ("x",)
    assert table.values[:, 0].tolist() == [0.5, 1.5]
    assert table.obs.index.tolist() == ["1", "7"]
    assert table.obs["day"].tolist() == ["d1", "d2"]


@pytest.mark.parametrize("lines", ["0.5,1,2\n1.5,3,4\n", "a,1,2\na,3,4\n", "1,2,\n3,4,\n"])
def test_other_lines_of_one_field_more_are_refused(lines: str, tmp_path: Path) -> None:
    """Measurements, names that repeat, and commas at the ends of lines name no rows."""
    with pytest.raises(DataError, match=r"line 2 has 3 fields, expected 2"):
        _read(tmp_path, "x,y\n" + lines)


def test_without_ids_rows_are_numbered(tmp_path: Path) -> None:
    """No id column: text numbers from 0, and a nameless index; names are case-sensitive."""
    table = _read(tmp_path, "Cell,x\na,1\nb,2\n")
    assert table.obs.index.tolist() == ["0", "1"]
    assert table.obs.index.name is None
    assert list(table.obs.columns) == ["Cell"]


def test_id_key_wins(tmp_path: Path) -> None:
    """A chosen id column wins; the conventional one is then an annotation, not a feature."""
    table = _read(tmp_path, "id,probe,x\n1,00a,5\n2,00b,6\n", id_key="probe")
    assert table.obs.index.tolist() == ["00a", "00b"]
    assert table.features == ("x",)
    assert table.obs["id"].tolist() == [1, 2]


def test_roles(tmp_path: Path) -> None:
    """Numbers are features unless named or dropped; text, booleans and codes never are."""
    text = "day,x,on,kind,batch,code,empty\n2,0.5,True,u,1,01,\n7,1,False,v,2,02,\n"
    table = _read(tmp_path, text, annotations=("day",), drop="bat*")
    assert table.features == ("x",)
    kinds = {name: table.obs[name].dtype.kind for name in table.obs}
    assert kinds == {"day": "i", "on": "b", "kind": "O", "batch": "i", "code": "O", "empty": "f"}
    assert table.obs["code"].tolist() == ["01", "02"]
    assert table.columns == ("day", "x", "on", "kind", "batch", "code", "empty")


def test_long_numbers_of_annotations_keep_their_digits(tmp_path: Path) -> None:
    """Digits that no float holds stay text; 18 digits are still an integer."""
    text = "x,a,b\n1,12345678901234567890,123456789012345678\n"
    table = _read(tmp_path, text, annotations=("a", "b"))
    assert table.obs["a"].tolist() == ["12345678901234567890"]
    assert table.obs["b"].tolist() == [123456789012345678]


@pytest.mark.parametrize(
    ("features", "drop", "want"),
    [
        ("", "", ("pc1", "pc2", "pc10", "y")),
        ("pc*", "", ("pc1", "pc2", "pc10")),
        ("y, pc1", "", ("pc1", "y")),
        ("pc?", "pc1", ("pc2",)),
        ("", "pc*", ("y",)),
    ],
)
def test_globs(features: str, drop: str, want: tuple[str, ...], tmp_path: Path) -> None:
    """Globs select in the file's order; what is not selected is kept as an annotation."""
    table = _read(tmp_path, "pc1,pc2,pc10,y\n1,2,3,4\n", features=features, drop=drop)
    assert table.features == want
    assert set(table.obs.columns) == {"pc1", "pc2", "pc10", "y"} - set(want)


def test_a_column_of_text_and_many_numbers_is_told_of(tmp_path: Path) -> None:
    """It is no feature, and not left out in silence; a few numbers are no news."""
    rows = [f"{k},{k if k % 2 else 'low'},{k if k < 5 else 'p'}" for k in range(40)]
    text = "\n".join(["x,z,name", *rows]) + "\n"
    with pytest.warns(CfmWarning, match="column 'z' holds text in 20 of 40 cells") as told:
        table = _read(tmp_path, text)
    assert len(told) == 1
    assert table.features == ("x",)
    assert list(table.obs.columns) == ["z", "name"]
    assert _read(tmp_path, text, drop="z").features == ("x",)


@pytest.mark.parametrize("cell", ["$1.2", "12%", "-€ 1,200.5"])
def test_numbers_with_signs_are_told_of(cell: str, tmp_path: Path) -> None:
    """They are text, and so no features: in silence only where the column is dropped."""
    text = f'x,y\n1,"{cell}"\n2,\n3,3\n4,"{cell}"\n5,"{cell}"\n'
    with pytest.warns(CfmWarning, match=rf"line 2, column 'y': '{re.escape(cell)}' .*--drop y"):
        table = _read(tmp_path, text)
    assert table.features == ("x",)
    assert table.obs["y"].tolist()[2:] == ["3", cell, cell]
    assert _read(tmp_path, text, drop="y").features == ("x",)
    assert _read(tmp_path, text.replace("3,3", "3,p%")).features == ("x",)


@pytest.mark.parametrize("cell", ["1,234.5", "-1,234,567", "12,345,678.25"])
def test_commas_between_thousands_are_told_of(cell: str, tmp_path: Path) -> None:
    """As decimal commas are, since nothing tells the one from the other."""
    with pytest.raises(DataError, match=rf"line 2, column 'y': '{cell}' holds a comma"):
        _read(tmp_path, f'x,y\n1,"{cell}"\n2,"{cell}"\n')


@pytest.mark.parametrize("tail", [",", ",,", ', ,"" '])
def test_commas_that_end_each_line_are_no_columns(tail: str, tmp_path: Path) -> None:
    """Unless one of them has a name, or a cell."""
    table = _read(tmp_path, f"x,y{tail.replace(chr(34), '')}\n1,2{tail}\n3,4{tail}\n")
    assert table.columns == table.features == ("x", "y")
    assert table.obs.index.tolist() == ["0", "1"]
    assert table.obs.index.name is None
    assert _read(tmp_path, "x,y,\n1,2,a\n3,4,b\n").obs.index.tolist() == ["a", "b"]
    assert list(_read(tmp_path, "x,y,z\n1,2,\n3,4,\n").obs.columns) == ["z"]
    with pytest.raises(DataError, match="more than once: ''"):
        _read(tmp_path, "x,y,,\n1,2,,a\n3,4,,b\n")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_blanks_around_names_are_no_part_of_them(name: str, tmp_path: Path) -> None:
    """So that `x, y` holds y; those within are."""
    text = "x, y y ,\tday \n1, 2,0\n3, 4,1\n".replace("\t", " ")
    table = _read(tmp_path, text if name == "a.csv" else text.replace(",", "\t"), name)
    assert table.features == ("x", "y y", "day")
    with pytest.raises(DataError, match="more than once: 'x'"):
        _read(tmp_path, "x, x\n1,2\n3,4\n")


def test_mixed_columns_are_fine_as_annotations(tmp_path: Path) -> None:
    """A column named as a key or dropped may mix numbers and text, and keeps its text."""
    text = "x,day,note\n1,0,1\n2,1.50,2\n3,late,?\n"
    table = _read(tmp_path, text, annotations=("day",), drop="note")
    assert table.obs["day"].tolist() == ["0", "1.50", "late"]
    with pytest.raises(DataError, match="'late'"):
        _read(tmp_path, text, drop="note")


def test_a_name_with_a_comma_can_be_chosen(tmp_path: Path) -> None:
    """What is the name of a column as a whole is no list."""
    text = 'x,"p,q",p\n1,2,3\n4,5,6\n'
    assert _read(tmp_path, text, features="p,q").features == ("p,q",)
    assert _read(tmp_path, text, drop="p,q").features == ("x", "p")
    assert _read(tmp_path, text, features="x,p").features == ("x", "p")


def test_a_semicolon_in_a_name_is_no_delimiter(tmp_path: Path) -> None:
    """Where the rows have as many fields as the names."""
    assert _read(tmp_path, "id,x;y,z\na,1,2\nb,3,4\n").features == ("x;y", "z")


DIALECTS = {
    "a.csv": "id,x,y\na,1,2\nb,3,4\n",
    "bom.csv": "\ufeffid,x,y\na,1,2\nb,3,4\n",
    "crlf.csv": "id,x,y\r\na,1,2\r\nb,3,4\r\n",
    "cr.csv": "id,x,y\ra,1,2\rb,3,4\r",
    "open-end.csv": "id,x,y\na,1,2\nb,3,4",
    "blank.csv": "\nid,x,y\n\na,1,2\n\nb,3,4\n\n",
    "quoted.csv": '"id","x","y"\n"a","1","2"\n"b","3","4"\n',
    "a.tsv": "id\tx\ty\na\t1\t2\nb\t3\t4\n",
    "tab.txt": "id\tx\ty\na\t1\t2\nb\t3\t4\n",
    "comma.txt": "id,x,y\na,1,2\nb,3,4\n",
    "space.txt": "  id   x y\na 1   2  \n  b 3 4\n",
    "A.CSV": "id,x,y\na,1,2\nb,3,4\n",
    "hint.csv": "sep=,\nid,x,y\na,1,2\nb,3,4\n",
    "hint-semicolon.csv": '\ufeff"sep=;"\r\nid;x;y\r\na;1;2\r\nb;3;4\r\n',
    "hint-tab.tsv": "SEP=\t\nid\tx\ty\na\t1\t2\nb\t3\t4\n",
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(name: str, tmp_path: Path) -> None:
    """The same table in every spelling that a suffix allows."""
    table = _read(tmp_path, DIALECTS[name], name)
    assert table.features == ("x", "y")
    assert table.obs.index.tolist() == ["a", "b"]
    np.testing.assert_array_equal(table.values, [[1, 2], [3, 4]])


def test_a_hint_at_the_delimiter_is_a_line_of_its_own(tmp_path: Path) -> None:
    """It counts where a line is named, and is nothing where nothing follows."""
    with pytest.raises(DataError, match=r"line 4.*'p'"):
        _read(tmp_path, "sep=;\nid;x\na;1\nb;p\nc;2\n")
    with pytest.raises(DataError, match="sep="):
        _read(tmp_path, "sep=;\n\n")
    for rows in ("x,y\n1,2\n3,4\n", "1.5;2.5\n3.5;4.5\n"):
        with pytest.raises(DataError, match="line 2 "):
            _read(tmp_path, "sep=;\n" + rows)


def test_header_over_several_lines(tmp_path: Path) -> None:
    """A quoted name may hold line breaks and delimiters, and rows are counted after it."""
    table = _read(tmp_path, '"a\nb","c,d"\n1,2\n')
    assert table.features == ("a\nb", "c,d")
    with pytest.raises(DataError, match="line 4"):
        _read(tmp_path, '"a\nb","c,d"\n1,2\n3,\n')


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_line_of_an_error(data: st.DataObject, tmp_path: Path) -> None:
    """The line named is where the bad row starts, however many line breaks stand before."""
    notes = data.draw(st.lists(st.sampled_from(["u", '"v\nw"', '"\n\n"', '""']), min_size=1))
    blanks = data.draw(st.lists(st.integers(0, 2), min_size=len(notes), max_size=len(notes)))
    good = "".join("\n" * gap + f"{note},1\n" for note, gap in zip(notes, blanks, strict=True))
    with pytest.raises(DataError, match=f"line {good.count(chr(10)) + 2}, "):
        _read(tmp_path, f"n,x\n{good}bad,nan\n", drop="n")


def test_the_line_is_found_behind_odd_cells(tmp_path: Path) -> None:
    """Cells that a strict reader refuses, or that are very long, do not hide the bad line."""
    with pytest.raises(DataError, match="line 4, "):
        _read(tmp_path, f'n,x\n"a"b,1\n{"w" * 300_000},2\nc,nan\n')


def test_rows_longer_than_a_block(tmp_path: Path) -> None:
    """Very wide tables and very long cells are read whole."""
    names = ",".join(f"g{i}" for i in range(3_000))
    cells = ",".join("0.5" for _ in range(3_000))
    table = _read(tmp_path, f"note,{names}\n{'w' * 2_000_000},{cells}\n")
    assert table.values.shape == (1, 3_000)
    assert len(table.obs["note"].iloc[0]) == 2_000_000


def test_repeated_ids_that_nobody_named_get_numbers_and_are_told(tmp_path: Path) -> None:
    """Distinct ids come out, the first of each as it was, in the file's order."""
    path = tmp_path / "a.csv"
    path.write_text("cell,x\na,1\nb,2\na,3\na-1,4\na,5\n")
    with pytest.warns(CfmWarning, match="'a' at line 4"):
        table = read_table(str(path))
    ids = list(table.obs.index)
    assert len(set(ids)) == 5
    assert (ids[0], ids[1], ids[3]) == ("a", "b", "a-1")
    assert table.values[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_an_unquoted_gap_is_missing_in_every_column_but_ids(tmp_path: Path) -> None:
    """As pandas and R write it; quoted it is a word, and what is written reads back the same."""
    text = 'id,kind,age,x\nNA,NA,NA,1\nb,"NA",2,2\nnull,nan,3,3\nd,None,4,4\n'
    table = _read(tmp_path, text, drop="age")
    assert table.obs.index.tolist() == ["NA", "b", "null", "d"]
    assert table.obs["kind"].isna().tolist() == [True, False, True, False]
    assert table.obs["kind"].dropna().tolist() == ["NA", "None"]
    write_table(str(tmp_path / "b.csv"), table)
    again = read_table(str(tmp_path / "b.csv"), Selection(drop="age"))
    pd.testing.assert_frame_equal(again.obs, table.obs)
    with pytest.raises(DataError, match="line 3 has no id"):
        _read(tmp_path, "id,x\nNA,1\n,2\n")
