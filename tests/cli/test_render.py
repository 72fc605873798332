"""Figures: strict JSON whatever they hold, and text that says them all."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from cfmcli import catalog
from cfmcli.cli.render import as_json, as_table, as_text
from tests.cli.harness import Cfm

LEAVES = some.none() | some.booleans() | some.integers() | some.text() | some.floats()
FIGURES = some.dictionaries(
    some.text(),
    some.recursive(
        LEAVES,
        lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
        max_leaves=9,
    ),
)


def finite(value: Any) -> Any:
    """A value with null where it is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(FIGURES)
def test_json_is_strict_and_faithful(figures: dict[str, Any]) -> None:
    """Reading the JSON gives the figures back, null where a number is not finite."""
    told = as_json(figures)
    assert "\n" not in told
    assert json.loads(told, parse_constant=pytest.fail) == finite(figures)


def test_json_takes_arrays_and_numpy_numbers() -> None:
    """NumPy's arrays and numbers are plain in JSON."""
    figures = {"a": np.array([[1.5, np.nan]]), "b": np.float32(0.5), "c": np.int64(3)}
    assert json.loads(as_json(figures)) == {"a": [[1.5, None]], "b": 0.5, "c": 3}


def test_text_nests_and_leaves_out_what_is_empty() -> None:
    """Nested figures are indented below their name, tables are rows, empties are left out."""
    figures = {
        "points": 3,
        "w1": 0.123456789,
        "none": None,
        "empty": {},
        "features": {"count": 2, "first": ["x", "y"]},
        "holdout": [{"label": "d2", "w1": 0.5}, {"label": "d5", "w1": 1.0}],
    }
    assert as_text(figures).splitlines() == [
        "points: 3",
        "w1: 0.123457",
        "features:",
        "  count: 2",
        "  first: x, y",
        "holdout:",
        "  - label: d2, w1: 0.5",
        "  - label: d5, w1: 1",
    ]


def test_of_a_long_list_text_shows_the_beginning() -> None:
    """Thousands of genes do not bury what else there is to read; JSON has them all."""
    genes = [f"g{k}" for k in range(2000)]
    first = ", ".join(genes[:10])
    assert as_text({"features": genes}) == f"features: {first}, ... (2,000 in all)"
    assert as_text({"features": genes[:30]}) == f"features: {', '.join(genes[:30])}"
    assert json.loads(as_json({"features": genes})) == {"features": genes}


def test_a_table_is_aligned_and_plain() -> None:
    """Columns stand below their names, text to the left and numbers to the right."""
    rows = [
        {"metric": "w2", "value": 0.5, "floor": 0.25},
        {"metric": "[npe]", "value": 123456.789, "floor": None},
    ]
    assert as_table(rows).splitlines() == [
        "metric   value  floor",
        "w2         0.5   0.25",
        "[npe]   123457",
    ]
    assert as_table([]) == ""


def test_a_table_is_never_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is a line, however narrow the terminal and wide the row; nothing is coloured."""
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = as_table([{"name": "x" * 90, "more": "y" * 90}]).splitlines()
    assert lines[1].split() == ["x" * 90, "y" * 90]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("family", ["", *catalog.FAMILIES])
def test_lists_fit_a_terminal(family: str, cfm: Cfm, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of `cfm list` is wider than the usual 80 columns, and none ends in a blank."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = cfm("list", *family.split()).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
