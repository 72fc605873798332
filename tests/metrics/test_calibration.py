import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from cfmcli import metrics
from cfmcli.data.arrays import Array
from cfmcli.errors import DataError


@pytest.fixture
def told() -> Array:
    """Probabilities of three classes for 400 points."""
    return np.random.default_rng(0).dirichlet((0.5, 1.0, 2.0), 400)


@pytest.fixture
def came(told: Array) -> Array:
    """What came true: classes drawn from those probabilities."""
    rng = np.random.default_rng(1)
    return np.eye(3)[[rng.choice(3, p=row) for row in told]]


def test_certainty_scores_nothing_or_two(came: Array) -> None:
    """Right certainty scores 0, wrong certainty 2."""
    assert metrics.brier(came, came) == 0
    assert metrics.brier(np.roll(came, 1, axis=1), came) == 2


def test_two_classes_score_twice_the_binary_score(came: Array) -> None:
    """scikit-learn counts one of the two classes."""
    p, y = np.random.default_rng(2).random(400), came[:, 0]
    ours = metrics.brier(np.stack([p, 1 - p], axis=1), np.stack([y, 1 - y], axis=1))
    assert ours == pytest.approx(2 * brier_score_loss(y, p))


def test_the_score_is_proper(told: Array) -> None:
    """Over all that may come true, another law than the true one costs its squared distance."""
    true, other = told[:1], told[1:2]

    def expected(p: Array) -> float:
        return sum(float(true[0, c]) * metrics.brier(p, np.eye(3)[[c]]) for c in range(3))

    assert expected(other) - expected(true) == pytest.approx(((other - true) ** 2).sum())


def test_the_curve_is_that_of_scikit_learn(told: Array, came: Array) -> None:
    """All classes pooled, in ten equal bins."""
    curve = metrics.reliability(told, came)
    observed, predicted = calibration_curve(came.ravel(), told.ravel(), n_bins=10)
    np.testing.assert_allclose([part.predicted for part in curve], predicted)
    np.testing.assert_allclose([part.observed for part in curve], observed)
    assert sum(part.size for part in curve) == told.size


def test_calibrated_probabilities_lie_on_the_diagonal(told: Array, came: Array) -> None:
    """Shares that are what was said have no error, drawn classes little, certainty much."""
    exact = metrics.calibration_error(metrics.reliability(told, told))
    drawn = metrics.calibration_error(metrics.reliability(told, came))
    sure = np.eye(3)[told.argmax(axis=1)]
    overdone = metrics.calibration_error(metrics.reliability(sure, came))
    assert exact == 0
    assert drawn < 0.04
    assert overdone == pytest.approx(2 * (sure != came).any(axis=1).mean() / 3)


def test_a_weight_of_three_is_three_points(told: Array, came: Array) -> None:
    """In the score and in the curve; a weight of nothing is no point."""
    heavy = np.random.default_rng(3).integers(0, 4, 400)
    p, y = (np.repeat(part, heavy, axis=0) for part in (told, came))
    assert metrics.brier(told, came, heavy) == pytest.approx(metrics.brier(p, y))
    weighed, copied = metrics.reliability(told, came, heavy), metrics.reliability(p, y)
    for ours, theirs in zip(weighed, copied, strict=True):
        assert ours.size < theirs.size
        assert ours[:2] + ours[3:] == pytest.approx(theirs[:2] + theirs[3:])
    errors = (metrics.calibration_error(curve) for curve in (weighed, copied))
    assert next(errors) == pytest.approx(next(errors))


def test_entropy_is_that_of_scipy(told: Array) -> None:
    """In nats, within its bounds, and 0 for certainty."""
    found = metrics.entropy(told)
    np.testing.assert_allclose(found, scipy_entropy(told, axis=1), atol=1e-12)
    assert (found <= np.log(3)).all()
    assert metrics.entropy(np.eye(3)).tolist() == [0, 0, 0]
    assert metrics.entropy(np.full((1, 4), 0.25))[0] == pytest.approx(np.log(4))


@pytest.mark.parametrize("shape", [(400, 2), (399, 3), (400,)])
def test_probabilities_and_truth_have_one_shape(told: Array, shape: tuple[int, ...]) -> None:
    """Anything else is refused."""
    with pytest.raises(DataError, match="shape"):
        metrics.brier(told, np.zeros(shape))
