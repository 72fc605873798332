"""Populations that grow and die, from files to files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.cli.harness import Cfm
from tests.cli.room import carry_out
from tests.conftest import SAMPLES

DATA = SAMPLES / "growing.csv"
FIT = f"fit {DATA} --time-key day --drop true_growth --transform none --method wfrfm --steps 400"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit to the sample data's growing population."""
    folder = tmp_path_factory.mktemp("growth")
    assert carry_out(f"{FIT} -o {folder / 'run'} -q --threads 1") == 0
    return folder / "run"


Tell = Callable[..., dict[str, Any]]


@pytest.fixture
def told(cfm: Cfm, run: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What a verb says of the run."""

    def tell(verb: str, *words: str) -> dict[str, Any]:
        ran = cfm(verb, str(run), *words, "-o", str(tmp_path / "out.csv"), "--json", "-q")
        assert ran.code == 0, ran.err
        found: dict[str, Any] = json.loads(ran.out)
        return found

    return tell


def test_transport_writes_growth(told: Tell, tmp_path: Path) -> None:
    said = told("transport", str(DATA), "--to", "2")
    moved = pd.read_csv(tmp_path / "out.csv", index_col="cell")
    start = moved["day"] == 0
    assert list(moved.columns) == ["day", "x", "y", "true_growth", "growth_rate", "log_mass"]
    assert said["relative_mass"] == pytest.approx(np.exp(moved.loc[start, "log_mass"]).mean())
    assert said["observed_relative_mass"] == pytest.approx(677 / 400)
    assert said["mass_error"] == pytest.approx(abs(said["relative_mass"] * 400 / 677 - 1))
    ahead = told("transport", str(DATA), "--to", "0.01", "--force")
    soon = pd.read_csv(tmp_path / "out.csv", index_col="cell")
    assert (100 * soon["log_mass"]).to_numpy() == pytest.approx(soon["growth_rate"], abs=0.05)
    assert "observed_relative_mass" not in ahead


def test_populations_change_size(told: Tell, tmp_path: Path) -> None:
    said = told("interpolate", "--times", "0,0.5,1,3", "--population")
    rows = pd.read_csv(tmp_path / "out.csv")
    total = rows.groupby("time")["weight"].sum()
    assert total.to_numpy() == pytest.approx([said["mass"][t] for t in ("0", "0.5", "1", "3")])
    assert said["observed_mass"] == pytest.approx({"0": 1, "1": 489 / 400, "3": 1375 / 400})
    assert {t: said["mass"][t] for t in ("0", "1", "3")} == pytest.approx(said["observed_mass"])
    assert 1 < said["mass"]["0.5"] < 489 / 400
    some = told("interpolate", "--times", "0", "--where", "true_growth > 0.3", "--force")
    assert some["mass"]["0"] == pytest.approx(160 / 400, abs=0.01)


def test_samples_are_drawn_by_mass(told: Tell, tmp_path: Path) -> None:
    """At day 3 the lineage that divides is 89 % of all cells; it began with 40 %."""
    told("sample", "-n", "2000")
    last = (pd.read_csv(tmp_path / "out.csv")["y"] > 0).mean()
    told("sample", "-n", "2000", "--time", "0", "--force")
    first = (pd.read_csv(tmp_path / "out.csv")["y"] > 0).mean()
    assert (first, last) == pytest.approx((0.4, 1226 / 1375), abs=0.03)


def test_evaluation_knows_masses(told: Tell) -> None:
    scores = told("evaluate", "--max-points", "200")["scores"]
    found = {(s["to"], s["metric"]): s["value"] for s in scores}
    for day, count in ((1.0, 489), (2.0, 677), (3.0, 1375)):
        assert found[day, "observed_relative_mass"] == pytest.approx(count / 400)
        ratio = found[day, "relative_mass"] / found[day, "observed_relative_mass"]
        assert found[day, "mass_error"] == pytest.approx(abs(ratio - 1))
        assert found[day, "mass_error"] < 0.1


def test_there_is_no_score_to_wander_by(cfm: Cfm, run: Path, tmp_path: Path) -> None:
    ran = cfm("sample", str(run), "--sde", "0.5", "-o", str(tmp_path / "out.csv"))
    assert ran.code == 2
    assert "no score" in ran.err


def test_masses_have_one_name_where_some_snapshots_have_weights_of_their_own(
    cfm: Cfm, tmp_path: Path
) -> None:
    """As AnnData and as rows, for populations of both sides."""
    import anndata as ad

    rng = np.random.default_rng(0)
    clouds = [ad.AnnData(rng.standard_normal((n, 2)) + k) for k, n in enumerate((40, 60))]
    clouds[1].obs["weight"] = np.arange(60.0)
    for cloud, name in zip(clouds, "ab", strict=True):
        cloud.obs_names = [f"{name}{k}" for k in range(len(cloud))]
        cloud.write_h5ad(tmp_path / f"{name}.h5ad")
    ends, run = [str(tmp_path / f"{name}.h5ad") for name in "ab"], str(tmp_path / "run")
    how = ["--method", "wfrfm", "--transform", "none", "--steps", "5", "--threads", "1"]
    assert cfm("fit", *ends, "-o", run, *how).code == 0
    both = ["--population", "--sides", "both", "--times", "0,0.5,1"]
    for output in ("out.h5ad", "out.csv"):
        ran = cfm("interpolate", run, *both, "-o", str(tmp_path / output))
        assert ran.code == 0, ran.err
    found, rows = ad.read_h5ad(tmp_path / "out.h5ad").obs, pd.read_csv(tmp_path / "out.csv")
    assert rows["cfm_weight"].notna().all()
    assert found["cfm_weight"].to_numpy() == pytest.approx(rows["cfm_weight"].to_numpy())
