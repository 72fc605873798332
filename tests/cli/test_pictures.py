"""Pictures and reports from the shell: what is refused, and what the fit warned of."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.harness import Cfm

REFUSED = {
    "plot none -o p": (6, "none"),
    "plot RUN --what holdout -o p": (2, "--holdout"),
    "plot RUN --basis umap -o p": (2, "--data"),
    "plot RUN --basis umap --data DATA -o p": (3, "X_tag"),
    "plot RUN --basis umap --data none.h5ad -o p": (3, "none.h5ad"),
    "plot RUN --what loss -o there.png": (5, "--force"),
    "report none -o p.html": (6, "none"),
    "report RUN -o there.html": (5, "--force"),
    "report RUN -o page": (2, ".html"),
    "report RUN --basis umap -o p.html": (2, "--data"),
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_is_refused(
    line: str, cfm: Cfm, toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code of the contract, one message that says the way out, nothing written."""
    import anndata as ad

    monkeypatch.chdir(tmp_path)
    cells = ad.AnnData(np.zeros((4, 2)), obsm={"X_tag": np.zeros((4, 2))})
    cells.var_names = ["x", "y"]
    cells.write_h5ad("cells.h5ad")
    for name in ("there.png", "there.html"):
        Path(name).write_text("")
    code, words = REFUSED[line]
    before = sorted(tmp_path.iterdir())
    ran = cfm(*line.replace("RUN", str(toy_run)).replace("DATA", "cells.h5ad").split())
    assert ran.code == code
    assert words in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_warnings_of_a_fit_are_kept(
    cfm: Cfm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the fit warned of is in metrics.json, word for word, and nothing where it was silent."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, flat in (("a", True), ("b", True), ("c", False), ("d", False)):
        frame = pd.DataFrame(rng.normal(size=(30, 2)), columns=["x", "y"])
        frame.assign(y=7.0 if flat else frame["y"]).to_csv(f"{name}.csv", index=False)
    small = ("--steps", "5", "--field", "mlp:width=4,depth=1", "--json")
    told = json.loads(cfm("fit", "a.csv", "b.csv", "-o", "flat", *small).out)
    kept = json.loads(Path("flat/metrics.json").read_text())["warnings"]
    assert kept == told["warnings"]
    assert "constant" in kept[0]
    cfm("fit", "c.csv", "d.csv", "-o", "round", *small)
    assert json.loads(Path("round/metrics.json").read_text())["warnings"] == []
