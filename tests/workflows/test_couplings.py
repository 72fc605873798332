"""Couplings on disk: marginals, rows and names."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from cfmcli.errors import ConfigError
from cfmcli.layers import from_layers
from cfmcli.requests import FitRequest, Runtime
from cfmcli.workflows import fit

TINY = {"steps": 20, "batch_size": 16, "field": "mlp:width=4,depth=1"}


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Three days of points with weights and kinds, their rows mixed."""
    rng = np.random.default_rng(0)
    days = rng.permutation(np.repeat(["d0", "d1", "d2.5"], [20, 30, 25]))
    values = (
        rng.normal(size=(75, 3))
        + np.array([0, 3, 6])[np.unique(days, return_inverse=True)[1]][:, None]
    )
    obs = pd.DataFrame(
        {"day": days, "w": rng.uniform(0.5, 2, 75), "kind": rng.choice(["p", "q"], 75)},
        index=[f"c{k}" for k in range(75)],
    )
    anndata.AnnData(values, obs=obs).write_h5ad(tmp_path / "in.h5ad")
    return tmp_path


def fitted(folder: Path, *, write: bool = True, force: bool = False, **more: Any) -> Path:
    """The couplings of a fit to the cells."""
    settings = {"inputs": (str(folder / "in.h5ad"),), "time_key": "day", **TINY, **more}
    where = Runtime(device="cpu", threads=1, force=force, command="test")
    request = FitRequest(str(folder / "run"), write_couplings=write)
    fit.fit(from_layers(settings), request, where, fit.ignore)
    return folder / "run" / "couplings"


@pytest.mark.parametrize(
    "more",
    [{}, {"coupling": "sinkhorn:reg=2"}, {"method": "icfm"}, {"label_key": "kind"}],
    ids=["exact", "sinkhorn", "independent", "by kind"],
)
def test_marginals_are_the_weights(cells: Path, more: dict[str, Any]) -> None:
    """Rows and columns add up to the weights of the cells they are named after."""
    place = fitted(cells, weight_key="w", **more)
    names = ["tmaps_0.0_1.0.h5ad", "tmaps_1.0_2.5.h5ad"]
    assert sorted(path.name for path in place.iterdir()) == names
    obs = anndata.read_h5ad(cells / "in.h5ad").obs
    for name, (early, late) in zip(names, [("d0", "d1"), ("d1", "d2.5")], strict=True):
        found = anndata.read_h5ad(place / name)
        for index, day, axis in ((found.obs_names, early, 1), (found.var_names, late, 0)):
            own = obs[obs["day"] == day]
            assert list(index) == list(own.index)
            weights = (own["w"] / own["w"].sum()).to_numpy()
            mass = np.asarray(found.X.sum(axis=axis)).reshape(-1)
            if "label_key" not in more or axis == 0:
                np.testing.assert_allclose(mass, weights, rtol=1e-5)
        if "label_key" in more:
            i, j = found.X.nonzero()
            assert (
                obs.loc[found.obs_names[i], "kind"].to_numpy()
                == obs.loc[found.var_names[j], "kind"].to_numpy()
            ).all()
        else:
            assert "g1" not in found.obs


def test_unbalanced_plans_tell_growth(cells: Path) -> None:
    """g1 is what leaves a cell, in units of the mean cell."""
    found = anndata.read_h5ad(fitted(cells, coupling="unbalanced:reg_m=10") / "tmaps_0.0_1.0.h5ad")
    leaving = np.asarray(found.X.sum(axis=1)).reshape(-1)
    np.testing.assert_allclose(found.obs["g1"], 20 * leaving)
    assert not np.allclose(found.obs["g1"], found.obs["g0"], rtol=1e-3)
    assert "source mass" in found.uns["cfm"]["meaning"]["row_sums"]


def test_couplings_of_an_earlier_fit_go(cells: Path) -> None:
    """A fit in the same place leaves its own couplings, or none."""
    assert len(list(fitted(cells).iterdir())) == 2
    assert len(list(fitted(cells, force=True, holdout=("d1",)).iterdir())) == 1
    assert not fitted(cells, force=True, write=False).exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [({"scope": "minibatch"}, "scope minibatch"), ({"source": "gaussian"}, "Gaussian source")],
)
def test_without_a_plan_there_is_nothing_to_write(
    cells: Path, more: dict[str, Any], says: str
) -> None:
    """It is said before training, and no run is left."""
    if "source" in more:
        data = anndata.read_h5ad(cells / "in.h5ad")
        data[data.obs["day"] == "d0"].copy().write_h5ad(cells / "in.h5ad")
    with pytest.raises(ConfigError, match=says):
        fitted(cells, **more)
    assert not (cells / "run").exists()
