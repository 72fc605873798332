"""CSV, TSV and plain text tables."""

import gzip
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cfmcli.data.table import Backed, Table
from cfmcli.errors import CfmWarning, DataError
from cfmcli.io.checks import dense
from cfmcli.io.columns import assemble, order
from cfmcli.io.formats import Append, suffix
from cfmcli.io.output import atomic
from cfmcli.io.selection import Selection, candidates, identifier, plain_only
from cfmcli.io.text import GAPS, Text, parse

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MISSING = "^(|NA|N/A|<NA>|NaN|nan|NAN|-nan|null|NULL|None)$"
NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity))$"
COMMA = r"^[+-]?(\d+,\d+|\d{1,3}(,\d{3})+(\.\d*)?)$"
SIGNED = r"^[+-]?[$€£¥]?\s?[+-]?((\d{1,3}(,\d{3})+|\d+)(\.\d*)?|\.\d+)\s?%?$"
TRUTH = "^(True|False)$"
DIGITS = r"^[+-]?\d+$"
CODE = r"^[+-]?(0\d|\d{19})"
WHOLE = r"^(0|-?[1-9]\d{0,17})$"
ROWS = 4096
FEW, SHARE = 5, 0.1
"""Number and fraction of numbers in a text column that are accepted without a warning."""


def read(path: str, selection: Selection) -> Table:
    """Read a delimited file; features are float64, ids keep their exact text.

    Raises:
        DataError: the file is damaged, or a column mixes numbers and text.
    """
    text = parse(path)
    plain_only(selection, text.origin)
    return assemble(typed(text, selection), selection, text.origin, text.where)


def backed(path: str, selection: Selection) -> Backed:
    """Read the file completely, since lines have no fixed length."""
    return Backed.of(read(path, selection))


def typed(text: Text, selection: Selection) -> "dict[str, pa.ChunkedArray]":
    """Convert the columns of a text to the types that their cells suggest."""
    names = tuple(text.columns)
    key = identifier(names, selection, text.origin)
    free = set(candidates(names, selection, text.origin))
    return {
        name: _ids(name, text) if name == key else _typed(name, text, feature=name in free)
        for name in text.columns
    }


def write(path: str, table: Table) -> None:
    """Write a table with a header; floats are written so that they read back exactly."""
    with writing(path, table) as append:
        append(table)


@contextmanager
def writing(path: str, head: Table) -> Iterator[Append]:
    """Create a delimited file that is written table after table, under one header."""
    delimiter = "," if path == "-" or suffix(path).startswith(".csv") else "\t"
    with sink(path) as stream:
        names: list[str] = []

        def append(table: Table) -> None:
            if not names:
                names.extend(order(table))
                line = delimiter.join(_quoted(name, delimiter) for name in names)
                stream.write((line + "\n").encode())
            _emit(stream, table, names, delimiter)

        yield append


@contextmanager
def sink(path: str) -> Iterator[BinaryIO | io.BufferedWriter]:
    """Open the output of a delimited file: atomic, and gzipped if the suffix says so."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with atomic(path) as part, part.open("wb") as stream:
        if not suffix(path).endswith(".gz"):
            yield stream
            return
        # A name or time stamp in the gzip header would make equal tables differ.
        with (
            gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed,
            io.BufferedWriter(packed) as out,
        ):
            yield out


def _ids(name: str, text: Text) -> "pa.ChunkedArray":
    """A column of ids as text: an id called NA is not a missing value."""
    column = text.columns[name]
    return text.whole(name) if column.null_count else column


def _typed(name: str, text: Text, *, feature: bool) -> "pa.ChunkedArray":
    """Convert a column to numbers or booleans if it holds only those; codes and text stay text."""
    from pyarrow import compute as pc

    column = text.columns[name]
    values, bad = _numbers(column)
    wrong = pc.sum(bad).as_py() or 0
    right = pc.sum(pc.invert(pc.is_nan(values))).as_py() or 0
    if feature and wrong and _like(column, COMMA) == wrong:
        raise _comma(name, text)
    if feature and right > wrong > 0:
        raise _mixed(name, text, bad)
    if feature and wrong and right > max(FEW, SHARE * len(column)):
        _warn_of_text(name, text, wrong)
    elif feature and wrong and _like(column, SIGNED) >= wrong + right:
        _warn_of_signs(name, text)
    if wrong or (not right and column.null_count < len(column)):
        return _truths(column)
    if _is_code(column, values):
        return column
    return values if feature else _annotation(column, values)


def _numbers(column: "pa.ChunkedArray") -> "tuple[pa.ChunkedArray, pa.ChunkedArray]":
    """Parse cells as float64, else null, with a mask of cells that are neither number nor missing.

    The mask has no rows if the whole column can be cast as it is.
    """
    import pyarrow as pa
    from pyarrow import compute as pc

    try:
        return column.cast(pa.float64()), pc.is_null(column.slice(0, 0))
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(column)
    nothing = pc.match_substring_regex(trimmed, MISSING)
    good = pc.and_not(pc.match_substring_regex(trimmed, NUMBER), nothing)
    bad = pc.and_not(pc.invert(good), nothing)
    # A bare None would make Arrow import pandas, which `cfm info` avoids.
    return pc.if_else(good, trimmed, pa.NULL).cast(pa.float64()), bad


def _alike(column: "pa.ChunkedArray", pattern: str) -> "pa.ChunkedArray":
    """Mask of cells that match a pattern, apart from surrounding blanks."""
    from pyarrow import compute as pc

    return pc.match_substring_regex(pc.utf8_trim_whitespace(column), pattern)


def _like(column: "pa.ChunkedArray", pattern: str) -> int:
    """Number of cells that match a pattern."""
    from pyarrow import compute as pc

    return int(pc.sum(_alike(column, pattern)).as_py() or 0)


def _comma(name: str, text: Text) -> DataError:
    """Build the error for a column of numbers with commas."""
    from pyarrow import compute as pc

    column = text.columns[name]
    commas = _alike(column, COMMA)
    row = pc.index(commas, True).as_py()
    return DataError(
        f"{text.origin}: {text.where(row)}, column {name!r}: {column[row].as_py()!r} holds a comma"
        f" ({pc.sum(commas).as_py()} such cells): expected a point in decimal numbers, and nothing"
        f" between thousands. Correct it, or keep the column as an annotation with --drop {name}."
    )


def _mixed(name: str, text: Text, bad: "pa.ChunkedArray") -> DataError:
    """Build the error for a column of numbers with text in some cells."""
    from pyarrow import compute as pc

    row = pc.index(bad, True).as_py()
    cell, count = text.columns[name][row].as_py(), pc.sum(bad).as_py()
    return DataError(
        f"{text.origin}: {text.where(row)}, column {name!r}: expected a number, got {cell!r}"
        f" ({count} such cells in a column of numbers). Correct it, or keep the column as an"
        f" annotation with --drop {name}."
    )


def _warn_of_text(name: str, text: Text, wrong: int) -> None:
    """Warn if a column with many numbers is not used as a feature."""
    warnings.warn(
        f"{text.origin}: column {name!r} holds text in {wrong} of {len(text.columns[name])} cells"
        " and is kept as an annotation. If it is a feature, correct these cells; if not,"
        f" --drop {name} says so.",
        CfmWarning,
        stacklevel=2,
    )


def _warn_of_signs(name: str, text: Text) -> None:
    """Warn if a column is not used as a feature because of signs beside its numbers."""
    from pyarrow import compute as pc

    column = text.columns[name]
    row = pc.index(pc.and_not(_alike(column, SIGNED), _alike(column, NUMBER)), True).as_py()
    warnings.warn(
        f"{text.origin}: {text.where(row)}, column {name!r}: {column[row].as_py()!r} is a number"
        " with a sign of currency or per cent, which is read as text, and the column is kept as an"
        f" annotation. If it is a feature, write plain numbers; if not, --drop {name} says so.",
        CfmWarning,
        stacklevel=2,
    )


def _truths(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Convert text to booleans if every cell is True or False; otherwise unchanged."""
    import pyarrow as pa
    from pyarrow import compute as pc

    words = pc.match_substring_regex(column, TRUTH)
    return column.cast(pa.bool_()) if pc.all(words, skip_nulls=False).as_py() else column


def _is_code(column: "pa.ChunkedArray", values: "pa.ChunkedArray") -> bool:
    """Whether digits are codes rather than amounts: zero-padded, or too long for integers."""
    from pyarrow import compute as pc

    if not pc.all(pc.equal(pc.floor(values), values)).as_py():
        return False
    digits = pc.all(pc.match_substring_regex(column, DIGITS)).as_py()
    return bool(digits and pc.any(pc.match_substring_regex(column, CODE)).as_py())


def _annotation(column: "pa.ChunkedArray", values: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Convert a numeric annotation: to integers if whole and complete, else floats."""
    import pyarrow as pa
    from pyarrow import compute as pc

    whole = column.null_count == 0 and pc.all(pc.match_substring_regex(column, WHOLE)).as_py()
    return column.cast(pa.int64()) if whole else values


def _emit(
    stream: BinaryIO | io.BufferedWriter, table: Table, names: list[str], delimiter: str
) -> None:
    """Write the rows of a table."""
    for start in range(0, len(table), ROWS):
        rows = np.arange(start, min(start + ROWS, len(table)))
        block = dict(_cells(table.rows(rows), delimiter))
        lines = map(delimiter.join, zip(*(block[name] for name in names), strict=True))
        stream.write(("\n".join(lines) + "\n").encode())


def _cells(table: Table, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every column of a table as text, by name."""
    if table.obs.index.name is not None:
        yield str(table.obs.index.name), [_quoted(str(i), delimiter) for i in table.obs.index]
    for name in table.obs.columns:
        yield str(name), _text(table.obs[name], delimiter)
    for name, column in zip(table.features, dense(table.values).T, strict=True):
        yield name, ["" if isnan(x) else repr(x) for x in column.astype(float).tolist()]


def _text(column: "pd.Series[Any]", delimiter: str) -> list[str]:
    """Convert an annotation to text, empty where missing."""
    cells = zip(column.astype(object), column.isna(), strict=True)
    return ["" if gone else _quoted(str(cell), delimiter) for cell, gone in cells]


def _quoted(text: str, delimiter: str) -> str:
    """Quote a field if it would be read as missing or contains special characters."""
    plain = text not in GAPS and not any(mark in text for mark in (delimiter, '"', "\n", "\r"))
    return text if plain else '"' + text.replace('"', '""') + '"'
