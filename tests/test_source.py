from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cfmcli.data.conditions import fit_conditions
from cfmcli.data.snapshots import Cloud
from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.flows.streams import Streams
from cfmcli.requests import Condition
from cfmcli.source import Source

WEIGHTS = np.array([1.0, 1.0, 2.0, 4.0]) / 8
COUNT = 800


def cloud(time: float, kinds: list[str] | None, points: list[float]) -> Cloud:
    """Four weighted points on a line; the dose of each is its place."""
    obs = pd.DataFrame({"note": range(4)}, index=[f"p{k}" for k in range(4)])
    if kinds:
        obs = obs.assign(kind=kinds, dose=points)
    return Cloud(np.array(points)[:, None], WEIGHTS, obs, f"{time:g}", time)


TARGET = cloud(1.0, ["a", "b", "b", "c"], [10.0, 20.0, 30.0, 40.0])
LABELLED = cloud(0.0, ["a", "a", "b", "b"], [1.0, 2.0, 3.0, 4.0])
PLAIN = cloud(0.0, None, [1.0, 2.0, 3.0, 4.0])


def source(first: Cloud | None) -> Source:
    """A source before the target."""
    conditions = fit_conditions("kind", ("dose",), [TARGET.obs, LABELLED.obs])
    return Source(first, TARGET, conditions, 0.0, 1)


def shares(values: "pd.Series[str]") -> dict[str, float]:
    """How large a part of the points each class is."""
    return {str(name): share for name, share in values.value_counts(normalize=True).items()}


def test_points_of_a_labelled_cloud_keep_their_own_condition() -> None:
    """Place and condition are those of one and the same point, in shares of the weights."""
    found = source(LABELLED).draw(COUNT, Streams(0))
    assert (found.obs["dose"] == found.points[:, 0]).all()
    assert shares(found.obs["kind"]) == pytest.approx({"a": 0.25, "b": 0.75})
    assert list(found.obs.columns) == ["kind", "dose"]
    assert found.obs.index.tolist() == [str(k) for k in range(COUNT)]


@pytest.mark.parametrize("first", [PLAIN, None], ids=["cloud", "normal"])
def test_other_points_come_under_conditions_of_the_target(first: Cloud | None) -> None:
    """Whole rows of the target by its weights, drawn apart from the points."""
    found = source(first).draw(COUNT, Streams(0))
    assert shares(found.obs["kind"]) == pytest.approx({"a": 1 / 8, "b": 3 / 8, "c": 4 / 8})
    place = dict(zip(TARGET.obs["dose"], TARGET.obs["kind"], strict=True))
    assert [place[dose] for dose in found.obs["dose"]] == found.obs["kind"].tolist()
    correlation = np.corrcoef(found.points[:, 0], found.obs["dose"])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(COUNT)


def test_a_class_restricts_the_source_to_its_own() -> None:
    """Where it has the class; its covariates are drawn from the class where it has none."""
    found = source(LABELLED).draw(COUNT, Streams(0), Condition("b"))
    assert set(found.points[:, 0]) == {3.0, 4.0}
    assert set(found.obs["kind"]) == {"b"}
    drawn = source(None).draw(COUNT, Streams(0), Condition("b"))
    assert set(drawn.obs["dose"]) == {20.0, 30.0}
    absent = source(LABELLED).draw(COUNT, Streams(0), Condition("c"))
    assert set(absent.points[:, 0]) == {1.0, 2.0, 3.0, 4.0}
    assert set(absent.obs["kind"]) == {"c"}


def test_covariates_are_as_given() -> None:
    """For all points; the classes stay their own."""
    found = source(LABELLED).draw(COUNT, Streams(0), Condition("", {"dose": 7.0}))
    assert (found.obs["dose"] == 7.0).all()
    assert shares(found.obs["kind"]) == pytest.approx({"a": 0.25, "b": 0.75})


def test_the_points_do_not_depend_on_the_conditions() -> None:
    """The same seed draws the same noise, whatever is chosen."""
    one = source(None).draw(9, Streams(3))
    other = source(None).draw(9, Streams(3), Condition("a", {"dose": 1.0}))
    assert np.array_equal(one.points, other.points)
    assert not np.array_equal(one.points, source(None).draw(9, Streams(4)).points)


def test_a_stored_cloud_gets_what_it_lacks() -> None:
    """Conditions are added to other annotations; a cloud that has its own is left alone."""
    whole = source(PLAIN).conditioned(PLAIN, Streams(0))
    assert set(whole.obs.columns) == {"note", "kind", "dose"}
    assert whole.obs.index.equals(PLAIN.obs.index)
    assert source(LABELLED).conditioned(LABELLED, Streams(0)) is LABELLED


def test_a_labelled_source_has_a_density_for_each_class() -> None:
    """Gaussian fits of each class alone, for the rows of that class."""
    obs = pd.DataFrame({"kind": ["b", "a", "b", "c"], "dose": 1.0})
    with pytest.warns(CfmWarning, match="irrespective of dose"):
        found = source(LABELLED).densities("gaussian", obs, Streams(0))
    assert [rows.tolist() for rows, _ in found] == [[1], [0, 2], [3]]
    x = np.array([[2.5]])
    values = [float(density.log_prob(x)[0]) for _, density in found]
    moments = [(1.5, 0.5), (3 + 2 / 3, np.sqrt(2) / 3)]
    expected = [norm(*moment).logpdf(2.5) for moment in moments]
    assert values[:2] == pytest.approx(expected, abs=1e-4)
    mean = float(WEIGHTS @ LABELLED.points[:, 0])
    spread = np.sqrt(WEIGHTS @ (LABELLED.points[:, 0] - mean) ** 2)
    assert values[2] == pytest.approx(norm(mean, spread).logpdf(2.5), abs=1e-4)


@pytest.mark.parametrize("first", [PLAIN, None], ids=["cloud", "normal"])
def test_other_sources_have_one_density(first: Cloud | None) -> None:
    """Points and conditions are independent there, so one density is right for all."""
    obs = pd.DataFrame({"kind": ["b", "a"], "dose": 1.0})
    found = source(first).densities("auto" if first is None else "gaussian", obs, Streams(0))
    assert [rows.tolist() for rows, _ in found] == [[0, 1]]
    with pytest.raises(ConfigError, match="leave --base out"):
        source(None).densities("kde", obs, Streams(0))


@pytest.mark.parametrize("base", ["auto", "gaussian", "kde", "gmm:k=2"])
@pytest.mark.parametrize("place", [0.0, 1 / 3, -1e6])
def test_one_place_has_no_density(base: str, place: float) -> None:
    with pytest.raises(DataError, match=r"4 points at 0 are all the same.*--known"):
        source(cloud(0.0, None, [place] * 4)).densities(base, PLAIN.obs, Streams(0))


def test_what_has_next_to_no_density_is_named() -> None:
    """A constant coordinate, by the name that it has."""
    points = np.column_stack([[1.0, 2.0, 3.0, 4.0], np.full(4, 5.0)])
    flat = Source(replace(PLAIN, points=points), TARGET, source(PLAIN).conditions, 0.0, 2)
    with pytest.warns(CfmWarning, match=r"points at 0 \(gaussian\) .* along dose, where"):
        flat.densities("gaussian", PLAIN.obs, Streams(0), ("x", "dose"))
    with pytest.warns(CfmWarning, match="along coordinate 2, where"):
        flat.densities("gaussian", PLAIN.obs, Streams(0))


@pytest.mark.parametrize("first", [PLAIN, None], ids=["cloud", "normal"])
def test_points_drawn_in_pieces_are_those_drawn_at_once(first: Cloud | None) -> None:
    """In their order, with gaps, and once more from an earlier one."""
    whole, drawn = (
        source(first).draw(9000, Streams(0)).points,
        source(first).drawn(9000, Streams(0)),
    )
    for rows in (slice(0, 10), slice(10, 4200), slice(8000, 9000), slice(5, 7)):
        np.testing.assert_array_equal(drawn.read(rows), np.asarray(whole)[rows])
