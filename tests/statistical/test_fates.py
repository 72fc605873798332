"""Fates against lineages that are known: published barcodes, and a bridge in closed form."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cfmcli import metrics
from cfmcli.data.arrays import Array
from tests.statistical.figures import Figures

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

published = pytest.mark.skipif(not DATA.is_dir(), reason=f"the published data are not in {DATA}")
pytestmark = pytest.mark.slow

BRIDGE = "--method sf2m --coupling sinkhorn:reg=0.2 --interpolant brownian:sigma=0.3162"
DRAWS = "--sde bridge:level=0.1 --draws 100 --spread 20 --solver stochastic-heun:steps=25"
MARKERS = {
    "Neutrophil": ("Ngp", "Camp", "Ltf", "S100a8", "S100a9", "Lcn2", "Itgb2l"),
    "Monocyte": ("Csf1r", "Ly86", "Ccr2", "Ms4a6c", "F13a1", "Klf4", "Irf8"),
}
"""Genes of the granules and the chemotaxis of neutrophils, and of monocytes."""


def cfm(line: str, folder: Path) -> dict[str, Any]:
    """Run a command in a folder and a process of its own: its figures."""
    done = subprocess.run(
        [sys.executable, "-m", "cfmcli", *shlex.split(line)[1:], "--json", "-q"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def branches(late: Array) -> list[str]:
    """Two arms of the last day, split by the graph of neighbours of some of the points."""
    from sklearn.cluster import SpectralClustering
    from sklearn.neighbors import NearestNeighbors

    scaled = late / late.std(axis=0)
    some = scaled[np.random.default_rng(0).choice(len(late), 1500, replace=False)]
    kind = SpectralClustering(
        2, affinity="nearest_neighbors", n_neighbors=100, random_state=0
    ).fit_predict(some)
    low = np.argmin([some[kind == k, 1].mean() for k in (0, 1)])
    near = NearestNeighbors(n_neighbors=1).fit(some).kneighbors(scaled, return_distance=False)[:, 0]
    return ["neutrophil" if k == low else "monocyte" for k in kind[near]]


@published
def test_barcodes_of_blood_progenitors(tmp_path: Path, figures: Figures) -> None:
    """The share of neutrophils among the sisters of early day-2 cells, from their place alone.

    Training-free entropic transport reaches r = 0.45 (all day-2 cells 0.55), sisters themselves
    0.485; published vectors of other methods 0.15 to 0.225.
    """
    known = pd.read_csv(DATA / "mouse_hematopoiesis2d.csv.gz")
    cells = known[["cell", "day", "x1", "x2"]].assign(arm=None)
    late = known["day"] == 6
    cells.loc[late, "arm"] = branches(known.loc[late, ["x1", "x2"]].to_numpy())
    cells.to_csv(tmp_path / "all.csv", index=False)
    cells[known["day"] == 2].to_csv(tmp_path / "day2.csv", index=False)
    cfm(f"cfm fit all.csv --time-key day --drop arm {BRIDGE} -o run", tmp_path)
    told = cfm(f"cfm fate run day2.csv --label-key arm {DRAWS} -o f.csv", tmp_path)
    p = pd.read_csv(tmp_path / "f.csv")["p_neutrophil"].to_numpy()
    truth = known[known["day"] == 2]
    n, m = (truth[f"n_{kind}"].to_numpy() for kind in ("neutrophil", "monocyte"))
    share = n / (n + m)
    early = ((truth["early"] == 1) & (truth["heldout"] == 0)).to_numpy()
    both, true = (np.stack([v, 1 - v], axis=1) for v in (p, share))
    curve = metrics.reliability(both, true)
    for part in curve:
        figures.add(f"blood: neutrophils where p is {part.predicted:.2f}", part.observed)
    r = figures.add(
        "blood: r of early cells", np.corrcoef(p[early], share[early])[0, 1],
        published="0.15 to 0.225", floor=0.485, bound="> 0.43",
    )  # fmt: skip
    everyone = figures.add(
        "blood: r of all day-2 cells", np.corrcoef(p, share)[0, 1], bound="> 0.51"
    )
    score = figures.add(
        "blood: Brier score", metrics.brier(both, true), floor=2 * share.var(), bound="< 0.34"
    )
    error = figures.add(
        "blood: calibration error", metrics.calibration_error(curve), bound="< 0.08"
    )
    assert r > 0.43
    assert everyone > 0.51
    assert score < 0.34
    assert error < 0.08
    assert told["calibration"]["brier"] < 0.02


@published
def test_markers_rise_on_the_way_to_their_cells(tmp_path: Path, figures: Figures) -> None:
    """The pipeline of the sample data on the published counts: genes of each kind of cell."""
    script = (ROOT / "sample_data" / "pipelines" / "fates.sh").read_text()
    names = {
        "cells": DATA / "larry_clonal_781.h5ad", "day": "day", "label": "state_info",
        "gene": "Gfi1", "out": tmp_path,
    }  # fmt: skip
    for line in script.splitlines():
        if line.startswith("cfm "):
            cfm(Template(line).substitute(names).replace("--top 200", "--top 3000"), tmp_path)
    trends = pd.read_csv(tmp_path / "trends.csv")
    change = trends.groupby(["gene", "group"])["change"].first().unstack()
    for own, genes in MARKERS.items():
        (other,) = set(MARKERS) - {own}
        rises = change.loc[list(genes), own]
        more = rises - change.loc[list(genes), other]
        figures.add(f"{own} markers that rise", (rises > 0).mean(), bound="> 0.8")
        figures.add(
            f"{own} markers that rise more than elsewhere", (more > 0).mean(), bound="> 0.8"
        )
        assert (rises > 0).mean() > 0.8
        assert (more > 0).mean() > 0.8


def test_fates_of_a_bridge_in_closed_form(tmp_path: Path, figures: Figures) -> None:
    """Brownian motion from N(0, 1), sorted by sign: the probability of up is Phi(x)."""
    rng = np.random.default_rng(0)
    x0 = rng.normal(size=1500)
    x1 = rng.normal(0, np.sqrt(2), 1500)
    side = np.where(x1 > 0, "up", "down")
    pd.DataFrame({"x": x0}).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame({"x": x1, "side": side}).to_csv(tmp_path / "b.csv", index=False)
    bridge = "--method sf2m --coupling sinkhorn:reg=2 --interpolant brownian:sigma=1"
    cfm(f"cfm fit a.csv b.csv --transform none --lr 1e-3 {bridge} -o run", tmp_path)
    cfm("cfm fate run a.csv --label-key side --sde 0.5 --draws 200 -o f.csv", tmp_path)
    p = pd.read_csv(tmp_path / "f.csv")["p_up"].to_numpy()
    error = figures.add(
        "bridge: mean error of fates", np.abs(p - norm.cdf(x0)).mean(), bound="< 0.05"
    )
    assert error < 0.05
