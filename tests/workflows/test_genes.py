from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.requests import FateRequest, GenesRequest, InterpolateRequest, Outcome, Runtime, Vote
from cfmcli.stored import load
from cfmcli.workflows.fate import fate
from cfmcli.workflows.genes import genes
from tests.conftest import Fit

WHERE = Runtime(device="cpu", threads=1)
LEVELS = {"q25": 0.25, "q50": 0.5, "q75": 0.75}


def ignore(progress: Any) -> None:
    """Hear nothing."""


def trends(
    run: Path, out: Path, data: Path | str = "", **more: Any
) -> tuple[pd.DataFrame, Outcome]:
    """The table of trends, and what was told of it."""
    own = {k: more.pop(k) for k in ("genes", "top", "label_key", "fate_key", "fates") if k in more}
    chosen: dict[str, Any] = {"frames": 3} | more
    paths = InterpolateRequest(str(run), str(out), str(data), **chosen)
    outcome = genes(GenesRequest(paths, **own), WHERE, ignore)
    return pd.read_csv(out), outcome


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory, fit_run: Fit, samples: Path) -> Path:
    """A flow that is the identity."""
    folder = tmp_path_factory.mktemp("genes") / "still"
    fit_run(folder, samples / "day2.5.csv", samples / "day2.5.csv", method="static-ot")
    return folder


def test_without_motion_trends_are_those_of_the_input(
    still: Path, samples: Path, tmp_path: Path
) -> None:
    """Means and quartiles of each branch at all times, and no change."""
    found, outcome = trends(still, tmp_path / "t.csv", label_key="branch", top=99)
    cells = pd.read_csv(samples / "day2.5.csv", index_col="cell")
    assert list(found.columns) == ["gene", "time", "group", "mean", *LEVELS, "change"]
    assert len(found) == 30 * 3 * cells["branch"].nunique()
    assert outcome.figures["groups"] == cells["branch"].value_counts().to_dict()
    np.testing.assert_allclose(found["change"], 0, atol=1e-6)
    for branch, own in cells.groupby("branch"):
        values = own.drop(columns="branch")
        rows = found[(found["group"] == branch) & (found["time"] == 0.5)].set_index("gene")
        np.testing.assert_allclose(rows["mean"], values.mean()[rows.index], rtol=1e-5, atol=1e-6)
        for name, level in LEVELS.items():
            rival = (
                values.quantile(level, interpolation="lower"),
                values.quantile(level, interpolation="higher"),
            )
            assert (rows[name] >= rival[0][rows.index] - 1e-5).all()
            assert (rows[name] <= rival[1][rows.index] + 1e-5).all()


def test_groups_by_fate_weigh_cells_by_their_probability(
    still: Path, samples: Path, tmp_path: Path
) -> None:
    """From a table, from an AnnData, and from where trajectories end: the same means."""
    data = samples / "day2.5.csv"
    for name in ("f.csv", "f.h5ad"):
        request = FateRequest(str(still), str(data), str(tmp_path / name), Vote("branch"), spread=1)
        fate(request, WHERE, ignore)
    table, _ = trends(still, tmp_path / "a.csv", fates=str(tmp_path / "f.csv"))
    ends, _ = trends(still, tmp_path / "c.csv", fate_key="branch")
    p = (
        pd.read_csv(tmp_path / "f.csv")
        .filter(like="p_")
        .set_axis(["arm_a", "arm_b", "progenitor"], axis=1)
    )
    values = pd.read_csv(data).select_dtypes("number")
    expected = (p.T @ values).div(p.sum(), axis=0)
    for found in (table, ends):
        wide = found[found["time"] == 1].pivot_table("mean", "group", "gene")
        np.testing.assert_allclose(wide, expected[wide.columns], rtol=1e-4, atol=1e-5)


def test_genes_are_ranked_by_their_change(cells_run: Path, tmp_path: Path) -> None:
    """The largest difference of means at two times, in standard deviations over everything."""
    found, outcome = trends(cells_run, tmp_path / "t.csv", top=7)
    model = load(cells_run)
    x = model.cloud(0.0)
    assert x is not None
    frames = model.interpolate(model.chain.inverse(x.points), [0, 2.5, 5])
    means = frames.mean(axis=1)
    change = (means.max(axis=0) - means.min(axis=0)) / frames.reshape(-1, 30).std(axis=0)
    order = np.argsort(-change)[:7]
    assert list(dict.fromkeys(found["gene"])) == [model.features[k] for k in order]
    np.testing.assert_allclose(found["change"].abs().to_numpy()[::3], change[order], rtol=1e-3)
    fell = found.set_index(["gene", "time"])["mean"].unstack()
    assert ((fell[5.0] < fell[0.0]) == (found.groupby("gene")["change"].first() < 0)).mean() > 0.9
    assert [row["gene"] for row in outcome.figures["genes"]] == list(dict.fromkeys(found["gene"]))


def test_groups_that_nobody_reaches_are_left_out(
    still: Path, samples: Path, tmp_path: Path
) -> None:
    """No trend is made of nothing."""
    cells = pd.read_csv(samples / "day2.5.csv")
    fates = pd.DataFrame({"id": cells["cell"], "p_up": 1.0, "p_down": 0.0})
    fates.to_csv(tmp_path / "f.csv", index=False)
    found, outcome = trends(still, tmp_path / "t.csv", fates=str(tmp_path / "f.csv"))
    assert set(found["group"]) == {"up"}
    assert outcome.figures["groups"] == {"up": len(cells)}


def test_genes_may_be_named(cells_run: Path, tmp_path: Path) -> None:
    """By globs, however many; a name that is not there gets a guess."""
    found, _ = trends(cells_run, tmp_path / "t.csv", genes="ArmA*,Stem1", top=1)
    assert set(found["gene"]) == {"Stem1", *(f"ArmA{k}" for k in range(1, 8))}
    with pytest.raises(DataError, match="Did you mean 'Stem1'"):
        trends(cells_run, tmp_path / "u.csv", genes="Stm1")


def test_starting_cells_may_be_chosen(cells_run: Path, tmp_path: Path, samples: Path) -> None:
    """As in interpolate: by a condition, by ids, at a time."""
    data = samples / "timecourse.h5ad"
    whole, _ = trends(cells_run, tmp_path / "a.csv", data, start="2.5")
    some, outcome = trends(
        cells_run, tmp_path / "b.csv", data, start="2.5", where="branch == 'arm_b'"
    )
    assert outcome.figures["points"] < 400
    rise = [f.set_index(["gene", "time"])["mean"]["ArmB1", 2.5] for f in (whole, some)]
    assert rise[1] > 1.5 * rise[0]


def test_reconstruction_is_checked_against_the_input(
    fit_run: Fit, samples: Path, tmp_path: Path
) -> None:
    """The correlation of each gene with what comes back from one component."""
    run, data = tmp_path / "run", samples / "timecourse.h5ad"
    fit_run(run, data, time_key="day", transform="log1p,pca:n=1", steps=5)
    with pytest.warns(CfmWarning, match=r"genes come back .* below 0\.3"):
        found, outcome = trends(run, tmp_path / "t.csv", data, top=30)
    cells, model = ad.read_h5ad(data), load(run)
    values = cells.X.toarray()
    back = model.chain.inverse(model.encode(values))
    for gene in ("Stem3", "ArmA2", "House1"):
        k = list(cells.var_names).index(gene)
        told = found.loc[found["gene"] == gene, "reconstruction"].unique()
        assert told == pytest.approx([np.corrcoef(values[:, k], back[:, k])[0, 1]], rel=1e-4)
    median = found.groupby("gene")["reconstruction"].first().median()
    assert outcome.figures["median_reconstruction"] == pytest.approx(median)


def test_counts_are_compared_once_they_are_normalised(
    fit_run: Fit, samples: Path, tmp_path: Path
) -> None:
    """With all components kept every gene comes back, whatever the depth of the cells."""
    cells = ad.read_h5ad(samples / "timecourse.h5ad")
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.1, 1, (cells.n_obs, 1))
    cells.X = rng.binomial(cells.X.toarray().astype(int), depth).astype(float)
    cells.write_h5ad(tmp_path / "counts.h5ad")
    run, data = tmp_path / "run", tmp_path / "counts.h5ad"
    fit_run(run, data, time_key="day", transform="normalize,log1p,hvg:n=20,pca:n=20", steps=5)
    found, outcome = trends(run, tmp_path / "t.csv", data, top=10)
    assert found["reconstruction"].min() > 1 - 1e-6
    chain = load(run).chain
    raw = cells.X[:, list(cells.var_names).index(found["gene"][0])]
    back = chain.inverse(chain.forward(cells.X))[:, chain.features.index(found["gene"][0])]
    assert np.corrcoef(raw, back)[0, 1] < 0.99
    assert outcome.figures["median_reconstruction"] > 1 - 1e-6


@pytest.mark.parametrize("stored", [True, False])
def test_weights_count_in_trends(stored: bool, fit_run: Fit, samples: Path, tmp_path: Path) -> None:
    """Of stored points and of those of a file: the weighted mean, and whole points in groups."""
    cells = pd.read_csv(samples / "day2.5.csv")
    cells["w"] = np.where(cells["branch"] == "arm_b", 9.0, 1.0)
    cells.to_csv(tmp_path / "w.csv", index=False)
    data = tmp_path / "w.csv"
    fit_run(tmp_path / "run", data, data, method="static-ot", weight_key="w")
    found, outcome = trends(tmp_path / "run", tmp_path / "t.csv", "" if stored else data)
    mean = found[found["gene"] == "ArmB1"]["mean"]
    assert mean.to_numpy() == pytest.approx(np.average(cells["ArmB1"], weights=cells["w"]))
    assert outcome.figures["groups"] == {"all": 400}


def test_trends_follow_what_has_grown(fit_run: Fit, tmp_path: Path) -> None:
    """Where one of two groups grows ninefold in place, the mean of all is that of the later day."""
    rng, names = np.random.default_rng(0), ["g1", "g2"]
    files = []
    for day, sizes in enumerate(((100, 100), (900, 100))):
        parts = [rng.normal(8 * k, 0.3, (n, 2)) for k, n in enumerate(sizes)]
        files.append(tmp_path / f"{day}.csv")
        pd.DataFrame(np.concatenate(parts), columns=names).to_csv(files[-1], index=False)
    fit_run(tmp_path / "run", *files, method="wfrfm", steps=400, lr=5e-3)
    found, _ = trends(tmp_path / "run", tmp_path / "t.csv", frames=2)
    mean = found[found["gene"] == "g1"].set_index("time")["mean"]
    assert mean[0.0] == pytest.approx(4, abs=0.1)
    assert mean[1.0] == pytest.approx(0.8, abs=0.3)


def test_columns_that_are_no_fates_are_refused(still: Path, tmp_path: Path) -> None:
    """Annotations that begin as fates do, and nothing that cfm fate wrote."""
    ids = [f"d2.5_{k}" for k in range(400)]
    frame = pd.DataFrame({"id": ids, "p_mito": 0.5, "p_up": 0.25})
    frame.to_csv(tmp_path / "f.csv", index=False)
    with pytest.raises(DataError, match="no columns of fates that sum to 1 among p_mito, p_up"):
        trends(still, tmp_path / "t.csv", fates=str(tmp_path / "f.csv"))


def test_what_cannot_be_meant_is_refused(
    still: Path, cells_run: Path, fit_run: Fit, samples: Path, tmp_path: Path
) -> None:
    """Two groupings, unknown columns, fates of other cells, and runs without genes."""
    out = tmp_path / "t.csv"
    with pytest.raises(ConfigError, match="Give one of"):
        trends(still, out, label_key="branch", fate_key="branch")
    for key in ("label_key", "fate_key"):
        with pytest.raises(DataError, match="Did you mean 'branch'"):
            trends(still, out, **{key: "branhc"})
    fates = pd.DataFrame({"id": ["d2.5_0"], "p_up": [0.5], "p_down": [0.5]})
    fates.to_csv(tmp_path / "f.csv", index=False)
    with pytest.raises(DataError, match="run cfm fate on the same points"):
        trends(still, out, fates=str(tmp_path / "f.csv"))
    cells = ad.read_h5ad(samples / "timecourse.h5ad")
    cells.obsm["X_two"] = cells.X[:, :2].toarray()
    cells.write_h5ad(tmp_path / "in.h5ad")
    fit_run(tmp_path / "run", tmp_path / "in.h5ad", time_key="day", use_rep="X_two", steps=5)
    with pytest.raises(ConfigError, match="no way leads back to genes"):
        trends(tmp_path / "run", out)
    assert not out.exists()


def test_a_class_may_have_any_name(still: Path, samples: Path, tmp_path: Path) -> None:
    """What JSON says of a gene is not mistaken for what it says of a class."""
    cells = pd.read_csv(samples / "day2.5.csv")
    names = dict(
        zip(sorted(cells["branch"].unique()), ("gene", "reconstruction", "change"), strict=True)
    )
    cells["branch"] = cells["branch"].map(names)
    cells.to_csv(tmp_path / "cells.csv", index=False)
    found, outcome = trends(still, tmp_path / "t.csv", tmp_path / "cells.csv", label_key="branch")
    for row in outcome.figures["genes"]:
        assert row["gene"] in set(found["gene"])
        assert set(row["change"]) == set(names.values())
