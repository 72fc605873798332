import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from cfmcli.errors import (
    CfmWarning,
    CheckpointError,
    ConfigError,
    DataError,
    NumericsError,
    OutputExistsError,
)
from cfmcli.flows.dynamics.choice import with_tolerances
from cfmcli.requests import (
    Integration,
    InterpolateRequest,
    LikelihoodRequest,
    Outcome,
    Runtime,
    SampleRequest,
    Scoring,
    Shard,
    TransportRequest,
)
from cfmcli.stored import load
from cfmcli.workflows import interpolate, likelihood, points, sample, transport
from cfmcli.workflows.fit import ignore
from tests.conftest import Fit

TABLES = ("csv", "tsv", "csv.gz", "parquet")
VERBS: dict[type, Callable[..., Outcome]] = {
    SampleRequest: sample.sample,
    TransportRequest: transport.transport,
    LikelihoodRequest: likelihood.likelihood,
    InterpolateRequest: interpolate.interpolate,
}
STEPS = Integration("rk4:steps=8")


def do(request: Any, *, seed: int = 0, force: bool = False) -> Outcome:
    """Carry out a request."""
    where = Runtime(device="cpu", threads=1, seed=seed, force=force)
    return VERBS[type(request)](request, where, ignore)


def frame(path: str | Path) -> pd.DataFrame:
    """A table of any suffix."""
    name = str(path)
    if name.endswith("parquet"):
        return pd.read_parquet(name)
    return pd.read_csv(name, sep="\t" if ".tsv" in name else ",")


def digest(path: Path) -> str:
    """What a file or a folder holds."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()


@pytest.fixture(scope="module")
def genes(samples: Path) -> list[str]:
    """The thirty genes."""
    return list(pd.read_csv(samples / "day0.csv", nrows=1).columns[1:-1])


# Sample


@pytest.mark.parametrize("suffix", TABLES)
def test_samples_are_tidy(suffix: str, toy_run: Path, tmp_path: Path) -> None:
    """Columns id, time, features; ids count from 0; the points are the model's own."""
    out = tmp_path / f"s.{suffix}"
    outcome = do(SampleRequest(str(toy_run), str(out), 17))
    found = frame(out)
    assert list(found.columns) == ["id", "time", "x", "y"]
    assert found["id"].tolist() == list(map(type(found["id"][0]), range(17)))
    assert (found["time"] == 1.0).all()
    expected = load(toy_run).sample(17, seed=0)
    np.testing.assert_allclose(found[["x", "y"]], expected, rtol=1e-5, atol=1e-6)
    assert outcome.outputs == {"samples": str(out)}
    assert outcome.figures["nfe"] > 0


def test_samples_at_the_first_time_are_source_points(
    days_run: Path, tmp_path: Path, genes: list[str], samples: Path
) -> None:
    """No point is invented: they are resampled from the first cloud, in equal shares."""
    do(SampleRequest(str(days_run), str(tmp_path / "s.csv"), 600, time="0"))
    found = frame(tmp_path / "s.csv")[genes].to_numpy()
    source = frame(samples / "day0.csv")[genes].to_numpy()
    near = ((found[:, None] - source[None]) ** 2).sum(axis=2)
    assert near.min(axis=1).max() < 1e-8
    assert (np.bincount(near.argmin(axis=1), minlength=300) == 2).all()


def test_samples_of_a_generator_start_from_noise(normal_run: Path, tmp_path: Path) -> None:
    """At the first time they are standard normal in flow coordinates."""
    do(SampleRequest(str(normal_run), str(tmp_path / "s.csv"), 4000, time="gaussian"))
    x = load(normal_run).encode(frame(tmp_path / "s.csv")[["x", "y"]].to_numpy())
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.08)
    np.testing.assert_allclose(np.cov(x.T), np.eye(2), atol=0.1)


def test_arrays_hold_the_points_alone(toy_run: Path, tmp_path: Path) -> None:
    """npy warns of what it leaves out; npz keeps all; both hold the same points."""
    with pytest.warns(CfmWarning, match="npz"):
        do(SampleRequest(str(toy_run), str(tmp_path / "s.npy"), 9))
    do(SampleRequest(str(toy_run), str(tmp_path / "s.npz"), 9))
    packed = np.load(tmp_path / "s.npz", allow_pickle=False)
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), packed["X"])
    assert packed["features"].tolist() == ["x", "y"]
    assert packed["time"].tolist() == [1.0] * 9


def test_samples_as_anndata(cells_run: Path, tmp_path: Path) -> None:
    """Gene space in X, PCA space in obsm, loadings as scanpy writes them, time as categorical."""
    do(SampleRequest(str(cells_run), str(tmp_path / "s.h5ad"), 12, time="2.5"))
    data = anndata.read_h5ad(tmp_path / "s.h5ad")
    model = load(cells_run)
    assert data.var_names.tolist() == list(model.features)
    assert data.obs["time"].cat.ordered
    assert data.obs["time"].cat.categories.tolist() == [2.5]
    assert (data.obs["cfm_time"] == 2.5).all()
    assert data.obsm["X_rep"].shape == (12, 3)
    np.testing.assert_allclose(
        np.asarray(data.X), model.chain.inverse(data.obsm["X_rep"]), rtol=1e-5, atol=1e-5
    )
    assert data.varm["PCs"].shape == (30, 3)
    assert data.uns["cfm"]["verb"] == "sample"


# Transport


@pytest.mark.parametrize("suffix", TABLES)
def test_transport_keeps_the_table(
    suffix: str, days_run: Path, tmp_path: Path, samples: Path, genes: list[str]
) -> None:
    """The same columns, rows, ids and annotations in their order; only features move."""
    given = frame(samples / "day0.csv")
    given = given.assign(note=[f"n,{k}" for k in range(len(given))], score=np.arange(300) / 7)
    given = given.sample(frac=1.0, random_state=0)[[*given.columns[::-1]]]
    given.to_csv(tmp_path / "in.csv", index=False)
    out = tmp_path / f"out.{suffix}"
    outcome = do(TransportRequest(str(days_run), str(tmp_path / "in.csv"), str(out)))
    found = frame(out)
    assert list(found.columns) == list(given.columns)
    for name in ("cell", "branch", "note", "score"):
        assert found[name].tolist() == pytest.approx(given[name].tolist())
    model = load(days_run)
    expected = model.transport(given[list(model.features)].to_numpy())
    np.testing.assert_allclose(found[list(model.features)], expected, rtol=1e-5, atol=1e-5)
    assert outcome.figures["points"] == 300
    assert {"mean_cost", "path_energy", "nfe", "w1", "w2"} <= outcome.figures.keys()


def test_notes_beside_features_of_odd_names_stay_as_they_are(tmp_path: Path, fit_run: Fit) -> None:
    """Numeric annotations of a later file are no features, whatever the features are called."""
    odd = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["1,2-diol", "c*"])
    for name, points_ in (("a", odd), ("b", odd + 1)):
        points_.to_csv(tmp_path / f"{name}.csv", index=False)
    fit_run(tmp_path / "run", tmp_path / "a.csv", tmp_path / "b.csv")
    noted = odd.assign(score=[np.nan, *range(39)], code=123456789012345678)
    for suffix in ("csv", "parquet"):
        path, out = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
        getattr(noted, f"to_{suffix}")(path, index=False)
        do(TransportRequest(str(tmp_path / "run"), str(path), str(out)))
        found = frame(out)
        np.testing.assert_array_equal(found["score"], noted["score"])
        assert found["code"].tolist() == noted["code"].tolist()


def test_transport_figures_are_what_they_say(toy_run: Path, tmp_path: Path, samples: Path) -> None:
    """Mean cost in flow coordinates; path energy is at least that, by Jensen; W1 <= W2."""
    out = tmp_path / "o.csv"
    figures = do(TransportRequest(str(toy_run), str(samples / "source.csv"), str(out))).figures
    model = load(toy_run)
    x = model.encode(frame(samples / "source.csv").to_numpy())
    y = model.encode(frame(out).to_numpy())
    assert figures["mean_cost"] == pytest.approx(((x - y) ** 2).sum(axis=1).mean(), rel=1e-4)
    assert figures["path_energy"] >= figures["mean_cost"] * (1 - 1e-4)
    observed = model.encode(frame(samples / "target.csv").to_numpy())
    pairing = np.sqrt(((y - observed[:500]) ** 2).sum(axis=1).mean())
    assert 0 < figures["w1"] <= figures["w2"] <= pairing + 0.2


def test_transport_there_and_back(toy_run: Path, tmp_path: Path, samples: Path) -> None:
    """Backward undoes forward."""
    there, back = str(tmp_path / "there.csv"), str(tmp_path / "back.csv")
    how = Integration("dopri5", atol=1e-8, rtol=1e-8)
    do(TransportRequest(str(toy_run), str(samples / "source.csv"), there, integration=how))
    do(TransportRequest(str(toy_run), there, back, start="1", end="0", integration=how))
    np.testing.assert_allclose(frame(back), frame(samples / "source.csv"), atol=1e-6)
    moved = np.abs(frame(there).to_numpy() - frame(back).to_numpy()).max()
    assert moved > 1


def test_transport_against_a_file(toy_run: Path, tmp_path: Path, samples: Path) -> None:
    """A cloud that is where the points arrive is at distance zero."""
    source, out = str(samples / "source.csv"), str(tmp_path / "o.csv")
    do(TransportRequest(str(toy_run), source, out))
    again = TransportRequest(str(toy_run), source, str(tmp_path / "p.csv"), against=out)
    assert do(again).figures["w1"] == pytest.approx(0, abs=1e-5)
    few = TransportRequest(str(toy_run), source, str(tmp_path / "q.csv"), max_points=40)
    assert do(few).figures["scored_points"] == [40, 40]


def test_transport_of_an_array(toy_run: Path, tmp_path: Path, samples: Path) -> None:
    """Nameless columns stand for the features in their order; their number must fit."""
    x = frame(samples / "source.csv").to_numpy()
    np.save(tmp_path / "in.npy", x)
    do(TransportRequest(str(toy_run), str(tmp_path / "in.npy"), str(tmp_path / "out.npy")))
    expected = load(toy_run).transport(x)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-5, atol=1e-6)
    np.save(tmp_path / "wide.npy", np.zeros((4, 3)))
    with pytest.raises(DataError, match="3 columns, the model expects 2"):
        do(TransportRequest(str(toy_run), str(tmp_path / "wide.npy"), str(tmp_path / "w.npy")))


def test_a_missing_feature_is_named(days_run: Path, tmp_path: Path, samples: Path) -> None:
    """With the file, and nothing is written."""
    frame(samples / "day0.csv").drop(columns="Stem3").to_csv(tmp_path / "in.csv", index=False)
    with pytest.raises(DataError, match="Stem3"):
        do(TransportRequest(str(days_run), str(tmp_path / "in.csv"), str(tmp_path / "o.csv")))
    assert not (tmp_path / "o.csv").exists()


@pytest.fixture(scope="module")
def carried(cells_run: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cells of day 0, as AnnData with something in every slot, carried to the last day."""
    folder = tmp_path_factory.mktemp("carried")
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    data = data[data.obs["day"] == 0].copy()
    data.obsm["X_umap"] = np.arange(600.0).reshape(300, 2)
    data.uns["palette"] = {"arm_a": "red"}
    data.var["length"] = np.arange(30)
    data.write_h5ad(folder / "in.h5ad")
    do(TransportRequest(str(cells_run), str(folder / "in.h5ad"), str(folder / "out.h5ad")))
    return folder


def test_transport_keeps_the_anndata(carried: Path) -> None:
    """Everything that was there is there, unchanged."""
    before, after = (anndata.read_h5ad(carried / name) for name in ("in.h5ad", "out.h5ad"))
    kept = after.obs.drop(columns="day").rename(columns={"day_label": "day"})
    pd.testing.assert_frame_equal(kept[before.obs.columns], before.obs)
    pd.testing.assert_frame_equal(after.var[before.var.columns], before.var)
    assert (after.X != before.X).nnz == 0
    np.testing.assert_array_equal(after.obsm["X_umap"], before.obsm["X_umap"])
    assert after.uns["palette"] == before.uns["palette"]


def test_transport_adds_the_contracted_keys(carried: Path, cells_run: Path) -> None:
    """obsm, layers, varm and uns by the names that scanpy, scVelo and CellRank look for."""
    after = anndata.read_h5ad(carried / "out.h5ad")
    assert set(after.obsm) == {"X_umap", "X_cfm", "X_pca", "velocity_pca"}
    assert {"cfm", "velocity"} <= set(after.layers)
    assert set(after.varm) == {"PCs", "X_mean"}
    assert set(after.uns["cfm"]) >= {"verb", "run", "version", "seed", "start", "end", "nfe"}
    assert all(isinstance(key, str) for key in after.uns["cfm"])
    model = load(cells_run)
    logged = np.log1p(after.X.toarray())
    scores = (logged - after.varm["X_mean"].ravel()) @ after.varm["PCs"]
    np.testing.assert_allclose(after.obsm["X_pca"], scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(after.layers["cfm"], model.transport(after.X), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        np.log1p(after.layers["cfm"]),
        after.obsm["X_cfm"] @ after.varm["PCs"].T + after.varm["X_mean"].ravel(),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_pca_is_described_as_scanpy_does(carried: Path, samples: Path) -> None:
    """uns["pca"] holds the explained variances of the points that the PCA was fitted to."""
    from sklearn.decomposition import PCA

    after = anndata.read_h5ad(carried / "out.h5ad")
    counts = anndata.read_h5ad(samples / "timecourse.h5ad").X.toarray()
    expected = PCA(3, svd_solver="full").fit(np.log1p(counts))
    found = after.uns["pca"]
    np.testing.assert_allclose(found["variance"], expected.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(
        found["variance_ratio"], expected.explained_variance_ratio_, rtol=1e-4
    )


def test_the_time_of_a_result_is_an_ordered_categorical(carried: Path) -> None:
    """Of floats, the label and the number beside it, as CellRank and WOT want it."""
    obs = anndata.read_h5ad(carried / "out.h5ad").obs
    assert obs["day"].cat.ordered
    assert obs["day"].cat.categories.dtype.kind == "f"
    assert obs["day"].astype(float).tolist() == obs["cfm_time"].tolist() == [0.0] * 300
    assert obs["day_label"].tolist() == [0.0] * 300


def test_the_work_of_others_is_kept(carried: Path, cells_run: Path, tmp_path: Path) -> None:
    """Velocities that were there stay; ours stand beside them, and are replaced the next time."""
    data = anndata.read_h5ad(carried / "in.h5ad")
    data.layers["velocity"] = np.full(data.shape, 7.0)
    data.obsm["velocity_pca"] = np.full((300, 3), 7.0)
    data.write_h5ad(tmp_path / "in.h5ad")
    source = tmp_path / "in.h5ad"
    for name in ("one.h5ad", "two.h5ad"):
        do(TransportRequest(str(cells_run), str(source), str(tmp_path / name)))
        source = tmp_path / name
    one, two = (anndata.read_h5ad(tmp_path / name) for name in ("one.h5ad", "two.h5ad"))
    plain = anndata.read_h5ad(carried / "out.h5ad")
    for data in (one, two):
        assert (data.layers["velocity"] == 7).all()
        assert (data.obsm["velocity_pca"] == 7).all()
        np.testing.assert_array_equal(data.layers["cfm_velocity"], plain.layers["velocity"])
        np.testing.assert_array_equal(data.obsm["cfm_velocity_pca"], plain.obsm["velocity_pca"])
        assert data.var["cfm_velocity_genes"].all()
        assert data.uns["cfm_velocity_params"]["mode"] == "cfm"
    assert list(one.layers) == list(two.layers)
    assert list(one.obs) == list(two.obs)


def test_genes_find_their_places(carried: Path, cells_run: Path, tmp_path: Path) -> None:
    """In a file with its genes in another order, and more of them, as in the plain one."""
    data = anndata.read_h5ad(carried / "in.h5ad")
    more = anndata.AnnData(np.ones((300, 1), "f4"), obs=data.obs, var=pd.DataFrame(index=["Other"]))
    order = np.random.default_rng(0).permutation([*data.var_names, "Other"])
    wide = anndata.concat([data, more], axis=1, merge="same")[:, order].copy()
    wide.write_h5ad(tmp_path / "in.h5ad")
    do(TransportRequest(str(cells_run), str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad")))
    found, plain = (
        anndata.read_h5ad(path) for path in (tmp_path / "out.h5ad", carried / "out.h5ad")
    )
    for layer in ("cfm", "velocity", "Ms"):
        np.testing.assert_array_equal(found[:, plain.var_names].layers[layer], plain.layers[layer])
    np.testing.assert_array_equal(found[:, plain.var_names].varm["PCs"], plain.varm["PCs"])
    assert np.isnan(found[:, "Other"].layers["cfm"]).all()
    assert found.var["velocity_genes"].to_numpy().tolist() == (order != "Other").tolist()


@pytest.mark.slow
def test_scanpy_goes_on_from_the_result(carried: Path) -> None:
    """Neighbours on X_pca work as they are."""
    import scanpy as sc

    after = sc.read_h5ad(carried / "out.h5ad")
    sc.pp.neighbors(after, use_rep="X_pca", n_neighbors=5)
    assert after.obsp["connectivities"].shape == (300, 300)


def test_the_velocity_is_the_derivative_of_transport(carried: Path, cells_run: Path) -> None:
    """velocity_pca and layers["velocity"] are the rate of the carried points on the clock."""
    after = anndata.read_h5ad(carried / "out.h5ad")
    model, h = load(cells_run), 1e-3
    x = np.asarray(after.obsm["X_pca"])
    tight = with_tolerances("dopri5", 1e-10, 1e-10)
    end = model.flow.paths(x, (0.0, h), tight).points[-1]
    scale = np.abs(after.obsm["velocity_pca"]).max()
    np.testing.assert_allclose(after.obsm["velocity_pca"], (end - x) / h, atol=0.01 * scale)
    moved = (model.chain.inverse(end) - model.chain.inverse(x)) / h
    scale = np.abs(moved).max()
    np.testing.assert_allclose(after.layers["velocity"], moved, atol=0.01 * scale)


@pytest.mark.parametrize(("end", "h"), [("5", 1e-3), ("0", -1e-3)])
def test_the_velocity_is_per_unit_of_the_clock(
    end: str, h: float, cells_run: Path, samples: Path, tmp_path: Path
) -> None:
    """Whatever the length of the gap: day 1 stands between a gap of 1 and one of 1.5."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    data[data.obs["day"] == 1].copy().write_h5ad(tmp_path / "in.h5ad")
    out = tmp_path / "o.h5ad"
    do(TransportRequest(str(cells_run), str(tmp_path / "in.h5ad"), str(out), "1", end))
    found = anndata.read_h5ad(out).obsm
    tight = with_tolerances("dopri5", 1e-10, 1e-10)
    paths = load(cells_run).flow.paths(np.asarray(found["X_pca"]), (1.0, 1.0 + h), tight)
    rate = (paths.points[-1] - found["X_pca"]) / h
    np.testing.assert_allclose(found["velocity_pca"], rate, atol=0.02 * np.abs(rate).max())


def test_transport_in_a_representation(samples: Path, tmp_path: Path, fit_run: Any) -> None:
    """With use_rep the flow lives in obsm, and only obsm gets results."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    data.obsm["X_scvi"] = np.random.default_rng(0).normal(size=(len(data), 2)).astype("f4")
    data.obsm["X_scvi"] += np.asarray(data.obs["day"], "f4")[:, None]
    data.write_h5ad(tmp_path / "in.h5ad")
    fit_run(tmp_path / "r", tmp_path / "in.h5ad", time_key="day", use_rep="X_scvi")
    early = data[data.obs["day"] == 0].copy()
    early.write_h5ad(tmp_path / "early.h5ad")
    out = tmp_path / "out.h5ad"
    do(TransportRequest(str(tmp_path / "r"), str(tmp_path / "early.h5ad"), str(out)))
    after = anndata.read_h5ad(out)
    assert set(after.obsm) == {"X_scvi", "X_cfm", "velocity_scvi"}
    assert not after.layers
    model = load(tmp_path / "r")
    expected = model.transport(early.obsm["X_scvi"])
    np.testing.assert_allclose(after.obsm["X_cfm"], expected, rtol=1e-4, atol=1e-4)
    do(SampleRequest(str(tmp_path / "r"), str(tmp_path / "s.h5ad"), 5))
    drawn = anndata.read_h5ad(tmp_path / "s.h5ad")
    np.testing.assert_array_equal(drawn.obsm["X_rep"], drawn.obsm["X_scvi"])


def test_points_of_other_times_are_carried_with_a_warning(
    cells_run: Path, samples: Path, tmp_path: Path
) -> None:
    """All are carried, and it is said."""
    whole = str(samples / "timecourse.h5ad")
    with pytest.warns(CfmWarning, match="1200 points of other times"):
        do(TransportRequest(str(cells_run), whole, str(tmp_path / "o.h5ad"), integration=STEPS))


# Likelihood


@pytest.mark.parametrize("suffix", TABLES)
def test_likelihood_columns(suffix: str, days_run: Path, tmp_path: Path, samples: Path) -> None:
    """id, annotations, log_prob; the standard error only where there is one."""
    few = frame(samples / "day5.csv").head(40)
    few.to_csv(tmp_path / "in.csv", index=False)
    request = LikelihoodRequest(
        str(days_run),
        str(tmp_path / "in.csv"),
        str(tmp_path / f"o.{suffix}"),
        integration=STEPS,
        scoring=Scoring(base="gaussian"),
    )
    outcome = do(request)
    found = frame(tmp_path / f"o.{suffix}")
    assert list(found.columns) == ["id", "branch", "log_prob"]
    assert found["id"].tolist() == few["cell"].tolist()
    assert found["branch"].tolist() == few["branch"].tolist()
    figures = outcome.figures
    assert figures["mean_log_prob"] == pytest.approx(found["log_prob"].mean(), rel=1e-5)
    assert figures["cross_entropy"] == -figures["mean_log_prob"]
    bits = -found["log_prob"].mean() / (30 * np.log(2))
    assert figures["bits_per_dim"] == pytest.approx(bits, rel=1e-5)
    assert (figures["coordinates"], figures["divergence"]) == ("data units", "exact")
    assert figures["nfe"] > 0


def test_hutchinson_has_an_honest_standard_error(
    days_run: Path, tmp_path: Path, samples: Path
) -> None:
    """A column log_prob_se, and estimates within a few of them of the exact values."""
    few = frame(samples / "day5.csv").head(60)
    few.to_csv(tmp_path / "in.csv", index=False)
    outs = [tmp_path / "exact.csv", tmp_path / "estimated.csv"]
    for out, spec in zip(outs, ("exact", "hutchinson:probes=16"), strict=True):
        do(
            LikelihoodRequest(
                str(days_run),
                str(tmp_path / "in.csv"),
                str(out),
                integration=STEPS,
                scoring=Scoring(base="gaussian", divergence=spec),
            )
        )
    exact, estimated = map(frame, outs)
    assert list(estimated.columns) == ["id", "branch", "log_prob", "log_prob_se"]
    z = (estimated["log_prob"] - exact["log_prob"]) / estimated["log_prob_se"]
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.45)
    assert np.abs(z).max() < 6


def test_likelihood_of_an_anndata(cells_run: Path, carried: Path, tmp_path: Path) -> None:
    """Into obs of a copy, in PCA space, and said so."""
    out = tmp_path / "o.h5ad"
    request = LikelihoodRequest(
        str(cells_run),
        str(carried / "in.h5ad"),
        str(out),
        time="0",
        scoring=Scoring(base="gaussian"),
    )
    figures = do(request).figures
    after = anndata.read_h5ad(out)
    assert after.uns["cfm"]["coordinates"] == figures["coordinates"] == "PCA space"
    assert after.obs["cfm_log_prob"].mean() == pytest.approx(figures["mean_log_prob"], rel=1e-5)
    assert {"day", "branch"} <= set(after.obs)


def test_likelihood_at_the_source_is_the_bases(
    toy_run: Path, tmp_path: Path, samples: Path
) -> None:
    """At the first time nothing flows: a Gaussian base has its closed form in data units."""
    from scipy.stats import multivariate_normal

    x = frame(samples / "source.csv")
    request = LikelihoodRequest(
        str(toy_run),
        str(samples / "source.csv"),
        str(tmp_path / "o.csv"),
        "0",
        Scoring(base="gaussian"),
    )
    do(request)
    found = frame(tmp_path / "o.csv")["log_prob"]
    for ddof in (0, 1):
        law = multivariate_normal(x.mean(), np.cov(x.T.to_numpy(), ddof=ddof))
        if np.allclose(found, law.logpdf(x.to_numpy()), atol=0.02):
            return
    pytest.fail("not the density of the fitted normal")


@pytest.mark.parametrize("method", ["otcfm", "wfrfm"])
def test_points_are_scored_at_their_own_times(
    method: str, samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Each has the density of its own day, in the order of the file, in shards too."""
    data, run = str(samples / "timecourse.h5ad"), str(tmp_path / "run")
    how: dict[str, Any] = {"transform": "log1p,pca:n=3", "time_key": "day", "steps": 30}
    fit_run(tmp_path / "run", data, method=method, **how)
    out, scoring = str(tmp_path / "own.csv"), Scoring(base="gaussian")
    request = LikelihoodRequest(run, data, out, "own", scoring, Integration("rk4:steps=4"))
    assert do(request).figures["time"] == [0, 1, 2.5, 5]
    own, half = frame(out), str(tmp_path / "half.csv")
    assert own["id"].tolist() == anndata.read_h5ad(data).obs_names.tolist()
    do(replace(request, output=half, shard=Shard(2, 2)))
    part = frame(half)
    assert own["log_prob"].tail(len(part)).tolist() == part["log_prob"].tolist()
    for day in (0.0, 2.5, 5.0):
        at = str(tmp_path / f"{day}.csv")
        with pytest.warns(CfmWarning, match="points of other times than .* with --time own"):
            do(replace(request, output=at, time=f"{day:g}"))
        there = own["day"] == day
        expected = frame(at).loc[there, "log_prob"]
        np.testing.assert_allclose(own.loc[there, "log_prob"], expected, atol=1e-3)
    bare = replace(request, data=str(samples / "day0.csv"), output=str(tmp_path / "n.csv"))
    with pytest.raises(ConfigError, match=r"--time own: .* no column of times"):
        do(bare)


# Interpolate


def test_trajectories_are_tidy(
    days_run: Path, tmp_path: Path, samples: Path, genes: list[str]
) -> None:
    """Columns trajectory, time, features, annotations; every start at every time."""
    out = tmp_path / "o.csv"
    request = InterpolateRequest(str(days_run), str(out), times=("2.5", "0", "0.5"))
    outcome = do(request)
    found = frame(out)
    assert list(found.columns) == ["trajectory", "time", *genes, "branch"]
    assert found.groupby("time").size().to_dict() == {0.0: 300, 0.5: 300, 2.5: 300}
    start = frame(samples / "day0.csv").set_index("cell")
    at_start = found[found["time"] == 0].set_index("trajectory")
    assert at_start.index.tolist() == start.index.tolist()
    np.testing.assert_allclose(at_start[genes], start[genes], atol=1e-5)
    assert at_start["branch"].tolist() == start["branch"].tolist()
    model = load(days_run)
    expected = model.transport(start[genes].to_numpy(), 0.0, 2.5)
    np.testing.assert_allclose(found[found["time"] == 2.5][genes], expected, atol=2e-3)
    assert outcome.figures["rows"] == 900


def test_frames_are_evenly_spaced(toy_run: Path, tmp_path: Path) -> None:
    """From the first time to the last."""
    do(InterpolateRequest(str(toy_run), str(tmp_path / "o.csv"), frames=5))
    assert sorted(set(frame(tmp_path / "o.csv")["time"])) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_interpolation_from_points_of_a_file(
    days_run: Path, tmp_path: Path, samples: Path, genes: list[str]
) -> None:
    """From a later time, backward and forward at once; annotations travel with the points."""
    given = frame(samples / "day2.5.csv").head(20).assign(score=np.arange(20.0))
    given.to_csv(tmp_path / "in.csv", index=False)
    do(
        InterpolateRequest(
            str(days_run),
            str(tmp_path / "o.csv"),
            str(tmp_path / "in.csv"),
            times=("0", "2.5", "5"),
            start="2.5",
        )
    )
    found = frame(tmp_path / "o.csv")
    assert list(found.columns) == ["trajectory", "time", *genes, "branch", "score"]
    same = found[found["time"] == 2.5]
    np.testing.assert_allclose(same[genes], given[genes], atol=1e-5)
    model = load(days_run)
    for end in (0.0, 5.0):
        expected = model.transport(given[genes].to_numpy(), 2.5, end)
        np.testing.assert_allclose(found[found["time"] == end][genes], expected, atol=2e-3)
        assert found[found["time"] == end]["score"].tolist() == list(range(20))


def test_populations_come_from_the_nearest_earlier_snapshot(
    days_run: Path, tmp_path: Path, genes: list[str]
) -> None:
    """The kept snapshots alone, and at their own time they are themselves."""
    out = tmp_path / "o.csv"
    request = InterpolateRequest(str(days_run), str(out), times=("1", "2.5", "3"), population=True)
    (note,) = do(request).notes
    assert note.startswith("at 2.5: the observed points themselves")
    found = frame(out)
    assert found.groupby("time").size().to_dict() == {1.0: 300, 2.5: 400, 3.0: 400}
    prefix = found["trajectory"].str.split("_").str[0]
    assert prefix.groupby(found["time"]).unique().map(list).to_dict() == {
        1.0: ["d0"],
        2.5: ["d2.5"],
        3.0: ["d2.5"],
    }
    model = load(days_run)
    own = model.chain.inverse(np.asarray(model.kept[1].points))
    np.testing.assert_allclose(found[found["time"] == 2.5][genes], own, atol=1e-5)


@pytest.mark.parametrize("sides", ["", "before", "both"])
def test_populations_come_from_both_sides_in_their_shares(
    sides: str, samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Of auto, or where it is asked for: 1 - s of the earlier snapshot, s of the later one."""
    days = [samples / f"day{d}.csv" for d in ("0", "1", "5")]
    fit_run(tmp_path / "r", *days, times=(0, 1, 5), method="otcfm" if sides else "auto")
    times = ("1", "2", "3", "4.9")
    request = InterpolateRequest(
        *(str(tmp_path / "r"), str(tmp_path / "o.csv")), times=times, population=True, sides=sides
    )
    do(request)
    found = frame(tmp_path / "o.csv")
    assert not found.duplicated(["trajectory", "time"]).any()
    prefix = found["trajectory"].str.split("_").str[0]
    counts = Counter(zip(found["time"], prefix, strict=True))
    before, after = 340, 460
    if sides == "before":
        assert counts == {(float(t), "d1"): before for t in times}
        return
    assert counts[1.0, "d1"] == before
    for time, share in ((2.0, 0.25), (3.0, 0.5), (4.9, 0.975)):
        early, late = counts[time, "d1"], counts[time, "d5"]
        assert late / (early + late) == pytest.approx(share, abs=2e-3)
        assert early == before or late == after
    model = load(tmp_path / "r")
    there = found[(found["time"] == 3.0) & (prefix == "d5")]
    start = pd.read_csv(samples / "day5.csv").set_index("cell").loc[there["trajectory"]]
    genes = list(model.features)
    back = model.transport(start[genes].to_numpy(), 5.0, 3.0)
    np.testing.assert_allclose(there[genes], back, atol=2e-3)


def test_populations_of_weighted_snapshots(tmp_path: Path, fit_run: Fit) -> None:
    """Their weights, as they are written, give each side its share; so do masses that grow."""
    rng = np.random.default_rng(0)
    files, parts = [], {}
    for day, n in ((0, 40), (1, 60), (3, 90)):
        heavy = rng.integers(1, 9, n).astype(float)
        cells = [f"d{day}_{k}" for k in range(n)]
        parts[f"d{day}"] = pd.DataFrame({"cell": cells, "x": rng.normal(day, 1, n), "w": heavy})
        files.append(tmp_path / f"{day}.csv")
        parts[f"d{day}"].assign(y=rng.normal(size=n)).to_csv(files[-1], index=False)
    fit_run(tmp_path / "r", *files, times=(0, 1, 3), weight_key="w", steps=2)
    times, out = ("0.5", "1", "1.5"), str(tmp_path / "o.csv")
    request = InterpolateRequest(
        *(str(tmp_path / "r"), out), times=times, population=True, sides="both"
    )
    outcome = do(request)
    found = frame(tmp_path / "o.csv")
    side = found["trajectory"].str.split("_").str[0]
    mass = found["w"].groupby([found["time"], side]).sum()
    assert mass[1.0, "d1"] == parts["d1"]["w"].sum()
    for time, before, after, share in ((0.5, "d0", "d1", 0.5), (1.5, "d1", "d3", 0.25)):
        early, late = mass[time, before], mass[time, after]
        assert late / (early + late) == pytest.approx(share, abs=4 / (early + late))
        whole = (parts[before]["w"].sum(), parts[after]["w"].sum())
        assert early == whole[0] or late == whole[1]
    assert outcome.figures["points"] == found["trajectory"].nunique() < 190
    assert outcome.figures["rows"] == len(found)
    dry = do(replace(request, output=f"{out}.csv", dry_run=True))
    assert dry.figures["points"] == outcome.figures["points"]


@pytest.mark.parametrize("sde", ["", "0.1"])
def test_points_start_at_their_own_times(
    sde: str, samples: Path, tmp_path: Path, fit_run: Fit
) -> None:
    """Each goes, and has the velocity and the growth, as if it were carried from its own day."""
    data, run = samples / "timecourse.h5ad", str(tmp_path / "run")
    how: dict[str, Any] = {"transform": "log1p,pca:n=3", "time_key": "day", "steps": 30}
    fit_run(tmp_path / "run", data, method="sf2m" if sde else "wfrfm", **how)
    moving = Integration("euler-maruyama:steps=2" if sde else "rk4:steps=4", sde=sde)
    out = str(tmp_path / "own.h5ad")
    outcome = do(TransportRequest(run, str(data), out, start="own", integration=moving))
    assert outcome.figures["from"] == [0, 1, 2.5, 5]
    assert "w1" not in outcome.figures
    own = anndata.read_h5ad(out)
    assert own.uns["cfm"]["start"] == "own"
    half = str(tmp_path / "half.h5ad")
    shard = Shard(2, 2)
    do(TransportRequest(run, str(data), half, start="own", integration=moving, shard=shard))
    part = anndata.read_h5ad(half)
    np.testing.assert_array_equal(part.obsm["X_cfm"], own[part.obs_names].obsm["X_cfm"])
    last = own[own.obs["day"] == 5]
    np.testing.assert_array_equal(last.obsm["X_cfm"], last.obsm["X_pca"])
    assert np.linalg.norm(last.obsm["velocity_pca"], axis=1).min() > 0
    for day in ("0", "2.5", "5"):
        at = str(tmp_path / f"{day}.h5ad")
        with pytest.warns(CfmWarning, match="points of other times"):
            do(TransportRequest(run, str(data), at, start=day, integration=moving))
        one, there = anndata.read_h5ad(at), (own.obs["cfm_time"] == float(day)).to_numpy()
        keys = ["velocity_pca", *([] if sde else ["X_cfm"])]
        for key in keys:
            np.testing.assert_allclose(own.obsm[key][there], one.obsm[key][there], atol=1e-4)
        for name in () if sde else ("cfm_growth_rate", "cfm_log_mass"):
            np.testing.assert_allclose(own.obs[name][there], one.obs[name][there], atol=1e-4)


def test_what_own_times_cannot_mean_is_refused(
    cells_run: Path, toy_run: Path, samples: Path, tmp_path: Path
) -> None:
    """No times, other times, and scores of several times at once."""
    out, data = str(tmp_path / "o.csv"), samples / "timecourse.h5ad"
    with pytest.raises(ConfigError, match=r"--from own: .* no column of times"):
        do(TransportRequest(str(toy_run), str(samples / "source.csv"), out, start="own"))
    with pytest.raises(ConfigError, match="leave it out of shards, and of --from own"):
        do(TransportRequest(str(cells_run), str(data), out, start="own", against=str(data)))
    cells = anndata.read_h5ad(data)[:3].copy()
    cells.obs["day"] = [0, 1, 7]
    cells.write_h5ad(tmp_path / "c.h5ad")
    with pytest.raises(DataError, match="'day' holds 7"):
        do(TransportRequest(str(cells_run), str(tmp_path / "c.h5ad"), out, start="own"))


def test_points_of_the_first_time_alone_start(
    cells_run: Path, samples: Path, tmp_path: Path
) -> None:
    """That is said where nobody chose it, and an id of another time is told with its time."""
    data, out = str(samples / "timecourse.h5ad"), str(tmp_path / "o.csv")
    request = InterpolateRequest(str(cells_run), out, data, ("1",), integration=STEPS)
    with pytest.warns(CfmWarning, match=r"300 of 1500 points of .*h5ad are of time 0, .* --from"):
        do(request)
    do(replace(request, start="0"), force=True)
    (tmp_path / "ids.txt").write_text("d5_007\n")
    chosen = replace(request, output=str(tmp_path / "c.csv"), cells=str(tmp_path / "ids.txt"))
    with pytest.raises(DataError, match=r"'d5_007', which is of time 5: give --from 5\."):
        do(chosen)
    do(replace(chosen, start="5"))


def test_starting_points_are_chosen(days_run: Path, tmp_path: Path) -> None:
    """By id in the order of the list, by a query on annotations, or both."""
    (tmp_path / "ids.txt").write_text("d0_007\n\nd0_002\n")
    ids = str(tmp_path / "ids.txt")
    do(InterpolateRequest(str(days_run), str(tmp_path / "a.csv"), times=("1",), cells=ids))
    assert frame(tmp_path / "a.csv")["trajectory"].tolist() == ["d0_007", "d0_002"]
    do(
        InterpolateRequest(
            str(days_run),
            str(tmp_path / "b.csv"),
            times=("5",),
            start="2.5",
            where="branch == 'arm_b'",
        )
    )
    found = frame(tmp_path / "b.csv")
    assert set(found["branch"]) == {"arm_b"}
    stored = load(days_run).cloud(2.5)
    assert stored is not None
    assert len(found) == (stored.obs["branch"] == "arm_b").sum()
    for name, message in (
        ("d0_7", r"1 of 2 ids .* of time 0, .* 'd0_7'\. Did you mean 'd0_\d+'\?$"),
        ("d5_007", r"'d5_007', which is of time 5: give --from 5\."),
        ("zzz", r"'zzz', which no point has: give ids such as 'd0_\d+'"),
    ):
        (tmp_path / "ids.txt").write_text(f"d0_007\n{name}\n")
        with pytest.raises(DataError, match=message):
            do(InterpolateRequest(str(days_run), str(tmp_path / "c.csv"), times=("1",), cells=ids))
    for where, error in (
        ("branch = 3", ConfigError),
        ("nothing > 3", ConfigError),
        ("branch == 'no'", DataError),
        ("@__import__('os')", ConfigError),
    ):
        with pytest.raises(error):
            do(
                InterpolateRequest(
                    str(days_run), str(tmp_path / "c.csv"), times=("1",), where=where
                )
            )
    assert not (tmp_path / "c.csv").exists()


def test_trajectories_as_anndata(cells_run: Path, tmp_path: Path) -> None:
    """One AnnData: trajectory, time and annotations in obs, genes in X, velocity in layers."""
    do(InterpolateRequest(str(cells_run), str(tmp_path / "o.h5ad"), times=("0", "0.5", "5")))
    data = anndata.read_h5ad(tmp_path / "o.h5ad")
    assert data.shape == (900, 30)
    assert data.obs_names.is_unique
    assert {"trajectory", "time", "cfm_time", "branch", "day"} <= set(data.obs)
    assert data.obs["time"].cat.categories.tolist() == [0.0, 0.5, 5.0]
    np.testing.assert_array_equal(data.obs["time"].astype(float), data.obs["cfm_time"])
    assert data.obsm["X_rep"].shape == (900, 3)
    assert data.layers["velocity"].shape == (900, 30)
    assert np.isfinite(data.layers["velocity"]).all()


def test_a_generator_interpolates_from_noise(normal_run: Path, tmp_path: Path) -> None:
    """Without DATA it starts from its source; from another time it needs points."""
    do(InterpolateRequest(str(normal_run), str(tmp_path / "o.csv"), times=("0.5",)))
    assert len(frame(tmp_path / "o.csv")) == points.STARTS
    with pytest.raises(ConfigError, match="no cloud at that time"):
        do(InterpolateRequest(str(normal_run), str(tmp_path / "p.csv"), times=("1",), start="0.5"))


def test_an_interpolation_says_when(toy_run: Path, tmp_path: Path) -> None:
    """Times or frames, not both, not neither; a population takes no starting points."""
    out = str(tmp_path / "o.csv")
    for wrong in (
        InterpolateRequest(str(toy_run), out),
        InterpolateRequest(str(toy_run), out, times=("1",), frames=3),
        InterpolateRequest(str(toy_run), out, frames=1),
        InterpolateRequest(str(toy_run), out, frames=-2),
        InterpolateRequest(str(toy_run), out, times=("2",)),
        InterpolateRequest(str(toy_run), out, times=("soon",)),
        InterpolateRequest(str(toy_run), out, times=("1",), population=True, where="x > 0"),
        InterpolateRequest(str(toy_run), out, times=("1",), population=True, sides="after"),
        InterpolateRequest(str(toy_run), out, times=("1",), sides="both"),
    ):
        with pytest.raises(ConfigError):
            do(wrong)
    assert not Path(out).exists()


# All of them


def requests(run: Path, data: Path, out: Path, **more: Any) -> list[Any]:
    """One request of each kind."""
    return [
        SampleRequest(str(run), str(out), 20, integration=STEPS, **more),
        TransportRequest(str(run), str(data), str(out), integration=STEPS, **more),
        LikelihoodRequest(
            str(run),
            str(data),
            str(out),
            integration=STEPS,
            **more,
            scoring=Scoring(base="gmm:k=2", divergence="hutchinson"),
        ),
        InterpolateRequest(str(run), str(out), frames=3, integration=STEPS, **more),
    ]


@pytest.mark.parametrize("verb", range(4))
def test_a_dry_run_writes_nothing(verb: int, toy_run: Path, tmp_path: Path, samples: Path) -> None:
    """It says what would be done."""
    out = tmp_path / "o.csv"
    request = requests(toy_run, samples / "source.csv", out, dry_run=True)[verb]
    outcome = do(request)
    assert not list(tmp_path.iterdir())
    assert outcome.outputs == {}
    assert outcome.notes[0].startswith("would")
    assert outcome.figures["points"] > 0


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "npz", "h5ad", "zarr"])
@pytest.mark.parametrize("verb", range(4))
def test_the_same_call_gives_the_same_bytes(
    verb: int, suffix: str, toy_run: Path, tmp_path: Path, samples: Path
) -> None:
    """In every format; nothing of when and where is written."""
    outs = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for out in outs:
        do(requests(toy_run, samples / "source.csv", out)[verb])
    assert digest(outs[0]) == digest(outs[1])


def test_the_seed_decides_what_is_random(toy_run: Path, tmp_path: Path, samples: Path) -> None:
    """Other samples and other probes; transport has nothing random."""
    same = []
    for verb in range(3):
        digests = set()
        for seed in (0, 1):
            out = tmp_path / f"{verb}{seed}.csv"
            do(requests(toy_run, samples / "source.csv", out)[verb], seed=seed)
            digests.add(digest(out))
        same.append(len(digests) == 1)
    assert same == [False, True, False]


@pytest.mark.parametrize("verb", range(4))
def test_outputs_are_kept_and_inputs_are_safe(
    verb: int, toy_run: Path, tmp_path: Path, samples: Path
) -> None:
    """Nothing is overwritten without force; the input is never the output."""
    data = tmp_path / "in.csv"
    data.write_bytes((samples / "source.csv").read_bytes())
    out = tmp_path / "o.csv"
    out.write_text("mine")
    request = requests(toy_run, data, out)[verb]
    with pytest.raises(OutputExistsError):
        do(request)
    assert out.read_text() == "mine"
    do(request, force=True)
    assert out.read_text() != "mine"
    if verb in (1, 2):
        with pytest.raises(ConfigError, match="same file"):
            do(requests(toy_run, data, data)[verb], force=True)
        assert data.read_bytes() == (samples / "source.csv").read_bytes()


@pytest.mark.parametrize("verb", range(4))
def test_wrong_options_are_refused_before_any_work(
    verb: int, toy_run: Path, tmp_path: Path, samples: Path
) -> None:
    """Solvers, tolerances, suffixes and runs that are not there."""
    from dataclasses import replace

    request = requests(toy_run, samples / "source.csv", tmp_path / "o.csv")[verb]
    wrongs: list[tuple[dict[str, Any], type]] = [
        ({"integration": Integration("dopri")}, ConfigError),
        ({"integration": Integration("euler:steps=0")}, ConfigError),
        ({"integration": Integration("euler", atol=1e-3)}, ConfigError),
        ({"integration": Integration("dopri5", atol=-1.0)}, ConfigError),
        ({"output": str(tmp_path / "o.xlsx")}, ConfigError),
        ({"run": str(tmp_path / "absent")}, CheckpointError),
    ]
    extra: dict[int, dict[str, Any]] = {
        0: {"count": 0, "time": "7"},
        1: {"start": "-1", "end": "soon", "max_points": 1},
        2: {"time": "1.5"},
        3: {"start": "3"},
    }
    odd = (
        Scoring(base="gmm:k=-1"),
        Scoring(divergence="hutchinson:probes=1"),
        Scoring(estimator="sde"),
        Scoring(estimator="ode", sde="1"),
        Scoring(sde="-1"),
    )
    wrongs += [({"scoring": how}, ConfigError) for how in odd if verb == 2]
    wrongs += [({key: value}, ConfigError) for key, value in extra[verb].items()]
    for change, error in wrongs:
        with pytest.raises(error):
            do(replace(request, **change))
    assert not list(tmp_path.iterdir())


def test_points_far_from_the_data_fail_as_numbers(toy_run: Path, tmp_path: Path) -> None:
    """A solver that cannot go on is a numerical failure with a remedy, and writes nothing."""
    (tmp_path / "far.csv").write_text("x,y\n1e300,1e300\n-1e300,1e300\n")
    request = TransportRequest(str(toy_run), str(tmp_path / "far.csv"), str(tmp_path / "o.csv"))
    with pytest.raises(NumericsError):
        do(request)
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("verb", [1, 2])
def test_stochastic_or_not_rows_stay_in_order(
    verb: int, toy_run: Path, tmp_path: Path, samples: Path
) -> None:
    """Permuting the input permutes the output: no row looks at its neighbours (fixed steps)."""
    given = frame(samples / "source.csv").head(50).assign(id=[f"p{k}" for k in range(50)])
    mixed = given.sample(frac=1.0, random_state=1)
    outs = []
    for name, part in (("a", given), ("b", mixed)):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
        out = tmp_path / f"{name}_out.csv"
        request = (
            TransportRequest(
                str(toy_run), str(tmp_path / f"{name}.csv"), str(out), integration=STEPS
            )
            if verb == 1
            else LikelihoodRequest(
                str(toy_run),
                str(tmp_path / f"{name}.csv"),
                str(out),
                integration=STEPS,
                scoring=Scoring(base="gaussian"),
            )
        )
        do(request)
        outs.append(frame(out).set_index("id"))
    pd.testing.assert_frame_equal(outs[0].loc[mixed["id"]], outs[1], rtol=1e-4, atol=1e-4)


# Scores of transport


def test_only_points_of_the_start_are_scored(
    cells_run: Path, samples: Path, tmp_path: Path
) -> None:
    """A file of all days is carried whole and gives the figures of the first day's file."""
    data = anndata.read_h5ad(samples / "timecourse.h5ad")
    first = tmp_path / "first.h5ad"
    data[data.obs["day"] == 0].copy().write_h5ad(first)
    run = str(cells_run)
    own = do(TransportRequest(run, str(first), str(tmp_path / "a.h5ad"), integration=STEPS))
    source = str(samples / "timecourse.h5ad")
    with pytest.warns(CfmWarning, match="other times"):
        whole = do(TransportRequest(run, source, str(tmp_path / "b.h5ad"), integration=STEPS))
    assert whole.figures["points"] == len(data)
    for name in ("w1", "w2", "mean_cost", "path_energy"):
        assert whole.figures[name] == pytest.approx(own.figures[name], rel=1e-6)
    assert whole.figures["scored_points"] == own.figures["scored_points"]


def test_scores_weigh_both_sides(
    samples: Path, tmp_path: Path, fit_run: Callable[..., Any]
) -> None:
    """Weights of w on a point score as w copies of it, in the file and in the stored snapshot."""
    rng = np.random.default_rng(0)
    heavy = rng.integers(1, 4, size=30)
    for name in ("source", "target"):
        cloud = pd.read_csv(samples / f"{name}.csv").head(30).assign(w=heavy.astype(float))
        cloud.to_csv(tmp_path / f"{name}.csv", index=False)
        cloud.loc[np.repeat(np.arange(30), heavy)].assign(w=1.0).to_csv(
            tmp_path / f"{name}_copies.csv", index=False
        )
    fit_run(tmp_path / "run", tmp_path / "source.csv", tmp_path / "target.csv", weight_key="w")
    run = str(tmp_path / "run")
    weighed = do(TransportRequest(run, str(tmp_path / "source.csv"), str(tmp_path / "a.csv")))
    copied = do(
        TransportRequest(
            run,
            str(tmp_path / "source_copies.csv"),
            str(tmp_path / "b.csv"),
            against=str(tmp_path / "target_copies.csv"),
        )
    )
    for name in ("w1", "w2"):
        assert weighed.figures[name] == pytest.approx(copied.figures[name], rel=1e-5)


@pytest.mark.parametrize("verb", [TransportRequest, InterpolateRequest])
def test_points_taken_for_noise_are_said_to_be(
    verb: Any, normal_run: Path, samples: Path, tmp_path: Path
) -> None:
    """Where a generator starts from noise and nothing says that the points are that."""
    request = verb(str(normal_run), data=str(samples / "target.csv"), output="")
    times = {"times": ("0.5",)} if verb is InterpolateRequest else {}
    with pytest.warns(CfmWarning, match=r"taken for that. Give --from 1 for points"):
        do(replace(request, output=str(tmp_path / "a.csv"), **times))
    for start in ("0", "1"):
        do(replace(request, output=str(tmp_path / f"{start}.csv"), start=start, **times))
