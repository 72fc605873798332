"""Colours of a column of categories that takes the place of another."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfmcli.io.colours import followed

Held = dict[str, dict[str, Any]]
OLD = ("a", "a", "b", "b")


@pytest.mark.parametrize(
    ("rows", "categories", "want"),
    [
        (["b", "b", "a", "b"], ["b", "a"], ["blue", "red"]),
        (["b", "b", "a", "a"], ["b", "a"], ["blue", "red"]),
        (["b", "b", "a", "a"], ["a", "b"], ["red", "blue"]),
        (["b", "b", None, None], ["b"], ["blue"]),
        (["b", "c", "b", "b"], ["b", "c"], ["blue", "red"]),
        (["c", "b", "b", "b"], ["a", "b", "c"], None),
        (["b", "b", "b", "d"], ["a", "b", "c"], None),
        ([1.0, 1.0, 0.0, 0.0], [0.0, 1.0], ["blue", "red"]),
        ([0.0, 1.0, 2.0, 2.0], [0.0, 1.0, 2.0], None),
        ([0.0, 0.0, 0.0, 2.0], [0.0, 2.0], ["red", "blue"]),
    ],
)
def test_no_two_categories_share_a_colour(
    rows: list[Any], categories: list[Any], want: list[str] | None
) -> None:
    """Names keep theirs, new names have that of their rows; else there are none."""
    held: Held = {
        "obs": {"fate": pd.Categorical(OLD)},
        "uns": {"fate_colors": np.array(["red", "blue"])},
    }
    new = pd.Categorical(rows, categories)
    found = followed({"fate": new}, lambda slot, key: held[slot].get(key))
    assert list(found.get("fate_colors", ())) == (want or [])


def test_times_that_rename_others_keep_the_colours_of_their_rows() -> None:
    """Though one of them is called as another one was."""
    held: Held = {
        "obs": {"day": pd.Categorical([1, 2, 3])},
        "uns": {"day_colors": np.array(["red", "green", "blue"])},
    }
    new = pd.Categorical([0.0, 1.0, 2.0])
    found = followed({"day": new}, lambda slot, key: held[slot].get(key))
    assert list(found["day_colors"]) == ["red", "green", "blue"]
