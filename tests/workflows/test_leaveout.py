"""Laws of `cfm evaluate DATA`: its scores are those of fits that hold a time out, and of clouds."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ot
import pandas as pd
import pytest

import cfmcli
from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud
from cfmcli.errors import CfmWarning, ConfigError, DataError, OutputExistsError
from cfmcli.flows.streams import Streams
from cfmcli.layers import from_layers
from cfmcli.requests import Integration, LeaveOutRequest, Outcome, Progress, Runtime
from cfmcli.workflows import fit, score
from cfmcli.workflows.leaveout import leave_out
from cfmcli.workflows.measures import DISTANCES
from tests.conftest import TINY, Fit

TIMES = (0.0, 1.0, 2.0, 4.0)
SIZES = (40, 35, 40, 35)
"""As many before a time as after it, so that the pairs of a plan are as many too."""
XY = ["x", "y"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four snapshots of two kinds of points, on their way."""
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(rng.normal([t, t * t / 4], 0.5, (n, 2)), columns=XY).assign(
            day=t, kind=np.where(np.arange(n) % 3, "a", "b")
        )
        for t, n in zip(TIMES, SIZES, strict=True)
    ]
    path = tmp_path_factory.mktemp("course") / "days.csv"
    pd.concat(frames).to_csv(path, index=False)
    return path


def do(
    *inputs: Path,
    methods: tuple[str, ...] = ("otcfm",),
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    force: bool = False,
    listen: Callable[[Progress], None] = fit.ignore,
    **more: Any,
) -> Outcome:
    """Score methods on a course."""
    plain = {"inputs": tuple(map(str, inputs)), "time_key": "day", "seed": seed}
    how = [from_layers(TINY, plain | (settings or {}) | {"method": m}) for m in methods]
    where = Runtime(device="cpu", threads=1, seed=seed, force=force)
    return leave_out(how, LeaveOutRequest(**more), where, listen)


def values(outcome: Outcome, **wanted: Any) -> dict[tuple[float, str], float]:
    """(time, metric) -> value of the rows with some values; of all points where no label is."""
    wanted = {"label": "", **wanted}
    rows = [r for r in outcome.figures["scores"] if all(r[k] == v for k, v in wanted.items())]
    found = {(row["time"], row["metric"]): row["value"] for row in rows}
    assert len(found) == len(rows)
    return found


def clouds(path: Path, kept: tuple[float, ...] = TIMES) -> dict[float, Array]:
    """The snapshots, standardised by those that are kept."""
    frame = pd.read_csv(path)
    own = frame[frame["day"].isin(kept)][XY].to_numpy()
    center, scale = own.mean(axis=0), own.std(axis=0)
    day = frame["day"].to_numpy()
    return {t: (frame.loc[day == t, XY].to_numpy() - center) / scale for t in TIMES}


def brute_w1(x: Array, y: Array, a: Array | None = None) -> float:
    """The exact optimum of the transport problem, by POT on every pair."""
    cost = np.linalg.norm(x[:, None] - y[None], axis=2)
    mass = np.full(len(x), 1 / len(x)) if a is None else a
    return float(ot.emd2(mass, np.full(len(y), 1 / len(y)), cost))


def middle(x: Array, y: Array, share: float) -> tuple[Array, Array]:
    """Every pair of the exact plan at a share of its way, with its mass."""
    cost = ((x[:, None] - y[None]) ** 2).sum(axis=2)
    plan = ot.emd(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), cost)
    i, j = np.nonzero(plan)
    return (1 - share) * x[i] + share * y[j], plan[i, j]


@pytest.fixture(scope="module")
def scored(data: Path) -> Outcome:
    """The scores of two methods."""
    return do(data, methods=("otcfm", "static-ot"), by="kind")


@pytest.mark.parametrize(("time", "before", "after", "share"), [(1, 0, 2, 0.5), (2, 1, 4, 1 / 3)])
def test_references_are_brute_force(
    scored: Outcome, data: Path, time: float, before: float, after: float, share: float
) -> None:
    x = clouds(data)
    placed, mass = middle(x[before], x[after], share)
    expected = {
        "previous": brute_w1(x[before], x[time]),
        "next": brute_w1(x[after], x[time]),
        "static_ot": brute_w1(placed, x[time], mass),
    }
    found = {name: values(scored, method=name)[time, "w1"] for name in expected}
    assert found == pytest.approx(expected, rel=1e-5)
    draws = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        i, j = rng.integers(len(x[before]), size=(2, len(x[before])))
        draws.append(brute_w1((1 - share) * x[before][i] + share * x[after][j], x[time]))
    random = values(scored, method="random_pairs")[time, "w1"]
    assert abs(random - np.mean(draws)) < 5 * np.std(draws)
    halves = []
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(len(x[time]))
        half = len(order) // 2
        halves.append(brute_w1(x[time][order[:half]], x[time][order[half : 2 * half]]))
    floor = values(scored, method="floor")[time, "w1"]
    assert abs(floor - np.mean(halves)) < 5 * np.std(halves) / np.sqrt(3)


def test_the_method_static_ot_is_the_reference_static_ot(scored: Outcome) -> None:
    """In every metric and for every label."""
    for label in ("", "a", "b"):
        one = values(scored, method="static-ot", kind="model", label=label)
        other = values(scored, method="static_ot", kind="reference", label=label)
        assert set(one) == set(other)
        assert {metric for _, metric in one} == set(DISTANCES)
        assert one == pytest.approx(other, rel=1e-5)


def test_strict_scores_are_those_of_a_fit_that_holds_the_time_out(
    data: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Same recipe, same seed, same transform: the figures of metrics.json."""
    found = do(data, strict=True)
    for time in ("1", "2"):
        run = fit_run(tmp_path / time, data, time_key="day", drop="kind", holdout=(time,))
        (held,) = run.figures["holdout"]
        for name in ("w1", "w2"):
            model = values(found, method="otcfm")[float(time), name]
            assert model == pytest.approx(held[f"model_{name}"], rel=1e-4)
            static = values(found, method="static_ot")[float(time), name]
            assert static == pytest.approx(held[f"static_ot_{name}"], rel=1e-5)
    x = clouds(data, (0.0, 2.0, 4.0))
    assert values(found, method="previous")[1.0, "w1"] == pytest.approx(
        brute_w1(x[0], x[1]), rel=1e-5
    )
    assert found.figures["scores"] != do(data).figures["scores"]


def test_labels_are_scored_apart(scored: Outcome, data: Path) -> None:
    """The points of a label before, against those of the same label when they were left out."""
    frame, x = pd.read_csv(data), clouds(data)
    kinds = {t: f["kind"].to_numpy() for t, f in frame.groupby("day")}
    for label in ("a", "b"):
        expected = brute_w1(x[1.0][kinds[1.0] == label], x[2.0][kinds[2.0] == label])
        found = values(scored, method="previous", label=label)[2.0, "w1"]
        assert found == pytest.approx(expected, rel=1e-5)
    lines = scored.figures["table"]
    assert {line["label"] for line in lines} == {"", "a", "b"}


def test_points_without_a_label_are_no_class(data: Path, tmp_path: Path) -> None:
    """They count among all points, and nowhere else."""
    frame = pd.read_csv(data)
    frame.loc[frame["kind"] == "b", "kind"] = None
    frame.to_csv(tmp_path / "some.csv", index=False)
    found = do(tmp_path / "some.csv", methods=("static-ot",), by="kind")
    assert {row["label"] for row in found.figures["scores"]} == {"", "a"}
    whole = values(do(data, methods=("static-ot",)), method="previous")
    assert values(found, method="previous") == pytest.approx(whole)


def test_labels_of_too_few_points_are_said_and_left_empty(data: Path, tmp_path: Path) -> None:
    """One that begins late is predicted by nobody; of one with a single point there is no cloud."""
    frame = pd.read_csv(data)
    day, kind = frame["day"], frame["kind"].where(frame["day"] > 1, "a").to_numpy()
    kind[np.flatnonzero(day == 1)[0]] = "c"
    frame.assign(kind=kind).to_csv(tmp_path / "late.csv", index=False)
    out = tmp_path / "scores.csv"
    with pytest.warns(CfmWarning, match=r"--by kind: fewer than 2 points .* b at 2 \("):
        found = do(tmp_path / "late.csv", methods=("static-ot",), by="kind", output=str(out))
    rows = pd.DataFrame(found.figures["scores"])
    empty = rows[rows["value"].isna()]
    assert set(empty["metric"]) == set(DISTANCES)
    before = empty[(empty["label"] == "b") & (empty["method"] == "previous")]
    assert set(before["points"]) == {0}
    assert set(before["time"]) == {2.0}
    assert {"static_ot", "floor"} < set(empty.loc[empty["label"] == "c", "method"])
    assert rows.loc[rows["label"] != "c"].groupby(["time", "label"])["value"].count().min() > 0
    told = pd.read_csv(out)
    assert told["value"].isna().equals(rows["value"].isna())
    means = {(line["label"], line["method"]): line for line in found.figures["means"]}
    assert means["c", "static-ot"]["w1"] is None
    assert means["c", "static-ot"]["w1_over_static_ot"] is None
    assert means["a", "static-ot"]["w1_over_static_ot"] == pytest.approx(1, rel=1e-5)


def test_means_are_told_for_each_label(scored: Outcome) -> None:
    """The mean over the times of a label, as a share of static transport's for that label."""
    means = {(line["label"], line["method"]): line for line in scored.figures["means"]}
    for label in ("", "a", "b"):
        own, other = (
            np.mean([v for (_, m), v in values(scored, method=n, label=label).items() if m == "w1"])
            for n in ("otcfm", "static_ot")
        )
        assert means[label, "otcfm"]["w1"] == pytest.approx(own)
        assert means[label, "otcfm"]["w1_over_static_ot"] == pytest.approx(own / other)


def test_the_label_key_is_scored_apart(data: Path) -> None:
    """A conditional flow is scored by the column it is conditional on."""
    found = do(data, settings={"label_key": "kind", "holdout": ("1",)})
    assert {row["label"] for row in found.figures["scores"]} == {"", "a", "b"}


def test_seeds_follow_one_another_and_their_spread_is_told(data: Path) -> None:
    found = do(data, seeds=2, seed=3, methods=("otcfm", "static-ot"))
    one, other = (values(found, method="otcfm", seed=s) for s in (3, 4))
    assert set(one) == set(other)
    assert all(one[key] != other[key] for key in one)
    alone = values(do(data, seed=4), method="otcfm")
    drawn = {key for key in alone if key[1] == "sliced_w2"}  # their lines are of the first seed
    assert all(other[key] == pytest.approx(alone[key]) for key in set(alone) - drawn)
    lines = {line["method"]: line for line in found.figures["means"]}
    means = [np.mean([v[t, "w1"] for t in (1.0, 2.0)]) for v in (one, other)]
    assert lines["otcfm"]["w1"] == pytest.approx(np.mean(means))
    assert lines["otcfm"]["w1_sd"] == pytest.approx(np.std(means, ddof=1))
    assert lines["static-ot"]["w1_sd"] == 0
    assert lines["static_ot"]["w1_over_static_ot"] == 1
    share = lines["otcfm"]["w1"] / lines["static_ot"]["w1"]
    assert lines["otcfm"]["w1_over_static_ot"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("method", "label", "meet"), [("otcfm", "", False), ("auto", "", True), ("auto", "kind", False)]
)
def test_scores_are_those_of_cells_as_the_verb_carries_them(
    data: Path, method: str, label: str, meet: bool
) -> None:
    """A fit that holds the day out, its `transport` of all cells before, and W1 by brute force.

    Of the method auto they meet the cells after, carried back, a third of the way; of classes not.
    """
    plain = {"holdout": ("2",), "label_key": label}
    found = do(data, methods=(method,), settings=plain, strict=True)
    frame = pd.read_csv(data)
    how = TINY | plain | {"time_key": "day", "method": method, "features": "x,y"}
    model = cfmcli.fit(frame, **how, device="cpu", threads=1)
    there, back = (
        model.core.encode(model.transport(frame[frame["day"] == day], day, 2.0)[XY].to_numpy())
        for day in (1.0, 4.0)
    )
    x = middle(there, back, 1 / 3)[0] if meet else there
    y = model.core.encode(frame.loc[frame["day"] == 2, XY].to_numpy())
    assert values(found, kind="model")[2.0, "w1"] == pytest.approx(brute_w1(x, y), rel=1e-3)


def test_steps_may_be_chosen_for_each_fit(data: Path) -> None:
    """As near to what was observed as by many steps."""
    one, other = (
        do(data, settings={"holdout": ("2",)}, integration=Integration(solver))
        for solver in ("auto:tolerance=0.001", "rk4:steps=50")
    )
    assert one.figures["solver"] == "auto:tolerance=0.001"
    w1 = [values(found, kind="model")[2.0, "w1"] for found in (one, other)]
    assert w1[0] == pytest.approx(w1[1], rel=1e-2)


def test_a_bend_that_may_have_seen_the_time_is_said(data: Path) -> None:
    """A stored recipe holds the bend and blur that all times chose; a bend alone is the user's."""
    with pytest.warns(CfmWarning, match="it has seen those times: .* --method auto"):
        do(data, settings={"interpolant": "bent:bend=1,sigma=0.1", "holdout": ("2",)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        do(data, settings={"interpolant": "bent:bend=1", "holdout": ("2",)})


def test_times_that_are_held_out_are_those_left_out(data: Path) -> None:
    every = do(data)
    some = do(data, settings={"holdout": ("2",)})
    assert {row["time"] for row in every.figures["scores"]} == {1.0, 2.0}
    assert {row["time"] for row in some.figures["scores"]} == {2.0}
    assert values(some, method="otcfm").items() <= values(every, method="otcfm").items()


def test_points_are_subsampled_on_every_side(data: Path) -> None:
    found = do(data, max_points=20)
    assert found.figures["points"] == {"1": [20, 20, 20], "2": [20, 20, 20]}
    assert values(found, method="previous") != values(do(data), method="previous")
    assert values(found, method="previous") != values(
        do(data, max_points=20, seed=1), method="previous"
    )


def test_every_prediction_has_as_many_points(data: Path) -> None:
    """The pairs of a plan are as few as the points of the snapshot before."""
    methods = ("auto", "otcfm", "static-ot")
    found = do(data, methods=methods, max_points=20)
    counts = {row["method"]: row["points"] for row in found.figures["scores"]}
    assert counts.pop("floor") == 10
    assert set(counts.values()) == {20}
    every = do(data, methods=methods, settings={"holdout": ("1",)})
    counts = {row["method"]: row["points"] for row in every.figures["scores"]}
    assert counts.pop("floor") == SIZES[1] // 2
    assert set(counts.values()) == {SIZES[0]}


@pytest.mark.parametrize("after", [12, 31, 50])
def test_pairs_of_a_plan_are_thinned_by_their_sources(after: int) -> None:
    """Of n0 + n1 - 1 pairs n0 are compared, one of each source, and of a larger day n0 points."""
    rng = np.random.default_rng(after)
    one, other = rng.normal(size=(20, 2)), rng.normal(size=(after, 2)) + 3
    ends = [
        Cloud(x, np.full(len(x), 1 / len(x)), pd.DataFrame(index=range(len(x))), f"{t:g}", t)
        for x, t in ((one, 0.0), (other, 1.0))
    ]
    found = score.references(ends, 0.5, Streams(0), 100)
    assert {len(cloud) for cloud in found.values()} <= {after, 20}
    assert len(found["next"]) == min(after, 20)
    static = found["static_ot"]
    assert static.weights == pytest.approx(np.full(20, 1 / 20))
    assert sorted(static.obs.index) == list(range(20))
    pairs, _ = middle(one, other, 0.5)
    gaps = np.linalg.norm(static.points[:, None] - pairs[None], axis=2).min(axis=1)
    assert gaps == pytest.approx(np.zeros(20), abs=1e-9)


def test_subsamples_keep_the_law() -> None:
    """Drawn by weight: the mean over draws is the weighted mean, and a heavy point comes once."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(50, 2)), np.r_[np.full(49, 0.5 / 49), 0.5]
    cloud = Cloud(x, w, pd.DataFrame(index=range(50)), "1", 1.0, mass=3.0)
    drawn = [score.subsample(cloud, Streams(seed), 10) for seed in range(400)]
    assert {float(some.weights.max()) for some in drawn} == {0.5}
    assert {some.mass for some in drawn} == {3.0}
    means = np.stack([some.weights @ some.points for some in drawn])
    error = np.abs(means.mean(axis=0) - w @ x)
    assert (error < 4 * means.std(axis=0) / np.sqrt(400)).all()
    assert score.subsample(cloud, Streams(0), 50) is cloud


def test_chosen_steps_are_told_of_each_fit(data: Path) -> None:
    """As other commands tell them; of both ways where points come from both sides."""
    held, paced = {"holdout": ("1",)}, Integration("auto:tolerance=0.01")
    methods = ("otcfm", "auto", "static-ot")
    found = do(data, methods=methods, settings=held, integration=paced, max_points=20)
    one, both = found.figures["steps"]
    assert (one["time"], one["method"], one["seed"]) == (1.0, "otcfm", 0)
    assert re.fullmatch(r"(euler|midpoint|rk4):steps=\d+", one["steps"])
    assert 0 <= one["step_error"] <= 0.01
    assert both["method"] == "auto"
    assert set(both["steps"]) == {"forward", "backward"}
    plainly = do(data, settings=held, max_points=20)
    assert "steps" not in plainly.figures


def test_files_in_time_order_and_a_table_of_scores(data: Path, tmp_path: Path) -> None:
    """One file a time gives the scores of one file of all; the table holds them to the digit."""
    files = []
    for t, part in pd.read_csv(data).groupby("day"):
        files.append(tmp_path / f"{t}.csv")
        part[XY].to_csv(files[-1], index=False)
    out = tmp_path / "scores.csv"
    found = do(*files, settings={"time_key": "", "times": TIMES}, output=str(out))
    told = pd.read_csv(out, float_precision="round_trip", keep_default_na=False)
    keys = ["time", "label", "method", "kind", "seed", "metric"]
    assert list(told) == [*keys, "value", "points"]
    assert told.to_dict("records") == found.figures["scores"]
    same = values(do(data), method="static_ot")
    assert values(found, method="static_ot") == pytest.approx(same)


def test_what_cannot_be_meant_is_refused(data: Path, tmp_path: Path) -> None:
    rest = pd.read_csv(data)
    rest[rest["day"] < 2].to_csv(tmp_path / "two.csv", index=False)
    (tmp_path / "there.csv").write_text("")
    for error, words, how in (
        (DataError, "2 times", {"inputs": tmp_path / "two.csv"}),
        (DataError, "'kinds'", {"by": "kinds"}),
        (ConfigError, "--source", {"settings": {"source": "gaussian"}}),
        (ConfigError, "at least 2 points", {"max_points": 1}),
        (ConfigError, "1 seed", {"seeds": 0}),
        (ConfigError, "first or the last", {"settings": {"holdout": ("4",)}}),
        (ConfigError, "fields|field", {"settings": {"field": "mlpp"}}),
        (OutputExistsError, "there.csv", {"output": str(tmp_path / "there.csv")}),
    ):
        options: dict[str, Any] = dict(how)
        with pytest.raises(error, match=words):
            do(options.pop("inputs", data), **options)


def test_a_dry_run_says_how_many_fits(data: Path) -> None:
    found = do(data, methods=("otcfm", "icfm"), seeds=3, dry_run=True)
    assert found.notes == ("would fit 12 models",)
    assert "scores" not in found.figures


def test_every_fit_is_a_sign_of_life(data: Path) -> None:
    heard: list[Progress] = []
    do(data, methods=("otcfm", "icfm"), listen=heard.append)
    assert [p.done for p in heard if p.text.startswith(("otcfm", "icfm"))] == [1, 2, 3, 4]
    assert {p.total for p in heard} == {4}
