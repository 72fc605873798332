import dataclasses
import tomllib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmcli import recipe
from cfmcli.errors import ConfigError
from cfmcli.layers import from_layers, from_toml
from cfmcli.presets import METHODS
from cfmcli.recipe import Recipe

FIELDS = [item.name for item in dataclasses.fields(Recipe)]
WORDS = st.text(max_size=12)
MANY = st.lists(WORDS, max_size=3).map(tuple)
SHARE = st.floats(0, 1, exclude_max=True)
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("time_key", "label_key", "weight_key", "id_key", "features"), WORDS),
    **dict.fromkeys(("drop", "layer", "use_rep", "transform", "field"), WORDS),
    **dict.fromkeys(("coupling", "interpolant", "objective"), WORDS),
    **dict.fromkeys(("inputs", "holdout"), MANY),
    "source": st.sampled_from(["data", "gaussian"]),
    "scope": st.sampled_from(["auto", "dataset", "minibatch"]),
    "precision": st.sampled_from(["f32", "bf16"]),
    "method": st.sampled_from(list(METHODS)),
    "times": st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
    "ot_batch": st.integers(0, 10**6),
    "steps": st.integers(1, 10**9) | st.just(recipe.AUTO),
    "batch_size": st.integers(1, 10**6),
    "lr": st.floats(0, 1e3, exclude_min=True),
    "ema": SHARE,
    "validation": SHARE,
    "seed": st.integers(0, 2**63 - 1),
}
RECIPES = st.fixed_dictionaries({}, optional=SETTINGS).map(
    lambda kwargs: Recipe(**kwargs, from_run="run" if kwargs.get("method") == "rf" else "")
)


@given(RECIPES)
def test_a_recipe_survives_toml(made: Recipe) -> None:
    """from_toml(to_toml) = id, for every value of every setting."""
    assert from_layers(from_toml(made.to_toml())) == made


@given(RECIPES)
def test_a_recipe_survives_flat_toml(made: Recipe) -> None:
    """Sections are for readers: a flat file means the same."""
    import tomli_w

    flat = {k: v for part in made.to_mapping().values() for k, v in part.items()}
    assert from_layers(from_toml(tomli_w.dumps(flat))) == made


def test_the_file_holds_every_setting_once() -> None:
    """Nothing that describes a fit is left out of its file."""
    sections = tomllib.loads(Recipe().to_toml())
    assert list(sections) == list(recipe.SECTIONS)
    assert sorted(k for part in sections.values() for k in part) == sorted(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_has_a_meaning(name: str) -> None:
    """Help has something to say of each, and its default is the recipe's."""
    assert len(recipe.meaning(name)) > 8
    assert recipe.default(name) == getattr(Recipe(), name)
    assert recipe.option(name).startswith("--")


def test_later_layers_win_and_earlier_ones_stay() -> None:
    """Precedence: option over file over default, setting by setting."""
    made = from_layers({"steps": 5, "lr": 0.1}, {"steps": 7, "method": "icfm"}, {"seed": 3})
    assert (made.steps, made.lr, made.method, made.seed) == (7, 0.1, "icfm", 3)
    assert made.batch_size == Recipe().batch_size


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": -5},
        {"steps": "atuo"},
        {"batch_size": 0},
        {"ot_batch": -1},
        {"lr": 0.0},
        {"lr": -1e-3},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"ema": 1.0},
        {"ema": -0.1},
        {"ema": float("nan")},
        {"validation": 1.0},
        {"validation": -0.2},
        {"patience": -1},
        {"patience": 3, "steps": 100},
        {"seed": -1},
        {"source": "Gaussian"},
        {"scope": "batch"},
        {"precision": "fp32"},
        {"method": "otcmf"},
        {"time_map": ("a=1",), "time_order": ("a",)},
        {"times": (float("nan"), 1.0)},
        {"times": (0.0, float("inf"))},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    """The message names an option of those that are wrong."""
    with pytest.raises(ConfigError) as caught:
        from_layers(wrong)
    names = [recipe.option(name) for name in wrong]
    assert any(name in str(caught.value) for name in names) or "method" in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 1.5},
        {"steps": "10"},
        {"steps": True},
        {"lr": "fast"},
        {"method": 3},
        {"inputs": "one.csv"},
        {"inputs": [1]},
        {"times": ["a"]},
        {"times": [True]},
        {"holdout": 1},
        {"holdout": [True]},
        {"covariates": "dose,age"},
        {"covariates": [3]},
        {"steps": np.float64(1.5)},
        {"steps": np.bool_(True)},
        {"times": np.array(["a"])},
        {"times": np.zeros((2, 2))},
        {"time_order": "a"},
    ],
    ids=str,
)
def test_values_of_the_wrong_kind_are_refused(wrong: dict[str, Any]) -> None:
    """Nothing is bent into another kind that could be meant otherwise."""
    with pytest.raises(ConfigError, match="expected"):
        from_layers(wrong)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"holdout": [0, 2.5, "d7"]}, ("0", "2.5", "d7")),
        ({"holdout": np.array([0.0, 2.5])}, ("0", "2.5")),
        ({"holdout": "2"}, ("2",)),
        ({"holdout": ""}, ()),
        ({"covariates": ""}, ()),
        ({"holdout": np.array([0.1, 2.5], dtype=np.float32)}, ("0.1", "2.5")),
        ({"holdout": [np.float32(0.7), 0.1 + 0.2]}, ("0.7", "0.3")),
        ({"holdout": [1700000000123, 1700000000.125]}, ("1700000000123", "1700000000.125")),
        ({"holdout": [1700000000000, -0.0, 1e300]}, ("1700000000000", "0", "1e+300")),
        ({"time_order": pd.Series([0.1, 7], dtype="float32")}, ("0.1", "7")),
        ({"covariates": "dose"}, ("dose",)),
        ({"covariates": np.array(["dose", "age"])}, ("dose", "age")),
        ({"time_order": [7, 2]}, ("7", "2")),
        ({"times": np.arange(3)}, (0.0, 1.0, 2.0)),
        ({"times": [np.float64(0), np.int64(2)]}, (0.0, 2.0)),
        ({"steps": np.int64(7)}, 7),
        ({"lr": np.float32(1e-3)}, 0.001),
        ({"lr": np.float64(1 / 3)}, 1 / 3),
        ({"lr": np.array(1)}, 1.0),
        ({"method": np.str_("icfm")}, "icfm"),
    ],
    ids=str,
)
def test_what_has_one_plain_meaning_is_taken(given: dict[str, Any], meant: object) -> None:
    """Numbers for labels of times, NumPy's own kinds, one word for a list of one."""
    found = from_layers(given)
    value = getattr(found, next(iter(given)))
    assert value == meant
    assert {type(v) for v in np.atleast_1d(np.array(value, dtype=object))} <= {str, int, float}
    assert from_layers(from_toml(found.to_toml())) == found


def test_whole_numbers_widen() -> None:
    """`lr = 1` in a file is a number."""
    made = from_layers({"lr": 1, "times": [0, 2]})
    assert made.lr == 1.0
    assert made.times == (0.0, 2.0)


def test_unknown_settings_and_sections_get_suggestions() -> None:
    """Did you mean, for settings and for sections."""
    with pytest.raises(ConfigError, match="Did you mean 'batch_size'"):
        from_layers({"batchsize": 3})
    with pytest.raises(ConfigError, match="Did you mean 'training'"):
        from_toml("[trainning]\nsteps = 3\n")
    with pytest.raises(ConfigError, match=r"my\.toml is not valid TOML"):
        from_toml("steps = = 3", "my.toml")


def test_a_recipe_does_not_change() -> None:
    """Frozen, and so usable as a key."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().steps = 3  # type: ignore[misc]
    assert hash(Recipe()) == hash(Recipe())


def test_steps_that_are_found_on_the_way_bring_a_cap_and_points_to_judge_by() -> None:
    """A validation that is asked for wins; patience needs no other."""
    auto = Recipe(steps=recipe.AUTO, patience=3)
    assert (auto.most_steps, auto.kept) == (recipe.MOST_STEPS, recipe.KEPT)
    assert (auto.validation, Recipe(steps=recipe.AUTO, validation=0.3).kept) == (0.0, 0.3)
    assert (Recipe(steps=7).most_steps, Recipe(steps=7).kept) == (7, 0.0)
    assert Recipe().steps == recipe.AUTO
