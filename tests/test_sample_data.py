"""Laws of the sample data: reproducible, small, consistent, and true to the process behind it."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sample_data.simulate import SEED, Paths, Simulation, simulate, write

FOLDER = Path(__file__).parents[1] / "sample_data"
DAYS = [0.0, 1.0, 2.5, 5.0]


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate()


@pytest.fixture(scope="module")
def truth(simulation: Simulation) -> Paths:
    """Many cells followed through the days of the experiment."""
    return simulation.paths(4000, DAYS)


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return ad.read_h5ad(FOLDER / "timecourse.h5ad")


@pytest.fixture(scope="module")
def frames() -> dict[float, pd.DataFrame]:
    return {day: pd.read_csv(FOLDER / f"day{day:g}.csv", index_col="cell") for day in DAYS}


def test_the_script_makes_the_shipped_bytes(tmp_path: Path) -> None:
    write(tmp_path)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == sorted(p.name for p in FOLDER.iterdir() if p.suffix in {".csv", ".h5ad"})
    for name in made:
        if name.endswith(".csv"):
            assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
    ours, shipped = (ad.read_h5ad(folder / "timecourse.h5ad") for folder in (tmp_path, FOLDER))
    np.testing.assert_array_equal(ours.X.toarray(), shipped.X.toarray())
    pd.testing.assert_frame_equal(ours.obs, shipped.obs)
    pd.testing.assert_frame_equal(ours.var, shipped.var)


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 1_000_000


def test_cells_genes_and_days(adata: ad.AnnData) -> None:
    """About 1,500 cells and 30 genes, named once each, at unequal days in unequal numbers."""
    assert adata.shape == (1500, 30)
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    counts = adata.obs["day"].value_counts().sort_index()
    assert list(counts.index) == DAYS
    assert len(set(counts)) == len(set(np.diff(DAYS))) + 1 == 4
    assert list(adata.obs) == ["day", "branch"]


def test_csv_and_h5ad_hold_the_same_cells(
    adata: ad.AnnData, frames: dict[float, pd.DataFrame]
) -> None:
    """Log-normalising the counts of the one gives the values of the other."""
    assert sum(len(frame) for frame in frames.values()) == adata.n_obs
    for day, frame in frames.items():
        part = adata[adata.obs["day"] == day]
        assert list(frame.index) == list(part.obs_names)
        assert list(frame["branch"]) == list(part.obs["branch"])
        assert list(frame.columns) == [*adata.var_names, "branch"]
        counts = part.X.toarray().astype(np.float64)
        values = np.log1p(500 * counts / counts.sum(axis=1, keepdims=True))
        np.testing.assert_allclose(frame[adata.var_names], values, atol=5.1e-5)


def test_counts_are_whole_and_overdispersed(adata: ad.AnnData, simulation: Simulation) -> None:
    """A gene whose rate is constant has cv² - 1/mean = (1 + dispersion) exp(spread²) - 1."""
    counts = adata.X.toarray().astype(np.float64)
    assert (counts >= 0).all()
    np.testing.assert_array_equal(counts, counts.round())
    house = counts[:, adata.var_names.str.startswith("House")]
    mean, variance = house.mean(axis=0), house.var(axis=0)
    excess = (variance - mean) / mean**2
    genes = simulation.genes
    expected = (1 + genes.dispersion) * np.exp(genes.depth_spread**2) - 1
    assert excess.mean() == pytest.approx(expected, abs=0.05)
    assert excess.min() > 0.1


def test_branches_grow_and_are_unequal(adata: ad.AnnData) -> None:
    shares = pd.crosstab(adata.obs["day"], adata.obs["branch"], normalize="index")
    assert set(shares) == {"progenitor", "arm_a", "arm_b"}
    assert shares["progenitor"].is_monotonic_decreasing
    assert shares["arm_a"].is_monotonic_increasing
    assert shares["arm_b"].is_monotonic_increasing
    first, last = shares.iloc[0], shares.iloc[-1]
    assert first["progenitor"] == 1.0
    assert last["progenitor"] < 0.05
    assert last["arm_a"] > 2 * last["arm_b"] > 0.2


def test_genes_follow_their_programme(adata: ad.AnnData) -> None:
    """Stem genes fall with time; the genes of an arm are higher there than in the other."""
    late = adata[adata.obs["day"] == 5.0]
    for prefix, high, low in [
        ("Stem", adata[adata.obs["day"] == 0.0], late),
        ("ArmA", late[late.obs["branch"] == "arm_a"], late[late.obs["branch"] == "arm_b"]),
        ("ArmB", late[late.obs["branch"] == "arm_b"], late[late.obs["branch"] == "arm_a"]),
    ]:
        genes = adata.var_names.str.startswith(prefix)
        ratio = high[:, genes].X.mean(axis=0) / low[:, genes].X.mean(axis=0)
        assert ratio.min() > 1.4


def test_followed_cells_have_the_law_of_the_observed_ones(
    simulation: Simulation, truth: Paths
) -> None:
    """The same process, seen without destroying it: both latent coordinates, at each day."""
    for index, day in enumerate(DAYS):
        observed = simulation.latent[(simulation.cells["day"] == day).to_numpy()]
        for axis in (0, 1):
            followed = truth.latent[:, index, axis]
            assert stats.ks_2samp(observed[:, axis], followed).pvalue > 1e-3


def test_followed_cells_are_fresh(simulation: Simulation, truth: Paths) -> None:
    """None of them is a cell of the experiment."""
    observed = simulation.latent[(simulation.cells["day"] == 0.0).to_numpy()]
    assert not np.isin(truth.latent[:, 0], observed).any()


def test_observed_counts_have_the_expected_rates(
    adata: ad.AnnData, simulation: Simulation, truth: Paths
) -> None:
    """Mean counts over mean depth, exp(spread²/2), are the mean rates within their errors."""
    depth = np.exp(simulation.genes.depth_spread**2 / 2)
    for index, day in enumerate(DAYS):
        counts = adata[adata.obs["day"] == day].X.toarray() / depth
        rates = truth.rates[:, index]
        error = np.sqrt(counts.var(axis=0) / len(counts) + rates.var(axis=0) / len(rates))
        assert np.abs((counts.mean(axis=0) - rates.mean(axis=0)) / error).max() < 4.5


def test_maturation_is_an_ornstein_uhlenbeck_process(simulation: Simulation, truth: Paths) -> None:
    """Mean 1 - exp(-rt); variance from the initial one to noise²/2r at rate 2r; memory exp(-rt)."""
    process, days = simulation.development, np.asarray(DAYS)
    s = truth.latent[:, :, 0]
    decay = np.exp(-process.rate * days)
    limit = process.noise_s**2 / (2 * process.rate)
    variance = 0.1**2 * decay**2 + limit * (1 - decay**2)
    np.testing.assert_allclose(s.mean(axis=0), 1 - decay, atol=0.008)
    np.testing.assert_allclose(s.var(axis=0), variance, rtol=0.1)
    covariance = np.cov(s[:, 0], s[:, 1])[0, 1]
    assert covariance == pytest.approx(0.1**2 * decay[1], rel=0.1)


def test_paths_are_those_of_single_cells(simulation: Simulation) -> None:
    """The quadratic variation of a path is noise² times its length, for each coordinate."""
    process = simulation.development
    path = simulation.paths(20, np.linspace(0, 5, 501)).latent
    variation = np.square(np.diff(path, axis=1)).sum(axis=1).mean(axis=0) / 5
    np.testing.assert_allclose(variation, [process.noise_s**2, process.noise_u**2], rtol=0.05)


def test_fates_have_the_observed_shares(simulation: Simulation, truth: Paths) -> None:
    """And where a path stops does not change the law of its fate."""
    share = (truth.fate == "arm_a").mean()
    last = simulation.cells.query("day == 5 and branch != 'progenitor'")["branch"]
    observed = (last == "arm_a").sum()
    assert stats.binomtest(int(observed), len(last), share).pvalue > 1e-3
    early = (simulation.paths(4000, [1.0]).fate == "arm_a").mean()
    assert early == pytest.approx(share, abs=4.5 * np.sqrt(2 * share * (1 - share) / 4000))


def test_fate_is_settled_on_the_way(truth: Paths) -> None:
    """The side at day 2.5 foretells the fate of committed cells, not of those on the ridge."""
    u = truth.latent[:, 2, 1]
    right = (u > 0) == (truth.fate == "arm_a")
    assert right[np.abs(u) > 1.0].mean() > 0.99
    assert right[np.abs(u) < 0.2].mean() < 0.8


@pytest.mark.parametrize(
    ("axis", "prefix", "sign"),
    [
        (0, "Stem", -1),
        (0, "ArmA", 0),
        (0, "ArmB", 0),
        (0, "House", 0),
        (1, "Stem", 0),
        (1, "Early", 0),
        (1, "ArmA", 1),
        (1, "ArmB", -1),
        (1, "House", 0),
    ],
)
def test_rates_answer_to_their_coordinate(
    simulation: Simulation, truth: Paths, axis: int, prefix: str, sign: int
) -> None:
    """Maturing lowers stem genes; moving to arm A raises its genes and lowers those of arm B."""
    genes = np.char.startswith(simulation.genes.names, prefix)
    step = 0.1 * np.eye(2)[axis]
    change = simulation.genes.rates(truth.latent[:, 2] + step) - truth.rates[:, 2]
    assert (np.sign(change[:, genes]) == sign).all()


def test_the_seed_decides(simulation: Simulation) -> None:
    again, other = simulate(SEED), simulate(1)
    np.testing.assert_array_equal(again.counts, simulation.counts)
    assert (other.counts != simulation.counts).mean() > 0.5
    np.testing.assert_array_equal(again.paths(5, DAYS).latent, simulation.paths(5, DAYS).latent)


def test_the_toy_target_is_a_ring_around_the_source() -> None:
    source, target = (pd.read_csv(FOLDER / f"{name}.csv") for name in ("source", "target"))
    assert list(source) == list(target) == ["x", "y"]
    assert (len(source), len(target)) == (500, 512)
    radius = np.hypot(target["x"], target["y"])
    assert radius.mean() == pytest.approx(stats.rice(5.0).mean(), abs=0.2)
    assert np.hypot(source["x"], source["y"]).max() < 3.4
