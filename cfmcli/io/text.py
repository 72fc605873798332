"""Text: delimited text as columns of strings, with line numbers for errors.

Arrow parses the text; if it fails, Python's csv module parses it again to locate the error.
"""

import csv
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cfmcli.errors import CfmWarning, DataError
from cfmcli.io.checks import distinct_names, some_points
from cfmcli.io.formats import standard_input, suffix

if TYPE_CHECKING:
    import pyarrow as pa

    from cfmcli.data.table import Table

BOM = b"\xef\xbb\xbf"
FOREIGN = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "gzip"}
HINT = re.compile(rb'"?sep=([,;|\t])"?(?=\r?\n\s*\S)', re.IGNORECASE)
BLOCK = 1 << 26
GAPS = ("", "NA", "N/A", "<NA>", "NaN", "nan", "null", "NULL")
"""Cells that, unquoted, mean a missing value: as R and pandas write and read them."""
ROWS = 100
"""Number of lines used to detect the delimiter."""


@dataclass(frozen=True)
class Text:
    """A delimited file, parsed but not yet interpreted.

    Args:
        columns: name -> strings, null if a cell is one of GAPS and unquoted.
        data: the whole file as UTF-8.
        delimiter: separator of the fields.
        origin: the file, for messages.
    """

    columns: "dict[str, pa.ChunkedArray]"
    data: bytes
    delimiter: str
    origin: str

    def whole(self, name: str) -> "pa.ChunkedArray":
        """A column with every cell as its literal text, missing values included."""
        import pyarrow as pa

        place = list(self.columns).index(name)
        records = _records(self.data, self.delimiter, strict=False)
        _, *cells = (fields[place] for _, _, fields in records if fields)
        return pa.chunked_array([cells], pa.string())

    def where(self, row: int) -> str:
        """Line of the file on which a data row, counted from 0, starts."""
        records = _records(self.data, self.delimiter, strict=False)
        spans = (first for first, _, fields in records if fields)
        for _ in range(row + 1):
            next(spans)
        return f"line {next(spans)}"


def parse(path: str) -> Text:
    """Read a delimited file, gzipped or not, or CSV on stdin (`-`).

    Raises:
        DataError: the file is empty, damaged, not UTF-8, ragged, or has repeated column names.
    """
    origin = "stdin" if path == "-" else path
    data, hinted = _without_hint(_bytes(path, origin))
    delimiter = hinted or _delimiter(path, data)
    if delimiter == " ":
        data, delimiter = _tabbed(data), "\t"
    names, start = _header(data, delimiter, origin)
    if _rows_are_named(data, delimiter, len(names)):
        names.insert(0, "")
        warnings.warn(
            f"{origin}: the lines have one field more than there are names. The first is read as a"
            " column without a name, as R writes row names.",
            CfmWarning,
            stacklevel=2,
        )
    columns = _parsed(data, start, names, delimiter, origin)
    some_points(columns[0].length(), origin)
    while len(names) > 1 and not names[-1] and _empty(columns[len(names) - 1]):
        names.pop()
    distinct_names(names, "column names", origin, "Rename them so that each is its own.")
    return Text(dict(zip(names, columns, strict=False)), data, delimiter, origin)


def _empty(column: "pa.ChunkedArray") -> bool:
    """Whether all cells of a column are empty, as after a trailing comma on each line."""
    from pyarrow import compute as pc

    return not pc.any(pc.not_equal(pc.utf8_trim_whitespace(column), "")).as_py()


def _bytes(path: str, origin: str) -> bytes:
    """Read a file as UTF-8 without its byte-order mark."""
    data = standard_input() if path == "-" else Path(path).read_bytes()
    if path != "-" and suffix(path).endswith(".gz"):
        data = _unzipped(data, origin)
    kind = FOREIGN.get(data[:2])
    if kind:
        raise DataError(
            f"{origin}: this is {kind}, not plain UTF-8 text. Convert it, or rename it."
        )
    data = data.removeprefix(BOM)
    if not data.strip():
        raise DataError(
            f"{origin}: the file is empty. Expected a line of names and rows of numbers."
        )
    return data


def _unzipped(data: bytes, origin: str) -> bytes:
    """Decompress gzip data, or raise DataError."""
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{origin}: the gzip file is truncated or damaged ({error}). Fetch or make it again."
        ) from error


def _without_hint(data: bytes) -> tuple[bytes, str]:
    """Data without a spreadsheet's `sep=` line, and the delimiter that it names, if any."""
    hint = HINT.match(data)
    return (data[hint.end() :], hint[1].decode()) if hint else (data, "")


def _delimiter(path: str, data: bytes) -> str:
    """Detect the delimiter: by suffix, or by header for .txt, where the default is white space."""
    if path == "-" or suffix(path).startswith(".csv"):
        return ","
    if suffix(path).startswith(".tsv"):
        return "\t"
    header = data.splitlines()[0]
    return "\t" if b"\t" in header else "," if b"," in header else " "


def _tabbed(data: bytes) -> bytes:
    """Convert fields separated by runs of spaces to tabs; line numbers are unchanged."""
    lines = b"\n".join(line.strip(b" ") for line in data.splitlines())
    text = io.StringIO(lines.decode("utf-8", "surrogateescape"), newline="")
    out = io.StringIO(newline="")
    rows = csv.reader(text, delimiter=" ", skipinitialspace=True)
    csv.writer(out, delimiter="\t", lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "surrogateescape")


def _records(
    data: bytes, delimiter: str, *, strict: bool = True
) -> Iterator[tuple[int, int, list[str]]]:
    """Yield first line, last line and fields of every record; a blank line has no fields."""
    csv.field_size_limit(BLOCK)
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=strict)
    first = 1
    for fields in reader:
        yield first, reader.line_num, fields
        first = reader.line_num + 1


def _header(data: bytes, delimiter: str, origin: str) -> tuple[list[str], int]:
    """Column names, and the byte offset at which the rows start."""
    try:
        first, last, names = next(record for record in _records(data, delimiter) if record[2])
        names = [name.encode("utf-8", "surrogateescape").decode().strip() for name in names]
    except UnicodeDecodeError as error:
        raise _diagnosis(data, delimiter, 0, origin, str(error)) from error
    except csv.Error as error:
        first, _, torn = next(r for r in _records(data, delimiter, strict=False) if r[2])
        _separated(data, torn, delimiter, origin, first)
        raise DataError(f"{origin}: the line of names cannot be read: {error}.") from error
    _separated(data, names, delimiter, origin, first)
    if all(_measured(name) for name in names):
        raise DataError(
            f"{origin}: line {first} holds numbers ({names[0]}, ...), not column names."
            " Add a first line with a name for each column."
        )
    lines = io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline="")
    return names, sum(len(next(lines).encode("utf-8", "surrogateescape")) for _ in range(last))


def _separated(data: bytes, names: list[str], delimiter: str, origin: str, line: int) -> None:
    """Refuse names that another delimiter would split, as in spreadsheet exports."""
    marks = [mark for mark in (";", "\t", ",") if mark != delimiter]
    other = next((mark for mark in marks if any(mark in name for name in names)), "")
    if not other or (len(names) > 1 and not _split_better(data, delimiter, other)):
        return
    torn = next(name for name in names if other in name)
    told = f"one name, {torn!r}" if len(names) == 1 else f"{len(names)} names, such as {torn!r}"
    raise DataError(
        f"{origin}: there is no numeric column: line {line} is {told}. The columns"
        f" seem to be separated by {other!r}, expected {delimiter!r}: save the file with commas"
        " (.csv) or tabs (.tsv), and with points in decimal numbers."
    )


def _split_better(data: bytes, delimiter: str, other: str) -> bool:
    """Whether another delimiter splits the first lines evenly, and the usual one does not."""
    usual, better = (
        {len(fields) for _, _, fields in islice(_records(data, mark, strict=False), ROWS) if fields}
        for mark in (delimiter, other)
    )
    return len(better) == 1 and max(better) > 1 and len(usual) > 1


def _rows_are_named(data: bytes, delimiter: str, width: int) -> bool:
    """Whether the first lines begin with a row name missing from the header, as R writes them."""
    records = (fields for _, _, fields in _records(data, delimiter, strict=False) if fields)
    first = list(islice(records, 1, ROWS + 1))
    if not first or any(len(fields) != width + 1 or not fields[-1].strip() for fields in first):
        return False
    names = {fields[0] for fields in first}
    return len(names) == len(first) and not any(_measured(name) for name in names)


def _measured(name: str) -> bool:
    """Whether a name is a number other than a plain count, such as a measurement."""
    try:
        return float(name) is not None and not name.strip().isdigit()
    except ValueError:
        return False


def _parsed(
    data: bytes, start: int, names: list[str], delimiter: str, origin: str
) -> "list[pa.ChunkedArray]":
    """Parse the rows into one array of strings per column."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    keys = [str(number) for number in range(len(names))]
    body = pa.py_buffer(data).slice(start)
    if not data[start:].strip():
        return [pa.chunked_array([], pa.string()) for _ in names]
    try:
        table = arrow.read_csv(
            pa.BufferReader(body),
            arrow.ReadOptions(column_names=keys, use_threads=False, block_size=BLOCK),
            arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            arrow.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.string()),
                null_values=GAPS,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _diagnosis(data, delimiter, len(names), origin, str(error)) from error
    columns: list[pa.ChunkedArray] = table.columns
    return columns


def _diagnosis(data: bytes, delimiter: str, width: int, origin: str, message: str) -> DataError:
    """Build the error for a text that cannot be parsed, with its line."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        return DataError(
            f"{origin}: line {line}: byte 0x{byte:02x} is not UTF-8 text. Save the file as UTF-8."
        )
    last = 0
    try:
        for first, last, fields in _records(data, delimiter):  # noqa: B007
            if fields and len(fields) != width:
                return DataError(
                    f"{origin}: line {first} has {len(fields)} fields, expected {width} as in the"
                    " header. Add what is missing, or quote text that holds the delimiter."
                )
    except csv.Error as error:
        return DataError(f"{origin}: line {last + 1}: {error}. Is a quote left open?")
    return DataError(f"{origin}: it cannot be parsed: {message}.")


def place(table: "Table", row: int) -> str:
    """Location of a point: file, line and id for a delimited file, else origin and id.

    The file is read again, since a table does not record lines.

    Args:
        table: the table as read.
        row: index of the point, from 0.
    """
    name = f"point {table.obs.index[row]}"
    if not table.columns or not Path(table.origin).is_file():
        return f"{table.origin}: {name}"
    return f"{table.origin}: {parse(table.origin).where(row)}, {name}"
