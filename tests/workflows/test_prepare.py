import dataclasses
import re
import shlex
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cfmcli.data import maps
from cfmcli.data.table import Backed, Table
from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.io import Selection, from_object
from cfmcli.layers import from_layers
from cfmcli.recipe import Recipe
from cfmcli.workflows import intake, prepare
from cfmcli.workflows.counted import not_logged, not_logged_where_read
from cfmcli.workflows.queries import satisfying


def table(
    values: Any, obs: dict[str, Any] | None = None, *, names: str = "ab", origin: str = "t.csv"
) -> Table:
    """A table with features a, b, ... and annotations."""
    matrix = values if sparse.issparse(values) else np.asarray(values, dtype=float)
    index = [f"{origin}-{k}" for k in range(matrix.shape[0])]
    return Table(matrix, tuple(names), pd.DataFrame(obs or {}, index=index), origin)


def course(days: Any) -> Table:
    """A point for each day, its first feature the row number."""
    n = len(days)
    return table(np.stack([np.arange(n), np.ones(n)], axis=1), {"day": days})


def test_points_are_split_by_their_time() -> None:
    """Every point in the cloud of its label, in the order of the rows; times keep their spacing."""
    found, times = intake.snapshots(
        Recipe(time_key="day"), [course(["d10", "d2", "d10", "d2", "d2", "d3.5", "d3.5"])]
    )
    rows = {c.label: c.points[:, 0].tolist() for c in found.clouds}
    assert rows == {"d2": [1, 3, 4], "d3.5": [5, 6], "d10": [0, 2]}
    assert found.timeline.times == times.times == (2.0, 3.5, 10.0)
    assert [c.obs.index[0] for c in found.clouds] == ["t.csv-1", "t.csv-5", "t.csv-0"]


@pytest.mark.parametrize(
    "days",
    [
        pd.Categorical(["late", "early"] * 2, ["early", "late"], ordered=True),
        pd.Categorical([7.5, 2.0] * 2, [2.0, 7.5], ordered=True),
        np.array([7.5, 2.0] * 2),
        np.array([7, 2] * 2),
        ["7.5", "2"] * 2,
    ],
    ids=["ordered words", "ordered numbers", "floats", "integers", "text"],
)
def test_times_of_every_kind_are_ordered(days: Any) -> None:
    """The later points come last."""
    found, _ = intake.snapshots(Recipe(time_key="day"), [course(days)])
    assert [c.points[:, 0].tolist() for c in found.clouds] == [[1, 3], [0, 2]]


def test_labels_read_as_users_write_them() -> None:
    """2, not 2.0, so that --holdout 2 and --from 2 mean it."""
    found, _ = intake.snapshots(Recipe(time_key="day"), [course([2.0, 2.0, 0.25, 0.25])])
    assert [c.label for c in found.clouds] == ["0.25", "2"]


@pytest.mark.parametrize("ordered", [True, False])
def test_single_precision_reads_as_users_write_it(ordered: bool) -> None:
    """0.1, not 0.10000000149, among numbers and among categories."""
    days = np.array([0.1, 0.7] * 2 + [1.3] * 2, dtype=np.float32)
    column = pd.Categorical(days, ordered=True) if ordered else days
    recipe = Recipe(time_key="day", holdout=("0.7",))
    frame = pd.DataFrame({"a": np.arange(6.0), "day": column})
    given = from_object(frame, Selection(annotations=("day",)))
    found, times = intake.snapshots(recipe, [given])
    assert [c.label for c in found.clouds] == ["0.1", "0.7", "1.3"]
    assert times.times == (0.1, 0.7, 1.3)
    assert [c.held_out for c in found.clouds] == [False, True, False]
    told = intake.times_of(recipe, found.clouds, given)
    assert told is not None
    assert told.tolist() == [0.1, 0.7, 0.1, 0.7, 1.3, 1.3]


@pytest.mark.parametrize("held", [1700000000.25, np.float32(0.7), 2**45 + 1])
def test_times_are_held_out_by_their_numbers(held: float) -> None:
    """However long these are, and in whatever precision."""
    middle = np.float64(str(held))
    days = np.repeat([middle - 0.5, middle, middle + 0.5], 2)
    recipe = from_layers({"time_key": "day", "holdout": [held]})
    found, _ = intake.snapshots(recipe, [course(days)])
    assert [cloud.held_out for cloud in found.clouds] == [False, True, False]
    assert found.clouds[1].label == str(held)


def test_the_clock_may_know_times_that_are_left_out() -> None:
    """Those of the file, whose points --where leaves out; what is nowhere stays an error."""
    days, where = course(["d0", "d0", "d2", "d2", "d9", "d9"]), "day != 'd2'"
    given = ("d0=1", "d2=2", "d9=7")
    _, told = intake.snapshots(Recipe(time_key="day", where=where, time_map=given), [days])
    assert (told.labels, told.times) == (("d0", "d9"), (1.0, 7.0))
    recipe = Recipe(time_key="day", where=where, time_order=("d0", "d2", "d9"))
    assert intake.snapshots(recipe, [days])[1].times == (0.0, 2.0)
    for where in ("", "day != 'd2'"):
        recipe = Recipe(time_key="day", where=where, time_map=(*given, "d8=8"))
        with pytest.raises(ConfigError, match="'d8', which the data do not have"):
            intake.snapshots(recipe, [days])


def test_points_are_chosen_by_a_condition() -> None:
    """Of all files; the notes say how many are left, and lines of the file are not miscounted."""
    one = course([0, 0, 1, 1, 7])
    one = one.with_values(np.random.default_rng(0).normal(size=(5, 2)))
    one.obs["ok"] = [True, True, True, True, False]
    one = dataclasses.replace(one, columns=("day", "ok"))
    recipe = Recipe(time_key="day", where="day != 7 and ok")
    made = prepare.prepared(recipe, [one])
    assert [cloud.label for cloud in made.snapshots.clouds] == ["0", "1"]
    assert made.notes[-1] == '--where "day != 7 and ok" leaves 4 of 5 points'
    with pytest.raises(DataError, match=r"t\.csv: Time 7 in 'day' .* --where \"day != 7\""):
        prepare.prepared(Recipe(time_key="day"), [one])
    worded = course(["E1", "E1", "E2"])
    worded.obs.columns = ["day of birth"]
    with pytest.raises(DataError, match="--where '`day of birth` != \"E2\"'"):
        prepare.prepared(Recipe(time_key="day of birth"), [worded])
    worded.obs.columns = ["from"]
    with pytest.raises(DataError, match="--where '`from` != \"E2\"'"):
        prepare.prepared(Recipe(time_key="from"), [worded])
    assert satisfying(worded.obs, "`from` != 'E2'").tolist() == [0, 1]
    with pytest.raises(ConfigError, match=r"columns `from`, .* in backticks"):
        satisfying(worded.obs, "from != 'E2'")
    with pytest.raises(ConfigError, match="--where") as told:
        prepare.prepared(Recipe(time_key="day", where="dya > 1"), [one])
    assert "backticks" not in str(told.value)
    one.obs["cell type"] = list("abaaa")
    with pytest.raises(ConfigError, match=r"columns day, ok, `cell type`, .* in backticks"):
        prepare.prepared(Recipe(time_key="day", where="cell type == 'a'"), [one])
    one.obs["day"] = [0, 0, 1, 0, 1]
    found, _ = intake.snapshots(Recipe(time_key="day", where="`cell type` == 'a'"), [one])
    assert [len(cloud) for cloud in found.clouds] == [2, 2]


def test_a_gap_fulfils_no_condition() -> None:
    """Of numbers and of truth values, in the kinds of pandas that know gaps."""
    obs = pd.DataFrame(
        {
            "size": pd.array([3, pd.NA, 5], dtype="Int64"),
            "ok": pd.array([pd.NA, True, True], dtype="boolean"),
        }
    )
    assert satisfying(obs, "size > 2").tolist() == [0, 2]
    assert satisfying(obs, "ok").tolist() == [1, 2]
    assert satisfying(obs, "size < 9 and ok").tolist() == [2]


def test_files_share_times() -> None:
    """With a time key, points of one label come together from all files, weights and all."""
    one, other = course([0, 0, 1, 1]), course([1, 1, 2, 2])
    found, _ = intake.snapshots(Recipe(time_key="day"), [one, other])
    assert [len(c) for c in found.clouds] == [2, 4, 2]
    mixed = table(sparse.csr_matrix(other.values), {"day": [1, 1, 2, 2]})
    stacked, _ = intake.snapshots(Recipe(time_key="day"), [one, mixed])
    for a, b in zip(found.clouds, stacked.clouds, strict=True):
        np.testing.assert_array_equal(a.points, maps.dense(b.points))


def test_files_are_clouds_in_their_order() -> None:
    """0, 1, 2, ... or the times given; a Gaussian source stands before."""
    tables = [table(np.eye(2) + k, origin=f"{k}.csv") for k in range(3)]
    found, times = intake.snapshots(Recipe(), tables)
    assert found.timeline.times == (0.0, 1.0, 2.0)
    assert "order of the files" in str(times)
    found, _ = intake.snapshots(Recipe(times=(-1.0, 0.5, 7.0)), tables)
    assert found.timeline.labels == ("-1", "0.5", "7")
    found, _ = intake.snapshots(Recipe(source="gaussian"), tables[:1])
    assert found.timeline.times == (0.0, 1.0)


def test_features_are_aligned_by_name() -> None:
    """Another order of columns is the same points; one too few or too many is named."""
    first = table([[1, 2], [3, 4]])
    turned = table([[20, 10], [40, 30]], names="ba", origin="u.csv")
    _, second = intake.align([first, turned])
    np.testing.assert_array_equal(second.values, [[10, 20], [30, 40]])
    with pytest.raises(DataError, match=r"u\.csv lacks 1 of the 2 features of t\.csv: b"):
        intake.align([first, table([[1], [2]], names="a", origin="u.csv")])
    with pytest.raises(DataError, match=r"u\.csv has features that t\.csv has not: c"):
        intake.align([first, table([[1, 2, 3]] * 2, names="abc", origin="u.csv")])


def test_other_numbers_become_annotations() -> None:
    """What the model does not want travels along."""
    found = intake.adopt(table([[1, 2, 3], [4, 5, 6]], names="abc"), ("c", "a"), "the model")
    np.testing.assert_array_equal(found.values, [[3, 1], [6, 4]])
    assert found.obs["b"].tolist() == [2, 5]


def test_weights_are_normalised_within_a_time() -> None:
    """Positive, finite, and of sum one for each cloud."""
    points = course([0, 0, 1, 1])
    points.obs["mass"] = [1.0, 3.0, 5.0, 5.0]
    found, _ = intake.snapshots(Recipe(time_key="day", weight_key="mass"), [points])
    assert [c.weights.tolist() for c in found.clouds] == [[0.25, 0.75], [0.5, 0.5]]
    for wrong in ([1, 2, 0, 1], [1, -1, 1, 1], [1, np.nan, 1, 1], [1, np.inf, 1, 1], ["a"] * 4):
        points.obs["mass"] = wrong
        with pytest.raises(DataError, match="mass"):
            intake.snapshots(Recipe(time_key="day", weight_key="mass"), [points])


def test_the_transform_counts_points_by_their_weights() -> None:
    """Of a point of weight 3 and one of weight 1; each time as much as its number of points."""
    x = np.array([[0.0, 4.0], [1.0, 3.0], [2.0, 7.0], [3.0, 1.0]])
    points = table(x, {"day": [0, 0, 1, 1], "mass": [1.0, 3.0, 5.0, 5.0]})
    made = prepare.prepared(Recipe(time_key="day", weight_key="mass"), [points])
    mean = (x[0] / 4 + x[1] * 3 / 4 + (x[2] + x[3]) / 2) / 2
    np.testing.assert_allclose(made.chain.maps[0].arrays()["shift"][0], mean)


def remedy(error: Exception) -> str:
    """The condition that a message advises, as a shell hands it over."""
    told = str(error).partition("--where ")[2]
    assert not re.match('".*`', told), "a shell would run what stands in backticks"
    return shlex.split(told)[0].removesuffix(".")


def test_missing_times_and_keys_are_named() -> None:
    """With the point, or the nearest column."""
    with pytest.raises(DataError, match=r"point t\.csv-1 has no time"):
        intake.snapshots(Recipe(time_key="day"), [course([0, None, 1, 1])])
    for gaps in ((None, None), (np.nan, np.nan), ("", ""), ("", None)):
        points = course([0, 0, 1, 1])
        words = pd.Series([gaps[0], "a", gaps[1], "b"], points.obs.index, dtype=object)
        points.obs["cell type"] = words
        with pytest.raises(DataError, match=r"t\.csv-0 has no label .*2 such points") as refused:
            intake.snapshots(Recipe(time_key="day", label_key="cell type"), [points])
        recipe = Recipe(time_key="day", label_key="cell type", where=remedy(refused.value))
        with pytest.raises(DataError, match="1 point, expected at least 2"):
            intake.snapshots(recipe, [points])
    with pytest.raises(DataError, match="Did you mean 'day'"):
        intake.snapshots(Recipe(time_key="days"), [course([0, 0, 1, 1])])
    with pytest.raises(DataError, match="label"):
        intake.snapshots(Recipe(time_key="day", label_key="label"), [course([0, 0, 1, 1])])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"times": (0.0, 1.0)}, ConfigError, "--time-map"),
        ({"holdout": ("9",)}, ConfigError, "The data have 0, 1, 2"),
        ({"holdout": ("0",)}, ConfigError, "Hold out one of 1"),
        ({"time_map": ("0=0", "1=1")}, ConfigError, "no time for 2"),
        ({"source": "gaussian"}, ConfigError, "one cloud"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], error: type, message: str) -> None:
    """Options about time that do not suit the data."""
    with pytest.raises(error, match=message):
        intake.snapshots(Recipe(time_key="day", **settings), [course([0, 0, 1, 1, 2, 2])])


@pytest.mark.parametrize(
    ("name", "method", "remedy"),
    [
        ("time", "otcfm", "--time-key time, leave it out with --drop time"),
        ("trajectory", "otcfm", "leave it out with --drop trajectory"),
        ("id", "otcfm", "--drop id"),
        ("weight", "wfrfm", "--weight-key weight, leave it out with --drop weight"),
        ("growth_rate", "wfrfm", "--drop growth_rate"),
        ("weight", "otcfm", ""),
    ],
)
def test_features_leave_the_names_of_what_is_written(name: str, method: str, remedy: str) -> None:
    """Before anything is learnt; weights are written only where mass grows."""
    x = np.random.default_rng(0).normal(size=(6, 2))
    given = Table(x, ("a", name), table(x).obs, "0.csv")
    if not remedy:
        prepare.free_names(Recipe(method=method), given)
        return
    with pytest.raises(DataError, match=rf"0\.csv: '{name}' would be a feature.*{remedy}"):
        prepare.free_names(Recipe(method=method), given)


def test_a_time_is_held_out_by_label_or_number() -> None:
    """1.0 means the label 1; so does the clock time of d1."""
    for text in ("1", "1.0"):
        found, _ = intake.snapshots(
            Recipe(time_key="day", holdout=(text,)), [course([0, 0, 1, 1, 2, 2])]
        )
        assert [c.held_out for c in found.clouds] == [False, True, False]
    days = course(["d0", "d0", "d1", "d1", "d2", "d2"])
    found, _ = intake.snapshots(Recipe(time_key="day", holdout=("1",)), [days])
    assert [c.held_out for c in found.clouds] == [False, True, False]


def test_a_cloud_alone_needs_another_or_noise() -> None:
    """With the three ways out."""
    with pytest.raises(DataError, match=r"--time-key.*--source gaussian"):
        intake.snapshots(Recipe(), [table(np.eye(2))])


@pytest.mark.parametrize(
    ("away", "transform", "far"),
    [(1e6, "none", True), (1e6, "standardize", False), (1e2, "none", False)],
)
def test_points_that_single_precision_blurs_are_told(
    away: float, transform: str, far: bool
) -> None:
    """A cloud a million spreads from the origin, unless the transform brings it back."""
    x = np.random.default_rng(0).normal(away, 1, (40, 2))
    days = {"day": np.arange(40) % 2}
    how = Recipe(time_key="day", transform=transform)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        prepare.prepared(how, [table(x, days)])
    assert any("away from the origin" in str(one.message) for one in told) == far


def counted(d: int = 12) -> Table:
    """Raw counts of 40 cells at four days, sparse."""
    values = np.random.default_rng(0).poisson(4, size=(40, d)) * (np.arange(40) % 7 + 3)[:, None]
    names = [f"g{k}" for k in range(d)]
    sparse_values = sparse.csr_matrix(values.astype(np.float32))
    found = table(sparse_values, {"day": np.arange(40) // 10}, names="")
    return Table(found.values, tuple(names), found.obs, "counts.h5ad")


def test_raw_counts_are_told() -> None:
    """With advice where nothing takes their logarithm, and without where something does."""
    with pytest.warns(CfmWarning, match=r"raw counts .*--preprocess scanpy"):
        prepare.prepared(Recipe(time_key="day"), [counted()])
    done = prepare.prepared(Recipe(time_key="day", transform="log1p,pca:n=2"), [counted()])
    assert "raw counts" in done.notes[0]
    logged = table(np.log1p(maps.dense(counted().values)), {"day": np.arange(40) // 10}, names="")
    logged = Table(logged.values, counted().features, logged.obs)
    assert prepare.prepared(Recipe(time_key="day"), [logged]).notes == ()


def log_of(given: Table) -> Table:
    """The logarithm of points."""
    return given.with_values(np.log1p(maps.dense(given.values)))


@pytest.mark.parametrize(
    "how",
    [
        {"preprocess": "scanpy:genes=8,pcs=3"},
        {"transform": "normalize,standardize"},
        {"transform": "log1p"},
    ],
)
def test_points_that_were_logged_before_are_told(how: dict[str, Any]) -> None:
    """What was seen, and what to give instead."""
    recipe = Recipe(time_key="day", **how)
    with pytest.warns(CfmWarning, match=r"counts\.h5ad holds .*not whole, from 0 to .*raw counts"):
        prepare.prepared(recipe, [log_of(counted())])


def test_numbers_below_zero_are_no_counts() -> None:
    """The logarithm of one above -1 exists, and is as strange."""
    shifted = counted().with_values(maps.dense(counted().values) - 0.125)
    with pytest.warns(CfmWarning, match=r"from -0\.125 to .*--layer counts"):
        prepare.prepared(Recipe(time_key="day", transform="log1p"), [shifted])


def test_estimated_counts_are_a_note() -> None:
    """Normalising what is large and not whole is right, and said; so is taking its logarithm."""
    estimated = counted().with_values(maps.dense(counted().values) * 1.25)
    for transform, said in (("normalize,log1p", 1), ("log1p", 0)):
        done = prepare.prepared(Recipe(time_key="day", transform=transform), [estimated])
        assert sum("estimated counts" in note for note in done.notes) == said


def test_a_run_of_counts_is_not_given_logged_points() -> None:
    """Its transform would log them again; counts and normalised points pass."""
    chain = prepare.prepared(Recipe(time_key="day", transform="normalize,log1p"), [counted()]).chain
    given = maps.dense(counted().values)
    for right in (given, given * 1.25):
        assert not_logged(chain, counted().with_values(right)).values is right
    with pytest.warns(CfmWarning, match=r"logged or scaled .* prepares .* normalize,log1p itself"):
        not_logged(chain, log_of(counted()))


def test_points_are_judged_by_rows_from_all_over_their_file() -> None:
    """Sorted by day or type, the first may be of another scale than all others."""
    chain = prepare.prepared(Recipe(time_key="day", transform="normalize,log1p"), [counted()]).chain
    given = maps.dense(counted().values) * 1.25
    late, first = np.tile(given, (75, 1)), np.tile(given[:1] * 0, (1500, 1))
    logs = counted().with_values(np.concatenate([first, np.log1p(late)]))
    with pytest.warns(CfmWarning, match="logged or scaled"):
        not_logged(chain, logs)
    backed = not_logged_where_read(chain, Backed(logs.without_values(), logs.values.__getitem__))
    with pytest.warns(CfmWarning, match="logged or scaled"):
        assert len(backed.read(slice(0, 9))) == 9
    faint = logs.with_values(np.concatenate([first + 0.5, late]))
    assert not_logged(chain, faint) is faint
    not_logged_where_read(chain, Backed(logs.without_values(), faint.values.__getitem__)).read(
        slice(0, 9)
    )


def test_a_preparation_is_a_name_for_its_chain() -> None:
    """The same transform, stored as the chain with each option; --transform comes after it."""
    how = Recipe(time_key="day", preprocess="scanpy:genes=8,pcs=3,target=500")
    one = prepare.prepared(how, [counted()])
    spelled = "normalize:target=500,log1p,hvg:n=8,flavor=seurat,pca:n=3"
    other = prepare.prepared(Recipe(time_key="day", transform=spelled), [counted()])
    assert one.recipe == other.recipe
    assert one.recipe.transform == spelled
    for a, b in zip(one.snapshots.clouds, other.snapshots.clouds, strict=True):
        np.testing.assert_array_equal(a.points, b.points)
    more = prepare.prepared(dataclasses.replace(how, transform="standardize"), [counted()])
    assert more.chain.kinds == ("normalize", "log1p", "hvg", "pca", "standardize")
    assert more.recipe.resolved() == more.recipe


def test_a_held_out_time_takes_no_part_in_the_preparation() -> None:
    """Whatever its counts, genes, components and median are those of the other times."""
    given = counted()
    strange = maps.dense(given.values)
    strange[10:20] = np.random.default_rng(1).poisson(50, size=(10, 12)) ** 2
    odd = Table(sparse.csr_matrix(strange), given.features, given.obs, "odd.h5ad")
    how = Recipe(time_key="day", holdout=("1",), preprocess="scanpy:genes=8,pcs=3,target=0")
    one, other = (prepare.prepared(how, [t]).chain.arrays() for t in (given, odd))
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


def test_a_preparation_replaces_the_transform_of_an_earlier_layer() -> None:
    """As a method replaces the parts of a stored recipe; in one layer both count."""
    stored = {"transform": "log1p,pca:n=2", "preprocess": ""}
    assert from_layers(stored).chain() == "log1p,pca:n=2"
    assert from_layers({}).chain() == "standardize"
    assert from_layers(stored, {"preprocess": "scanpy"}).chain().endswith("pca:n=50")
    both = from_layers({"preprocess": "scanpy", "transform": "standardize"})
    assert both.chain().endswith("pca:n=50,standardize")
