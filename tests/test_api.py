from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

import cfmcli
from cfmcli.errors import CfmError, ConfigError, DataError


def plain(tiny: dict[str, Any]) -> dict[str, Any]:
    """Settings of a tiny fit in memory."""
    return {**tiny, "device": "cpu", "threads": 1}


def test_the_package_offers_its_verbs() -> None:
    """fit, Model and the version, found lazily; nothing else is promised."""
    assert set(cfmcli.__all__) == {"fit", "Model", "__version__"}
    assert callable(cfmcli.fit)
    assert cfmcli.Model.__name__ == "Model"
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = cfmcli.predict


def test_arrays_frames_and_anndata_learn_the_same_flow(samples: Path, tiny: dict[str, Any]) -> None:
    """The container does not matter, the numbers do."""
    frames = [pd.read_csv(samples / name) for name in ("source.csv", "target.csv")]
    arrays = [f.to_numpy() for f in frames]
    objects = [
        anndata.AnnData(
            f.to_numpy(),
            obs=pd.DataFrame(index=[f"c{k}" for k in range(len(f))]),
            var=pd.DataFrame(index=list(f.columns)),
        )
        for f in frames
    ]
    models = [cfmcli.fit(*data, **plain(tiny)) for data in (arrays, frames, objects)]
    assert [m.features for m in models] == [("x0", "x1"), ("x", "y"), ("x", "y")]
    first, *others = (m.transport(arrays[0]) for m in models)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-6)


def test_one_object_with_times(samples: Path, tiny: dict[str, Any]) -> None:
    """An AnnData or a frame with a column of times, settings as lists where lists are meant."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    settings = {**plain(tiny), "time_key": "day", "transform": "log1p,pca:n=3", "holdout": ["1"]}
    model = cfmcli.fit(data, **settings)
    assert model.timeline.times == (0.0, 2.5, 5.0)
    assert [len(c) for c in model.clouds] == [300, 340, 400, 460]
    assert model.sample(5).shape == (5, 30)
    assert model.clouds[0].obs["branch"].tolist() == ["progenitor"] * 300


def test_a_generator_of_one_array(tiny: dict[str, Any]) -> None:
    """source="gaussian" takes one cloud."""
    rng = np.random.default_rng(0)
    model = cfmcli.fit(rng.normal(size=(60, 3)), source="gaussian", method="fm", **plain(tiny))
    assert model.sample(4, seed=1).shape == (4, 3)
    assert np.isfinite(model.log_prob(rng.normal(size=(4, 3))).values).all()


def test_the_same_call_learns_the_same_model(tiny: dict[str, Any]) -> None:
    """Seeded from the first to the last draw, and blind to global generators."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(40, 2)) + 2
    np.random.seed(1)  # noqa: NPY002
    one = cfmcli.fit(x, y, **plain(tiny))
    np.random.seed(2)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    other = cfmcli.fit(x, y, **plain(tiny))
    assert one.pack() == other.pack()
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]  # noqa: NPY002
    assert cfmcli.fit(x, y, seed=1, **plain(tiny)).pack() != one.pack()


def test_inputs_are_not_touched(tiny: dict[str, Any]) -> None:
    """The user's arrays are read, never written."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(40, 2)) + 2
    before = x.copy(), y.copy()
    model = cfmcli.fit(x, y, **plain(tiny))
    model.transport(x)
    model.log_prob(y)
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])


@pytest.mark.parametrize(
    ("data", "settings", "error"),
    [
        ((np.zeros((5, 2)),), {}, CfmError),
        ((np.eye(3), np.eye(3)), {"steps": 0}, ConfigError),
        ((np.eye(3), np.eye(3)), {"stepz": 5}, ConfigError),
        ((np.eye(3), np.eye(4)), {}, DataError),
        ((np.eye(3), np.full((3, 3), np.nan)), {}, DataError),
        ((np.eye(3), np.eye(3)[:1]), {}, DataError),
        ((np.eye(3), np.eye(3)), {"time_key": "day"}, DataError),
        ((np.eye(3), np.eye(3)), {"device": "gpu"}, ConfigError),
    ],
)
def test_the_same_errors_as_the_command_line(
    data: tuple[Any, ...], settings: dict[str, Any], error: type, tiny: dict[str, Any]
) -> None:
    """One message, of the right class."""
    with pytest.raises(error):
        cfmcli.fit(*data, **{**plain(tiny), **settings})
