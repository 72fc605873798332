"""Laws of the choice of a bend: inner scores are those of clouds moved by hand, and they decide."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import CubicSpline

import cfmcli
from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import Cloud
from cfmcli.errors import CheckpointError
from cfmcli.flows.path.curves import Bent, Dense
from cfmcli.flows.streams import Streams
from cfmcli.stored import load
from cfmcli.workflows import bending
from cfmcli.workflows.bending import GRID, Inner, choice, leave_one_out, settles
from tests.conftest import TINY, Fit

SHAPE = 0.2 * np.random.default_rng(0).standard_normal((60, 2))
TIMES = np.arange(5.0)


def course(means: Array, times: Array = TIMES) -> list[Cloud]:
    """One shape at the means of some times."""
    obs, equal = pd.DataFrame(index=range(60)), np.full(60, 1 / 60)
    return [
        Cloud(SHAPE + mean, equal, obs, f"{t:g}", float(t))
        for mean, t in zip(means, times, strict=True)
    ]


def arc(times: Array) -> Array:
    """A sixteenth of a turn a unit of time."""
    return np.stack([np.cos(times * np.pi / 8), np.sin(times * np.pi / 8)], axis=-1) * 3


def test_inner_scores_are_those_of_shifted_clouds() -> None:
    """Clouds of one shape: the straight path's distance to the circle, and the spline's."""
    found = leave_one_out(course(arc(TIMES)), 2)
    rest = TIMES[[0, 1, 3, 4]]
    curve = CubicSpline(rest, arc(rest), bc_type="natural")(2.0)
    straight = arc(TIMES[[1, 3]]).mean(axis=0)
    for bend in (0.0, 0.5, 1.0):
        expected = np.linalg.norm(straight + bend * (curve - straight) - arc(TIMES[2]))
        assert found.w1[bend] == pytest.approx(expected, rel=1e-6)


def test_a_circle_bends_and_a_jump_does_not() -> None:
    """On the circle bends help; a jump, foreseen too early and overshot, leads them astray."""
    jump = np.stack([[0.0, 0.1, 5, 5.5, 6], np.zeros(5)], axis=1)
    bent, astray = (
        [leave_one_out(course(means), k) for k in (1, 2, 3)] for means in (arc(TIMES), jump)
    )
    assert choice(bent) >= 1
    assert choice(astray) < 1


def test_without_a_difference_the_prior_decides() -> None:
    """A course of constant velocity is met by every bend, and costs nothing."""
    steady = [leave_one_out(course(np.outer(TIMES, [1.0, 2.0])), k) for k in (1, 2, 3)]
    assert choice(steady) == 1
    assert all(value < 1e-6 for fold in steady for value in fold.w1.values())


def test_the_evidence_has_to_outweigh_the_prior() -> None:
    """Straight paths win where the whole bend is worse by more than the prior's e^0.36."""

    def told(loss: float) -> float:
        return choice([Inner("1", {bend: float(np.exp(loss * bend)) for bend in GRID})])

    assert told(0.0) == 1
    assert 0 < told(0.1) < 1
    assert told(1.0) == 0


@pytest.mark.parametrize(("stretch", "shift"), [(5.0, 0.0), (0.01, 3.0), (2.0, -40.0)])
def test_the_blur_scales_with_the_points(stretch: float, shift: float) -> None:
    clouds = course(arc(TIMES))
    other = [
        Cloud(stretch * np.asarray(c.points) + shift, c.weights, c.obs, c.label, c.time)
        for c in clouds
    ]
    plain, moved = (bending.blur(kept, Streams(0)) for kept in (clouds, other))
    assert moved == pytest.approx(stretch * plain)
    distance = [np.sort(np.linalg.norm(SHAPE - x, axis=1))[5] for x in SHAPE]
    assert plain == pytest.approx(0.3 * np.median(distance) / np.sqrt(2))


def test_weights_count_in_the_blur() -> None:
    """A point of weight 3 counts three times in the median and in the spread."""
    rng = np.random.default_rng(0)
    x, heavy = rng.standard_cauchy((40, 2)), rng.integers(1, 9, 40)
    cloud = Cloud(x, heavy / heavy.sum(), pd.DataFrame(index=range(40)), "0", 0.0)
    reached = [np.sort(np.linalg.norm(x - place, axis=1))[5] for place in x]
    median = 0.3 * np.median(np.repeat(reached, heavy)) / np.sqrt(2)
    spread = 0.1 * np.sqrt(np.repeat(x, heavy, axis=0).var(axis=0).mean())
    assert bending.blur([cloud], Streams(0)) == pytest.approx(min(median, spread))
    pinched = replace(cloud, points=np.vstack((1e-3 * x[:20], x[20:])))
    reached = [np.sort(np.linalg.norm(pinched.points - p, axis=1))[5] for p in pinched.points]
    light = replace(pinched, weights=np.repeat([0.9, 0.1], 20) / 20)
    assert bending.blur([light], Streams(0)) == pytest.approx(
        0.3 * np.quantile(np.repeat(reached, np.repeat([9, 1], 20)), 0.5) / np.sqrt(2)
    )


def test_the_blur_is_at_most_a_tenth_of_the_spread() -> None:
    few = [Cloud(10 * np.eye(6)[:, :5], np.full(6, 1 / 6), pd.DataFrame(index=range(6)), "0", 0.0)]
    spread = np.sqrt((10 * np.eye(6)[:, :5]).var(axis=0).mean())
    assert bending.blur(few, Streams(0)) == pytest.approx(0.1 * spread)


def test_three_snapshots_bend_by_what_is_expected(
    samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Two others make no bend, so that no inner score can tell: most of a whole one is taken."""
    days = [samples / f"day{d}.csv" for d in ("0", "1", "2.5")]
    fit_run(tmp_path / "r", *days, method="auto", times=(0, 1, 2.5))
    told = json.loads((tmp_path / "r" / "metrics.json").read_text())["bending"]
    assert (told["bend"], told["inner"]) == (0.75, [])


def test_a_fit_tells_and_stores_what_it_chose(samples: Path, tmp_path: Path, fit_run: Fit) -> None:
    """In its notes, its figures, its recipe and its path; the stored recipe fits alike."""
    days = [samples / f"day{d}.csv" for d in ("0", "1", "2.5", "5")]
    times: Any = {"times": (0, 1, 2.5, 5)}
    outcome = fit_run(tmp_path / "r", *days, method="auto", **times)
    told = json.loads((tmp_path / "r" / "metrics.json").read_text())["bending"]
    assert [fold["left_out"] for fold in told["inner"]] == ["1", "2.5"]
    assert all(set(fold["w1"]) == {f"{b:g}" for b in GRID if b} for fold in told["inner"])
    assert any("left out: W1" in note and "static OT" in note for note in outcome.notes)
    model = load(tmp_path / "r")
    path = model.reading.interpolant
    assert isinstance(path, Bent)
    assert (path.bend, path.sigma) == pytest.approx((told["bend"], told["sigma"]))
    fit_run(tmp_path / "again", *days, interpolant=model.recipe.interpolant, **times)
    one, other = (load(tmp_path / name).field.state_dict() for name in ("r", "again"))
    assert all(bool((one[name] == other[name]).all()) for name in one)
    done = fit_run(tmp_path / "r", *days, method="auto", resume=True, **times)
    assert done.notes[0].endswith("nothing to do.")
    with pytest.raises(CheckpointError, match="interpolant"):
        fit_run(tmp_path / "again", *days, interpolant="linear", resume=True, **times)


@pytest.mark.parametrize("given", ["bent:bend=0.5", "bent:sigma=0.25", "bent:bend=0.5,sigma=0.25"])
def test_what_is_given_stays(given: str, samples: Path) -> None:
    """Only what the spec leaves out is chosen."""
    clouds = [pd.read_csv(samples / f"day{d}.csv")[["Stem1", "ArmB3"]] for d in ("0", "1", "5")]
    model = cfmcli.fit(*clouds, method="auto", interpolant=given, **TINY).core
    path = model.reading.interpolant
    assert isinstance(path, Bent)
    assert (path.bend == 0.5) == ("bend" in given)
    assert (path.sigma == 0.25) == ("sigma" in given)


def test_without_a_course_there_is_nothing_to_bend(samples: Path) -> None:
    """Two clouds are joined along their density, noise straight, and all verbs work as always."""
    source, target = (pd.read_csv(samples / f"{n}.csv")[::4] for n in ("source", "target"))
    for model, kind, far in (
        (cfmcli.fit(source, target, method="auto", **TINY), Dense, Dense.amplitude),
        (cfmcli.fit(target, source="gaussian", method="auto", **TINY), Bent, 0.0),
    ):
        path = model.core.reading.interpolant
        assert isinstance(path, kind)
        assert (path.amplitude if isinstance(path, Dense) else path.bend) == far
        assert model.sample(4).shape == (4, 2)
        back = model.transport(model.transport(target[["x", "y"]][:5]), 1.0, 0.0)
        assert np.isfinite(back).all(axis=None)
        assert np.isfinite(model.log_prob(target[["x", "y"]][:5]).values).all()


def test_only_the_method_auto_follows_the_density(samples: Path) -> None:
    """A path that is asked for by name stays what it is."""
    clouds = [pd.read_csv(samples / f"{n}.csv") for n in ("source", "target")]
    for more in ({"method": "otcfm", "interpolant": "bent"}, {"interpolant": "bent:bend=0.5"}):
        path = cfmcli.fit(*clouds, **{"method": "auto", **TINY, **more}).core.reading.interpolant
        assert isinstance(path, Bent)


def test_a_fit_of_two_clouds_tells_its_path_and_goes_on(
    samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Named in the notes, the figures and the recipe; --resume knows it."""
    ends = samples / "source.csv", samples / "target.csv"
    outcome = fit_run(tmp_path / "r", *ends, method="auto")
    told = outcome.figures["bending"]
    assert (told["path"], told["amplitude"], told["inner"]) == ("density", Dense.amplitude, [])
    assert any(note.startswith("path density: amplitude 0.5, sigma ") for note in outcome.notes)
    assert load(tmp_path / "r").recipe.interpolant.startswith("density:amplitude=0.5,sigma=")
    done = fit_run(tmp_path / "r", *ends, method="auto", resume=True)
    assert done.notes[0].endswith("nothing to do.")


def test_paths_of_a_circle_are_predicted_better_than_by_straight_lines(
    tmp_path: Path, fit_run: Fit
) -> None:
    """The population at a time nobody observed, from both sides, against the truth."""
    means = arc(TIMES)
    frames = [
        pd.DataFrame(SHAPE + m, columns=["x", "y"]).assign(day=t)
        for m, t in zip(means, TIMES, strict=True)
    ]
    pd.concat(frames).to_csv(tmp_path / "days.csv", index=False)
    more: Any = {"steps": 400, "batch_size": 64, "field": "mlp:width=32,depth=2"}
    found = {}
    for method in ("auto", "otcfm"):
        outcome = fit_run(
            tmp_path / method,
            tmp_path / "days.csv",
            time_key="day",
            method=method,
            holdout=("2",),
            **more,
        )
        (found[method],) = outcome.figures["holdout"]
    assert found["auto"]["model_w1"] < 0.6 * found["auto"]["static_ot_w1"]
    assert found["auto"]["model_w1"] < 0.7 * found["otcfm"]["model_w1"]


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ("bent:bend=0.5,sigma=0.1", "bent", True),
        ("bent:bend=0.5,sigma=0.1", "bent:sigma=0.1", True),
        ("bent:bend=0.5,sigma=0.1", "bent:sigma=0.2", False),
        ("density:sigma=0.1,amplitude=0.5", "bent:sigma=0.1", True),
        ("density:sigma=0.1,amplitude=0.5", "bent", True),
        ("density:amplitude=3", "bent", False),
        ("density:amplitude=0.5,sigma=0.1", "bent:bend=1", False),
        ("linear", "bent", False),
        ("linear", "linear", True),
    ],
)
def test_a_run_goes_on_with_the_path_that_it_chose_and_no_other(
    found: str, wanted: str, same: bool
) -> None:
    assert settles(found, wanted) == same
