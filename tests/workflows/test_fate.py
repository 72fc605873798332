from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier

from cfmcli import metrics
from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.flows.streams import Streams
from cfmcli.requests import FateRequest, Integration, Outcome, Runtime, Vote
from cfmcli.workflows import fate, targets
from tests.conftest import Fit

ARM = Vote("arm")
WHERE = Runtime(device="cpu", threads=1)


def ignore(progress: Any) -> None:
    """Hear nothing."""


def tell(run: Path, data: Path, out: Path, vote: Vote = ARM, **more: Any) -> Outcome:
    """Write fates, each point on its own unless asked otherwise."""
    chosen: dict[str, Any] = {"spread": 1} | more
    request = FateRequest(str(run), str(data), str(out), vote, **chosen)
    return fate.fate(request, WHERE, ignore)


def shares(path: Path) -> Array:
    """The probabilities of a table of fates."""
    return pd.read_csv(path).filter(like="p_").to_numpy()


def cloud(seed: int, n: int = 120) -> pd.DataFrame:
    """Points of two overlapping arms, up and down, with the ends missing their label."""
    rng = np.random.default_rng(seed)
    up = rng.random(n) < 0.4
    frame = pd.DataFrame({"x": rng.normal(0, 1, n), "y": rng.normal(np.where(up, 1, -1), 1)})
    return frame.assign(cell=[f"c{k}" for k in range(n)], arm=np.where(up, "up", "down"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, fit_run: Fit) -> Path:
    """A flow that is the identity, and one that splits a line in two arms; their points."""
    folder = tmp_path_factory.mktemp("fates")
    cloud(0).to_csv(folder / "still.csv", index=False)
    cloud(1, 30).to_csv(folder / "new.csv", index=False)
    fit_run(folder / "still", folder / "still.csv", folder / "still.csv", method="static-ot")
    rng = np.random.default_rng(2)
    y = rng.permutation(np.r_[rng.uniform(-1, -0.2, 180), rng.uniform(0.2, 1, 120)])
    start = pd.DataFrame({"x": rng.normal(0, 0.1, 300), "y": y})
    end = pd.DataFrame({"x": rng.normal(3, 0.1, 300), "y": rng.normal(0, 0.2, 300)})
    end["y"] += np.repeat([-2, 2], (180, 120))
    end["arm"] = np.repeat(["down", "up"], (180, 120))
    start["fate"] = np.where(y > 0, "up", "down")
    for name, frame in (("start", start), ("end", end)):
        frame.to_csv(folder / f"{name}.csv", index=False)
    fit_run(folder / "split", folder / "start.csv", folder / "end.csv", steps=300)
    return folder


# What the flow that stands still must give


@pytest.mark.parametrize("k", [1, 9, 120])
def test_without_motion_fates_are_plain_votes(k: int, desk: Path, tmp_path: Path) -> None:
    """scikit-learn's, in standardised coordinates; all voters give the frequencies."""
    tell(desk / "still", desk / "new.csv", tmp_path / "f.csv", Vote("arm", "", k))
    known, new = (pd.read_csv(desk / name) for name in ("still.csv", "new.csv"))
    scale = known[["x", "y"]].std(ddof=0)
    rival = KNeighborsClassifier(k).fit(known[["x", "y"]] / scale, known["arm"])
    np.testing.assert_allclose(
        shares(tmp_path / "f.csv"), rival.predict_proba(new[["x", "y"]] / scale)
    )
    if k == 120:
        frequencies = known["arm"].value_counts(normalize=True).sort_index()
        np.testing.assert_allclose(shares(tmp_path / "f.csv"), np.tile(frequencies, (30, 1)))


def test_a_spread_is_the_mean_over_observed_neighbours(desk: Path, tmp_path: Path) -> None:
    """Brute force, in the coordinates of the flow."""
    tell(desk / "still", desk / "still.csv", tmp_path / "own.csv", Vote("arm", "", 5))
    tell(desk / "still", desk / "new.csv", tmp_path / "f.csv", Vote("arm", "", 5), spread=7)
    known, new = (pd.read_csv(desk / name)[["x", "y"]] for name in ("still.csv", "new.csv"))
    scale = known.std(ddof=0).to_numpy()
    apart = (new.to_numpy()[:, None] - known.to_numpy()[None]) / scale
    near = np.argsort((apart**2).sum(axis=2), axis=1)[:, :7]
    np.testing.assert_allclose(
        shares(tmp_path / "f.csv"), shares(tmp_path / "own.csv")[near].mean(axis=1)
    )


def test_weights_count_in_a_spread(desk: Path, fit_run: Fit, tmp_path: Path) -> None:
    """A point that stands for many counts as its copies do."""
    frame = pd.read_csv(desk / "still.csv").assign(w=np.where(np.arange(120) % 4, 1.0, 5.0))
    frame.to_csv(tmp_path / "w.csv", index=False)
    data = tmp_path / "w.csv"
    fit_run(tmp_path / "run", data, data, method="static-ot", weight_key="w")
    tell(tmp_path / "run", data, tmp_path / "own.csv", Vote("arm", "", 5))
    tell(tmp_path / "run", desk / "new.csv", tmp_path / "f.csv", Vote("arm", "", 5), spread=120)
    told = tell(tmp_path / "run", data, tmp_path / "new.csv", Vote("arm", "", 5), spread=1)
    mean = np.average(shares(tmp_path / "new.csv"), axis=0, weights=frame["w"])
    assert list(told.figures["classes"].values()) == pytest.approx(mean)
    expected = np.average(shares(tmp_path / "own.csv"), axis=0, weights=frame["w"])
    np.testing.assert_allclose(shares(tmp_path / "f.csv"), np.tile(expected, (30, 1)))


def test_certain_fates_are_exactly_one_and_zero(desk: Path, fit_run: Fit, tmp_path: Path) -> None:
    """Also where they are means over points whose weights do not add up to one bit by bit."""
    x = np.r_[np.linspace(-9, -8, 60), np.linspace(8, 9, 60)]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": x, "arm": np.repeat(["a", "b"], 60), "w": rng.uniform(0.1, 1, 120)})
    frame.to_csv(tmp_path / "w.csv", index=False)
    data = tmp_path / "w.csv"
    fit_run(tmp_path / "run", data, data, method="static-ot", weight_key="w")
    tell(tmp_path / "run", data, tmp_path / "f.csv", Vote("arm", "", 3), spread=50)
    assert np.unique(shares(tmp_path / "f.csv")).tolist() == [0, 1]
    assert set(pd.read_csv(tmp_path / "f.csv", dtype=str)["entropy"]) == {"0.0"}


# What any flow must give


def test_rows_stand_for_themselves(desk: Path, tmp_path: Path) -> None:
    """Probabilities; other rows and their order change nothing, and ids and notes travel along."""
    frame = pd.read_csv(desk / "start.csv")
    frame.iloc[::-3].to_csv(tmp_path / "some.csv", index=False)
    outcome = tell(desk / "split", desk / "start.csv", tmp_path / "all.csv", spread=0)
    tell(desk / "split", tmp_path / "some.csv", tmp_path / "f.csv", spread=0)
    whole, part = (pd.read_csv(tmp_path / name) for name in ("all.csv", "f.csv"))
    assert list(whole.columns) == ["id", "fate", "p_down", "p_up", "entropy"]
    np.testing.assert_allclose(whole[["p_down", "p_up"]].sum(axis=1), 1)
    assert whole["entropy"].between(0, np.log(2)).all()
    np.testing.assert_allclose(whole["entropy"], metrics.entropy(shares(tmp_path / "all.csv")))
    np.testing.assert_allclose(part["p_up"], whole["p_up"].iloc[::-3], atol=1e-6)
    assert part["fate"].tolist() == whole["fate"].iloc[::-3].tolist()
    assert outcome.figures["classes"]["up"] == pytest.approx(whole["p_up"].mean())
    assert outcome.figures["mean_entropy"] == pytest.approx(whole["entropy"].mean())


def test_names_of_classes_are_only_names(desk: Path, tmp_path: Path) -> None:
    """Other names in another order give the same numbers in other columns."""
    end = pd.read_csv(desk / "end.csv")
    end["arm"] = end["arm"].map({"up": "A", "down": "Z"})
    end.to_csv(tmp_path / "end.csv", index=False)
    vote = Vote("arm", str(tmp_path / "end.csv"))
    tell(desk / "split", desk / "start.csv", tmp_path / "a.csv", vote)
    tell(desk / "split", desk / "start.csv", tmp_path / "b.csv", Vote("arm", str(desk / "end.csv")))
    np.testing.assert_allclose(shares(tmp_path / "a.csv")[:, ::-1], shares(tmp_path / "b.csv"))


def test_known_fates_are_told(desk: Path, tmp_path: Path) -> None:
    """A line that splits in two: nearly all fates are right, and as sure as they should be."""
    outcome = tell(desk / "split", desk / "start.csv", tmp_path / "f.csv", truth="fate", spread=5)
    truth = outcome.figures["truth"]
    assert truth["accuracy"] > 0.97
    assert truth["calibration_error"] < 0.03
    assert truth["brier"] < 0.1 * truth["brier_of_frequencies"]
    frame = pd.read_csv(tmp_path / "f.csv")
    true = pd.get_dummies(frame["fate"])[["down", "up"]].to_numpy(dtype=float)
    assert truth["brier"] == pytest.approx(metrics.brier(shares(tmp_path / "f.csv"), true))


def brute_votes(x: Array, up: Any, k: int, heavy: Array) -> Array:
    """The shares of down and up among the k nearest others of each point, by weight."""
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1)[:, :k]
    p = (heavy * up)[near].sum(axis=1) / heavy[near].sum(axis=1)
    return np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize("weighed", [False, True])
def test_no_point_scores_the_voters_that_it_chose(
    weighed: bool, desk: Path, fit_run: Fit, tmp_path: Path
) -> None:
    """Brute force: each half is scored with the voters that the other half chose, by weight."""
    frame = pd.read_csv(desk / "still.csv").assign(w=np.where(np.arange(120) % 3, 1.0, 6.0))
    frame.to_csv(tmp_path / "w.csv", index=False)
    run, data = tmp_path / "run", tmp_path / "w.csv"
    how = {"weight_key" if weighed else "drop": "w"}
    fit_run(run, data, data, method="static-ot", **how)
    found = tell(run, desk / "new.csv", tmp_path / "f.csv")
    heavy = frame["w"].to_numpy() if weighed else np.ones(120)
    xy = frame[["x", "y"]].to_numpy()
    scale = np.sqrt(np.average((xy - np.average(xy, axis=0, weights=heavy)) ** 2, 0, heavy))
    up = (frame["arm"] == "up").to_numpy(dtype=float)
    true = np.stack([1 - up, up], axis=1)
    told = {k: brute_votes(xy / scale, up, k, heavy) for k in targets.SIZES if k < 120}
    error = {k: ((p - true) ** 2).sum(axis=1) for k, p in told.items()}
    rows = Streams(0).numpy("held out").permutation(120)
    halves = np.empty(120, dtype=int)
    halves[np.sort(rows)] = Streams(0).numpy("halves").permutation(120) % 2
    own = np.empty(120)
    for half in (0, 1):
        rest = halves != half
        best = min(error, key=lambda k: np.average(error[k][rest], weights=heavy[rest]))
        own[~rest] = error[best][~rest]
    expected = np.average(own, weights=heavy)
    assert found.figures["calibration"]["brier"] == pytest.approx(expected)
    best = min(error, key=lambda k: np.average(error[k], weights=heavy))
    assert found.figures["neighbours"] == best
    assert expected >= np.average(error[best], weights=heavy) - 1e-12


def test_points_at_the_end_have_no_vote_of_their_own(desk: Path, tmp_path: Path) -> None:
    """Their fates are what the other labelled points say of their place."""
    frame = pd.read_csv(desk / "still.csv")
    tell(desk / "still", desk / "still.csv", tmp_path / "f.csv", Vote("arm", "", 5), start="1")
    xy = (frame[["x", "y"]] / frame[["x", "y"]].std(ddof=0)).to_numpy()
    expected = brute_votes(xy, (frame["arm"] == "up").to_numpy(dtype=float), 5, np.ones(120))
    np.testing.assert_allclose(shares(tmp_path / "f.csv"), expected)


def test_points_are_not_taken_as_noise(desk: Path, fit_run: Fit, tmp_path: Path) -> None:
    """A run from a Gaussian wants to hear what the points are."""
    run, data = tmp_path / "run", desk / "end.csv"
    fit_run(run, data, source="gaussian", method="fm", steps=5)
    with pytest.raises(ConfigError, match=r"starts from noise at 0, .* --from 0 .* --from 1"):
        tell(run, data, tmp_path / "f.csv")
    for start in ("0", "1"):
        found = tell(run, data, tmp_path / f"{start}.csv", start=start)
        assert found.figures["from"] == [float(start)]


def test_calibration_is_that_of_labels_left_out(desk: Path, tmp_path: Path) -> None:
    """The number of voters that tells them best is taken, and their score told."""
    told = {}
    for k in (0, 1, 5, 21, 55, 89):
        found = tell(desk / "still", desk / "new.csv", tmp_path / f"{k}.csv", Vote("arm", "", k))
        told[k] = found.figures["calibration"]["brier"]
    assert told[1] > told[0]
    known = pd.read_csv(desk / "still.csv")
    x, y = (known[["x", "y"]] / known[["x", "y"]].std(ddof=0)).to_numpy(), known["arm"] == "up"
    wrong = 0.0
    for k in range(len(x)):
        rest = np.arange(len(x)) != k
        p = KNeighborsClassifier(5).fit(x[rest], y[rest]).predict_proba(x[[k]])[0]
        wrong += ((p - [not y[k], y[k]]) ** 2).sum() / len(x)
    assert told[5] == pytest.approx(wrong)


def test_columns_that_look_like_fates_are_none(desk: Path, tmp_path: Path) -> None:
    """Classes may begin with p_; other such columns are no fates, and what is replaced is said."""
    names = {"up": "p_x", "down": "x"}
    end = pd.read_csv(desk / "end.csv")
    end.assign(arm=end["arm"].map(names)).to_csv(tmp_path / "e.csv", index=False)
    start = pd.read_csv(desk / "start.csv").assign(p_value=0.3)
    start.to_csv(tmp_path / "s.csv", index=False)
    vote = Vote("arm", str(tmp_path / "e.csv"))
    tell(desk / "split", tmp_path / "s.csv", tmp_path / "f.csv", vote)
    told = pd.read_csv(tmp_path / "f.csv").set_index("id")
    classes, p = fate.read(str(tmp_path / "f.csv"), pd.Index(["7", "2"]))
    assert classes == ("p_x", "x")
    np.testing.assert_array_equal(p, told.loc[[7, 2], ["p_p_x", "p_x"]])
    start.assign(p_x=7).to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(CfmWarning, match="'p_x' of the points is replaced"):
        tell(desk / "split", tmp_path / "t.csv", tmp_path / "g.csv", vote)
    told[["p_p_x"]].to_csv(tmp_path / "h.csv")
    with pytest.raises(DataError, match="no columns of fates that sum to 1"):
        fate.read(str(tmp_path / "h.csv"), told.index)


def test_points_start_at_their_own_times(cells_run: Path, samples: Path, tmp_path: Path) -> None:
    """Each is carried from its day; with --from all from that one; h5ad gets keys of its own."""
    data, vote = samples / "timecourse.h5ad", Vote("branch")
    outcome = tell(cells_run, data, tmp_path / "f.h5ad", vote)
    assert outcome.figures["from"] == [0, 1, 2.5, 5]
    found = ad.read_h5ad(tmp_path / "f.h5ad")
    p, names = found.obsm["cfm_fate_probs"], list(found.uns["cfm_fate_names"])
    assert names == ["arm_a", "arm_b", "progenitor"]
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(found.obs["cfm_fate_entropy"], metrics.entropy(p))
    assert found.obs["cfm_fate"].tolist() == [names[k] for k in p.argmax(axis=1)]
    for day in (0.0, 2.5):
        own = found[found.obs["day"] == day]
        own.copy().write_h5ad(tmp_path / "day.h5ad")
        tell(cells_run, tmp_path / "day.h5ad", tmp_path / f"{day}.csv", vote, start=str(day))
        np.testing.assert_allclose(
            shares(tmp_path / f"{day}.csv"), own.obsm["cfm_fate_probs"], atol=1e-6
        )


def test_random_paths_are_averaged(noisy: Path, desk: Path, tmp_path: Path) -> None:
    """Equal seeds give equal bytes; p is a mean of votes; more draws vary less."""
    one = {"integration": Integration("euler-maruyama:steps=8", sde="0.3")}
    for name, draws in (("a", 4), ("b", 4), ("c", 200), ("d", 201)):
        tell(
            noisy,
            desk / "start.csv",
            tmp_path / f"{name}.csv",
            Vote("arm", "", 1),
            draws=draws,
            **one,
        )
    first = (tmp_path / "a.csv").read_bytes()
    assert first == (tmp_path / "b.csv").read_bytes()
    quarters = 4 * shares(tmp_path / "a.csv")
    np.testing.assert_allclose(quarters, quarters.round())
    assert 0 < (quarters % 4 > 0).mean() < 1
    few, many, other = (shares(tmp_path / f"{name}.csv") for name in "acd")
    assert np.abs(many - other).mean() < np.abs(many - few).mean() / 2


@pytest.fixture(scope="module")
def noisy(desk: Path, fit_run: Fit) -> Path:
    """The split with a score."""
    run = desk / "noisy"
    fit_run(run, desk / "start.csv", desk / "end.csv", method="sf2m", steps=100)
    return run


def test_changes_shift_fates(desk: Path, tmp_path: Path) -> None:
    """Points set to the top go up, and the figures say by how much; as they are, nothing shifts."""
    before = tell(desk / "split", desk / "start.csv", tmp_path / "a.csv")
    after = tell(desk / "split", desk / "start.csv", tmp_path / "b.csv", changes=("y=0.9",))
    kept = tell(desk / "split", desk / "start.csv", tmp_path / "c.csv", changes=("y=+0",))
    change = after.figures["classes"]["up"] - before.figures["classes"]["up"]
    assert after.figures["classes"]["up"] > 0.97
    assert after.figures["shift"] == pytest.approx({"up": change, "down": -change})
    assert kept.figures["shift"] == {"up": 0, "down": 0}


# What is refused


def test_points_without_a_label_do_not_vote(desk: Path, tmp_path: Path) -> None:
    """It is said, and they count as if they were not there."""
    end = pd.read_csv(desk / "end.csv")
    end.loc[::2, "arm"] = None
    for name, frame in (("gaps", end), ("rest", end.dropna())):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.warns(CfmWarning, match="150 of 300 points have no 'arm'"):
        tell(
            desk / "split",
            desk / "start.csv",
            tmp_path / "a.csv",
            Vote("arm", f"{tmp_path}/gaps.csv"),
        )
    tell(
        desk / "split", desk / "start.csv", tmp_path / "b.csv", Vote("arm", f"{tmp_path}/rest.csv")
    )
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    ("arm", "error"), [(None, "none of 300 points has"), ("up", "all labelled points are 'up'")]
)
def test_fates_need_two_classes(arm: str | None, error: str, desk: Path, tmp_path: Path) -> None:
    """No label, or one for all, tells nothing."""
    pd.read_csv(desk / "end.csv").assign(arm=arm, note="x").to_csv(tmp_path / "e.csv", index=False)
    with pytest.raises(DataError, match=error):
        tell(
            desk / "split", desk / "start.csv", tmp_path / "f.csv", Vote("arm", f"{tmp_path}/e.csv")
        )


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"vote": Vote("amr")}, DataError, "Did you mean 'arm'"),
    ({"vote": Vote("arm", "", 301)}, ConfigError, "only 300 points"),
    ({"end": "0.5"}, ConfigError, "stores no points"),
    ({"truth": "fats"}, DataError, "Did you mean 'fate'"),
    ({"draws": 3}, ConfigError, "--sde"),
    ({"integration": Integration(sde="0.1")}, ConfigError, "score"),
    ({"start": "0.5", "spread": 9}, ConfigError, "--spread 9"),
    ({"changes": ("z=1",)}, DataError, "no feature 'z'"),
]


@pytest.mark.parametrize(("more", "kind", "message"), BAD, ids=[row[2] for row in BAD])
def test_what_cannot_be_meant_is_refused(
    more: dict[str, Any], kind: type[Exception], message: str, desk: Path, tmp_path: Path
) -> None:
    """One message, and nothing is written."""
    with pytest.raises(kind, match=message):
        tell(desk / "split", desk / "start.csv", tmp_path / "f.csv", **more)
    assert not (tmp_path / "f.csv").exists()


def test_classes_that_nobody_reaches_are_no_truth(desk: Path, tmp_path: Path) -> None:
    """The truth must name classes among the labelled points."""
    frame = pd.read_csv(desk / "start.csv").assign(fate="left")
    frame.to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(DataError, match="'left'; expected classes among down, up"):
        tell(desk / "split", tmp_path / "s.csv", tmp_path / "f.csv", truth="fate")


def test_points_at_the_end_do_not_score_their_own_votes(
    cells_run: Path, samples: Path, tmp_path: Path
) -> None:
    """With them or without them the scores are the same; of them alone there are none."""
    cells = ad.read_h5ad(samples / "timecourse.h5ad")
    cells.obs["fate"] = cells.obs["branch"].astype(str).replace("progenitor", None)
    day = cells.obs["day"].to_numpy()
    told = {}
    for name, rows in {"all": day > 1, "early": day == 2.5, "late": day == 5}.items():
        cells[rows].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    with pytest.warns(CfmWarning, match="460 points are at the end already"):
        told["all"] = tell(
            cells_run, tmp_path / "all.h5ad", tmp_path / "f.csv", Vote("branch"), truth="fate"
        )
    told["early"] = tell(
        cells_run, tmp_path / "early.h5ad", tmp_path / "g.csv", Vote("branch"), truth="fate"
    )
    assert told["all"].figures["truth"] == told["early"].figures["truth"]
    with (
        pytest.warns(CfmWarning, match="460 points"),
        pytest.raises(DataError, match="--truth fate holds nothing"),
    ):
        tell(cells_run, tmp_path / "late.h5ad", tmp_path / "h.csv", Vote("branch"), truth="fate")


def test_voters_of_no_known_time_are_said(cells_run: Path, samples: Path, tmp_path: Path) -> None:
    """Where none of the labelled points is of the end, all of them vote, and that is told."""
    cells = ad.read_h5ad(samples / "timecourse.h5ad")
    cells.obs["day"] = [f"d{day:g}" for day in cells.obs["day"]]
    cells.write_h5ad(tmp_path / "named.h5ad")
    vote = Vote("branch", str(tmp_path / "named.h5ad"))
    with pytest.warns(CfmWarning, match="no point has the time 5 in 'day'; all 1500 points"):
        tell(cells_run, tmp_path / "named.h5ad", tmp_path / "f.csv", vote, start="0")


def test_times_that_the_run_does_not_know(cells_run: Path, samples: Path, tmp_path: Path) -> None:
    """A point of another day has no start of its own."""
    cells = ad.read_h5ad(samples / "timecourse.h5ad")[:3].copy()
    cells.obs["day"] = [0, 1, 7]
    cells.write_h5ad(tmp_path / "c.h5ad")
    with pytest.raises(DataError, match=r"'day' holds 7 .* --from"):
        tell(cells_run, tmp_path / "c.h5ad", tmp_path / "f.csv", Vote("branch"))


def test_conditional_runs_have_no_spread(fit_run: Fit, desk: Path, tmp_path: Path) -> None:
    """Neighbours under another condition say nothing; by default each point is alone."""
    still = pd.read_csv(desk / "still.csv").assign(kind=["p", "q"] * 60)
    still.to_csv(tmp_path / "k.csv", index=False)
    data = tmp_path / "k.csv"
    fit_run(tmp_path / "run", data, data, label_key="kind")
    outcome = tell(tmp_path / "run", data, tmp_path / "f.csv", spread=0)
    assert outcome.figures["spread"] == {"0": 1}
    assert "conditional" in outcome.notes[0]
    assert tell(desk / "still", desk / "new.csv", tmp_path / "n.csv", spread=0).notes == ()
    with pytest.raises(ConfigError, match="is conditional"):
        tell(tmp_path / "run", data, tmp_path / "g.csv", spread=2)
