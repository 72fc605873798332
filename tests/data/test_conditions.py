import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfmcli.data.conditions import Conditions, fit_conditions, load_conditions, word
from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.requests import Condition

KINDS = ["b", "a", "b", "c"]
DOSES = [0.0, 1.0, 2.0, 5.0]


def frame(kind: Any = KINDS, dose: Any = DOSES) -> pd.DataFrame:
    """Four annotated points."""
    return pd.DataFrame({"kind": kind, "dose": dose}, index=[f"p{k}" for k in range(4)])


@pytest.fixture
def both() -> Conditions:
    """Conditions of a class and a covariate."""
    return fit_conditions("kind", ("dose",), [frame()])


def test_a_condition_is_one_then_the_class_then_the_standardised_numbers(both: Conditions) -> None:
    """Told apart from no condition, which is all zero; numbers have mean 0 and deviation 1."""
    found = both.encode(frame())
    assert found.shape == (4, both.width) == (4, 5)
    assert (found[:, 0] == 1).all()
    assert found[:, 1:4].tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert found[:, 4].mean() == pytest.approx(0)
    assert found[:, 4].std() == pytest.approx(1)
    ratio = np.diff(found[:, 4]) / np.diff(DOSES)
    np.testing.assert_allclose(ratio, ratio[0])


def test_the_scale_is_that_of_all_clouds_together() -> None:
    """Splitting the points into clouds changes nothing."""
    parts = [frame().iloc[:1], frame().iloc[1:]]
    assert fit_conditions("kind", ("dose",), parts) == fit_conditions("kind", ("dose",), [frame()])


@pytest.mark.parametrize("beyond", [-1.0, 5.5])
def test_a_number_outside_what_was_learnt_is_worth_a_warning(
    both: Conditions, beyond: float
) -> None:
    """With the range, which a run keeps; what lies inside passes in silence."""
    kept = load_conditions(json.loads(json.dumps(both.facts())))
    kept.encode(frame(dose=[0.0, 5.0, 3.0, 0.1]))
    with pytest.warns(CfmWarning, match=rf"new\.csv: 2 of 4 .*'dose'.*{beyond:g}.*0 to 5"):
        kept.encode(frame(dose=[beyond, 1.0, beyond, 2.0]), "new.csv")


@pytest.mark.parametrize(
    "kind",
    [
        [2, 1, 2, 3],
        [2.0, 1.0, 2.0, 3.0],
        np.array([2, 1, 2, 3], dtype=np.float32),
        ["2", "1", "2", "3"],
        pd.Categorical([2.0, 1.0, 2.0, 3.0]),
        pd.Series([2.0, 1.0, 2.0, 3.0], dtype=object).to_numpy(),
    ],
    ids=["integers", "floats", "single", "text", "categories", "objects"],
)
def test_classes_may_be_numbers(kind: Any) -> None:
    """2 and 2.0 are the class "2", in whatever column they stand."""
    found = fit_conditions("kind", (), [frame(kind)])
    assert found.classes == ("1", "2", "3")
    words = fit_conditions("kind", (), [frame(["2", "1", "2", "3"])])
    np.testing.assert_array_equal(
        words.encode(frame(kind)), found.encode(frame(["2", "1", "2", "3"]))
    )


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1700000000000.0, "1700000000000"),
        (1700000000123.5, "1700000000123.5"),
        (1 / 3, "0.3333333333333333"),
        (0.1 + 0.2, "0.3"),
        (np.float32(0.1), "0.1"),
        (float("inf"), "inf"),
        (12345678901234567, "12345678901234567"),
        (True, "True"),
        ("E7.5", "E7.5"),
    ],
)
def test_a_class_keeps_all_its_digits(value: Any, name: str) -> None:
    """But for those that rounding has left."""
    assert word(value) == name


def test_without_keys_there_are_no_conditions() -> None:
    """Nothing is known, nothing is encoded."""
    none = fit_conditions("", (), [frame()])
    assert none == Conditions()
    assert (none.width, none.keys, none.known(frame())) == (0, (), False)


def test_they_survive_json(both: Conditions) -> None:
    """What is stored is what comes back."""
    assert load_conditions(json.loads(json.dumps(both.facts()))) == both


def test_what_is_given_wins_over_what_points_have(both: Conditions) -> None:
    """For each key alone; the rest is the points' own, and the annotations are left alone."""
    obs = frame().assign(other=1)
    given = both.told(obs, Condition("c"))
    assert given["kind"].tolist() == ["c"] * 4
    assert given["dose"].tolist() == DOSES
    assert both.told(obs, Condition("", {"dose": 7.0}))["dose"].tolist() == [7.0] * 4
    assert list(given.columns) == ["kind", "dose"]
    assert obs["kind"].tolist() == KINDS


def test_completing_adds_only_what_is_missing(both: Conditions) -> None:
    """A column that is there stays, whatever is given."""
    found = both.completed(frame()[["kind"]], Condition("c", {"dose": 3.0}))
    assert found["kind"].tolist() == KINDS
    assert found["dose"].tolist() == [3.0] * 4


@pytest.mark.parametrize(
    ("obs", "words"),
    [
        (frame()[["dose"]], "no column 'kind'.*--label, one of a, b, c"),
        (frame().rename(columns={"kind": "kinds"}), "no column 'kind'.*Did you mean 'kinds'"),
        (frame()[["kind"]], "no column 'dose'.*--covariate dose=VALUE"),
        (frame(["a", "b", "b", "bb"]), "not learnt the label 'bb'.*Known: a, b, c"),
        (frame(["a", None, "b", "b"]), "p1 has no label in 'kind' \\(1 such"),
        (frame(dose=[0.0, 1.0, np.nan, 2.0]), "p2 has nan in the covariate 'dose'"),
        (frame(dose=[0.0, 1.0, np.inf, 2.0]), "p2 has inf"),
        (frame(dose=["low", "high", "low", "low"]), "'dose' does not hold numbers.*--label-key"),
    ],
)
def test_unusable_points_are_refused(obs: pd.DataFrame, words: str, both: Conditions) -> None:
    """With the column, the point, and what to do."""
    with pytest.raises(DataError, match=words):
        both.encode(both.told(obs, origin="t.csv"), "t.csv")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Condition("d"), "--label 'd'.*kind \\(a, b, c\\)"),
        (Condition("", {"dosis": 1.0}), "'dosis'.*Did you mean 'dose'"),
    ],
)
def test_unknown_choices_are_refused(given: Condition, words: str, both: Conditions) -> None:
    """With what there is to choose from."""
    with pytest.raises(ConfigError, match=words):
        both.told(frame(), given)


@pytest.mark.parametrize("given", [Condition("a"), Condition("", {"x": 1.0}), Condition("", {}, 2)])
def test_nothing_is_chosen_where_nothing_is_conditional(given: Condition) -> None:
    """Neither a class, nor a covariate, nor a weight."""
    with pytest.raises(ConfigError, match="not conditional"):
        Conditions().told(frame(), given)


@pytest.mark.parametrize("guidance", [-1.0, float("nan"), float("inf")])
def test_guidance_is_a_weight(guidance: float) -> None:
    """Neither negative nor infinite."""
    with pytest.raises(ConfigError, match="--guidance"):
        Condition(guidance=guidance)
    with pytest.raises(ConfigError, match="dose"):
        Condition("", {"dose": float("nan")})


def test_columns_that_cannot_be_learnt_are_refused() -> None:
    """A covariate that does not vary, and a column named twice."""
    with pytest.raises(DataError, match="'dose' is 1 everywhere"):
        fit_conditions("", ("dose",), [frame(dose=[1.0] * 4)])
    with pytest.raises(ConfigError, match="twice"):
        fit_conditions("dose", ("dose",), [frame()])
