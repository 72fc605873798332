import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from cfmcli.data.arrays import Array
from cfmcli.data.neighbours import Labelled

RNG = np.random.default_rng(0)
POINTS, CODES = RNG.normal(size=(60, 3)), RNG.integers(3, size=60)
OTHERS = RNG.normal(size=(25, 3))


def labelled(weights: Array | None = None) -> Labelled:
    """Sixty points of three classes."""
    mass = np.full(60, 1 / 60) if weights is None else weights
    return Labelled(POINTS, CODES, ("a", "b", "c"), mass)


@pytest.mark.parametrize("k", [1, 7, 60])
def test_votes_are_those_of_scikit_learn(k: int) -> None:
    """With equal weights, the shares of the k nearest."""
    rival = KNeighborsClassifier(k).fit(POINTS, CODES)
    np.testing.assert_allclose(labelled().votes(OTHERS, k), rival.predict_proba(OTHERS))


def test_all_voters_give_the_frequencies() -> None:
    """By weight, wherever one asks."""
    weights = np.random.default_rng(1).random(60)
    found = labelled(weights)
    np.testing.assert_allclose(found.votes(OTHERS, 60), np.tile(found.frequencies, (25, 1)))
    expected = [weights[c == CODES].sum() / weights.sum() for c in range(3)]
    np.testing.assert_allclose(found.frequencies, expected)


def test_a_weight_of_two_is_two_voters() -> None:
    """Where each point stands twice, as many more vote."""
    twice = Labelled(
        np.repeat(POINTS, 2, axis=0), np.repeat(CODES, 2), ("a", "b", "c"), np.ones(120)
    )
    np.testing.assert_allclose(twice.votes(OTHERS, 10), labelled().votes(OTHERS, 5))


@pytest.mark.parametrize("k", [1, 4, 59])
def test_points_left_out_do_not_vote_for_themselves(k: int) -> None:
    """Brute force: fit again without each of them."""
    rows = np.array([0, 5, 17, 59])
    found = labelled().held_out(rows, (k, 2))[k]
    for row, ours in zip(rows, found, strict=True):
        rest = np.arange(60) != row
        rival = KNeighborsClassifier(k).fit(POINTS[rest], CODES[rest])
        np.testing.assert_allclose(ours, rival.predict_proba(POINTS[[row]])[0])


@pytest.mark.parametrize("k", [1, 4, 60])
def test_points_among_the_labelled_are_known_by_their_place(k: int) -> None:
    """They get the votes of the others, rounding or not; new points get those of all."""
    x = np.vstack((np.float64(POINTS[[3, 9]].astype(np.float32)), OTHERS[:4]))
    found = labelled().votes_of_others(x, k)
    most = min(k, 59)
    np.testing.assert_allclose(found[:2], labelled().held_out(np.array([3, 9]), (most,))[most])
    np.testing.assert_allclose(found[2:], labelled().votes(OTHERS[:4], most))


def test_equals_hide_nobody() -> None:
    """Of points at one place, each leaves out itself alone."""
    same = Labelled(np.zeros((4, 2)), np.array([0, 0, 0, 1]), ("a", "b"), np.ones(4))
    found = same.held_out(np.arange(4), (3,))[3]
    np.testing.assert_allclose(found[:, 1], [1 / 3, 1 / 3, 1 / 3, 0])
