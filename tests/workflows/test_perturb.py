import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.requests import Integration, Outcome, Runtime, TransportRequest
from cfmcli.stored import load
from cfmcli.workflows.transport import transport
from tests.conftest import Fit

STEPS = Integration("rk4:steps=4")


def move(run: Path, data: Path, out: Path, *changes: str, **more: Any) -> Outcome:
    """Carry points, some of their features set."""
    chosen: dict[str, Any] = {"changes": changes, "integration": STEPS} | more
    request = TransportRequest(str(run), str(data), str(out), **chosen)
    return transport(request, Runtime(device="cpu", threads=1), lambda progress: None)


@pytest.fixture(scope="module")
def early(samples: Path) -> ad.AnnData:
    """The cells of day 0, dense, every one with three counts of Stem1."""
    cells = ad.read_h5ad(samples / "timecourse.h5ad")
    cells = cells[cells.obs["day"] == 0].copy()
    cells.X = cells.X.toarray()
    cells.X[:, 0] = 3
    return cells


@pytest.fixture(scope="module")
def source(samples: Path) -> pd.DataFrame:
    """The moons."""
    return pd.read_csv(samples / "source.csv")


@pytest.mark.parametrize(
    ("change", "by", "plus"),
    [("x=0.25", 0, 0.25), ("x=*2", 2, 0), ("x=+1.5", 1, 1.5), ("x=-1", 0, -1)],
)
def test_what_a_change_does_is_that_of_edited_points(
    change: str,
    by: float,
    plus: float,
    toy_run: Path,
    source: pd.DataFrame,
    samples: Path,
    tmp_path: Path,
) -> None:
    """Brute force: edit the file, carry both, and subtract."""
    source.assign(x=source["x"] * by + plus).to_csv(tmp_path / "edited.csv", index=False)
    for name, data in (("b", tmp_path / "edited.csv"), ("a", samples / "source.csv")):
        move(toy_run, data, tmp_path / f"{name}.csv")
    outcome = move(toy_run, samples / "source.csv", tmp_path / "c.csv", change)
    before, after, found = (pd.read_csv(tmp_path / f"{name}.csv") for name in "abc")
    assert list(found.columns) == ["x", "y", "x_delta", "y_delta"]
    np.testing.assert_allclose(found[["x", "y"]], after, atol=1e-6)
    np.testing.assert_allclose(found[["x_delta", "y_delta"]], after - before, atol=1e-5)
    most = outcome.figures["most_changed"]
    means = (after - before).mean().abs().sort_values(ascending=False)
    assert [row["feature"] for row in most] == list(means.index)
    shift = np.abs(source["x"] * (by - 1) + plus).mean()
    scale = pd.concat([source, pd.read_csv(samples / "target.csv")])["x"].std(ddof=0)
    assert outcome.figures["mean_start_shift"] == pytest.approx(shift / scale, rel=1e-4)


def test_changes_follow_each_other(toy_run: Path, samples: Path, tmp_path: Path) -> None:
    """Twice one and one more is three."""
    move(toy_run, samples / "source.csv", tmp_path / "a.csv", "x=1", "x=*2", "x=+1", "y=*1")
    move(toy_run, samples / "source.csv", tmp_path / "b.csv", "x=3")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_points_count_by_their_weight(
    source: pd.DataFrame, samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """What is told of weighted points is that of the points repeated."""
    times = np.random.default_rng(0).choice([1, 20], size=len(source))
    target = pd.read_csv(samples / "target.csv").assign(mass=1)
    data = []
    for name, frame in (
        ("once", source.assign(mass=times)),
        ("often", source.assign(mass=1).loc[np.repeat(source.index, times)]),
        ("target", target),
    ):
        data.append(tmp_path / f"{name}.csv")
        frame.to_csv(data[-1], index=False)
    fit_run(tmp_path / "run", data[0], data[2], weight_key="mass")
    once, often = (
        move(tmp_path / "run", own, tmp_path / f"{own.stem}2.csv", "x=*2", "y=0").figures
        for own in data[:2]
    )
    for name in ("mean_start_shift", "mean_shift"):
        assert once[name] == pytest.approx(often[name], rel=1e-4)
    for one, other in zip(once["most_changed"], often["most_changed"], strict=True):
        assert one["mean_delta"] == pytest.approx(other["mean_delta"], rel=1e-4)


def test_points_of_other_times_count_in_no_figure(
    tmp_path: Path, cells_run: Path, samples: Path
) -> None:
    """Cells of later days in the file are carried, and all figures are those of the first day."""
    whole = ad.read_h5ad(samples / "timecourse.h5ad")
    whole[whole.obs["day"] == 0].write_h5ad(tmp_path / "first.h5ad")
    data = samples / "timecourse.h5ad", tmp_path / "first.h5ad"
    with pytest.warns(CfmWarning, match="other times"):
        both = move(cells_run, data[0], tmp_path / "a.h5ad", "Stem1=*2").figures
    first = move(cells_run, data[1], tmp_path / "b.h5ad", "Stem1=*2").figures
    for name in ("mean_start_shift", "mean_shift", "mean_cost"):
        assert both[name] == pytest.approx(first[name], rel=1e-6)


def test_present_values_change_nothing(cells_run: Path, early: ad.AnnData, tmp_path: Path) -> None:
    """A gene set to what it is, in counts, moves no cell: exactly, in every key."""
    early.write_h5ad(tmp_path / "in.h5ad")
    outcome = move(cells_run, tmp_path / "in.h5ad", tmp_path / "out.h5ad", "Stem1=3")
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert not found.obsm["X_cfm_delta"].any()
    assert not found.layers["cfm_delta"].any()
    assert outcome.figures["mean_shift"] == 0


def test_genes_of_sparse_counts_are_set(cells_run: Path, early: ad.AnnData, tmp_path: Path) -> None:
    """A dense file gives the same; the delta of genes is the difference of decoded states."""
    early.write_h5ad(tmp_path / "dense.h5ad")
    cells = early.copy()
    cells.X = sparse.csr_matrix(cells.X)
    cells.write_h5ad(tmp_path / "sparse.h5ad")
    found = []
    for name in ("sparse", "dense"):
        move(
            cells_run, tmp_path / f"{name}.h5ad", tmp_path / f"{name}2.h5ad", "ArmA1=50", "Stem2=0"
        )
        found.append(ad.read_h5ad(tmp_path / f"{name}2.h5ad"))
    np.testing.assert_allclose(
        found[0].layers["cfm_delta"], found[1].layers["cfm_delta"], rtol=1e-5
    )
    move(cells_run, tmp_path / "dense.h5ad", tmp_path / "plain.h5ad")
    plain = ad.read_h5ad(tmp_path / "plain.h5ad")
    for changed, key in ((found[1].layers, "cfm"), (found[1].obsm, "X_cfm")):
        before = plain.layers[key] if key == "cfm" else plain.obsm[key]
        np.testing.assert_allclose(changed[f"{key}_delta"], changed[key] - before, atol=1e-4)
    assert found[0].uns["cfm"]["set"] == "ArmA1=50, Stem2=0"


@pytest.mark.parametrize("change", ["x", "=1", "x=", "x=much", "x=nan", "x=**2"])
def test_changes_that_cannot_be_read(
    change: str, toy_run: Path, samples: Path, tmp_path: Path
) -> None:
    """A feature and a number are needed."""
    with pytest.raises(ConfigError, match="expected a feature and a number"):
        move(toy_run, samples / "source.csv", tmp_path / "o.csv", change)


def test_unknown_genes_get_a_guess(cells_run: Path, early: ad.AnnData, tmp_path: Path) -> None:
    """The nearest name, and a few of the others."""
    early.write_h5ad(tmp_path / "in.h5ad")
    with pytest.raises(DataError, match=r"no feature 'Stm1'\. Did you mean 'Stem1'\?"):
        move(cells_run, tmp_path / "in.h5ad", tmp_path / "o.h5ad", "Stm1=0")


def test_genes_that_the_transform_drops_are_said(
    fit_run: Fit, samples: Path, early: ad.AnnData, tmp_path: Path
) -> None:
    """Setting them hardly moves anything, which is no finding; those that are kept are not."""
    early.write_h5ad(tmp_path / "in.h5ad")
    data, run = samples / "timecourse.h5ad", tmp_path / "run"
    fit_run(run, data, time_key="day", transform="normalize,log1p,hvg:n=3,pca:n=2", steps=5)
    kept = np.flatnonzero(np.ptp(load(run).chain.inverse(np.eye(2)), axis=0))
    names = early.var_names
    (lost,) = [name for k, name in enumerate(names) if k not in kept][:1]
    with pytest.warns(CfmWarning, match=f"drops {lost}, so the flow does not see"):
        move(run, tmp_path / "in.h5ad", tmp_path / "o.h5ad", f"{lost}=0", f"{names[kept[0]]}=0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        move(run, tmp_path / "in.h5ad", tmp_path / "p.h5ad", f"{names[kept[0]]}=0")


def test_representations_have_no_genes(
    fit_run: Fit, early: ad.AnnData, samples: Path, tmp_path: Path
) -> None:
    """Nothing is set where the flow knows no genes; the error says what to do."""
    cells = ad.read_h5ad(samples / "timecourse.h5ad")
    for name, part in (("all", cells), ("in", early.copy())):
        part.obsm["X_two"] = part[:, :2].to_df().to_numpy()
        part.write_h5ad(tmp_path / f"{name}.h5ad")
    fit_run(tmp_path / "run", tmp_path / "all.h5ad", time_key="day", use_rep="X_two", steps=5)
    with pytest.raises(ConfigError, match=r"knows no genes.*--transform"):
        move(tmp_path / "run", tmp_path / "in.h5ad", tmp_path / "o.h5ad", "Stem1=0")


@pytest.mark.parametrize("change", ["Stm1=0", "Stem1=much"])
def test_what_is_refused_is_not_warned_of(
    change: str, cells_run: Path, samples: Path, tmp_path: Path
) -> None:
    """The file holds other days too, which is worth a warning where the work is done."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ConfigError, DataError)):
            move(cells_run, samples / "timecourse.h5ad", tmp_path / "o.h5ad", change)
    with pytest.warns(CfmWarning, match="points of other times"):
        move(cells_run, samples / "timecourse.h5ad", tmp_path / "o.h5ad", "Stem1=0")
