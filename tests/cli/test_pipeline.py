"""The pipeline of fates: its lines run on the sample data, and show what is known of them."""

import shlex
from pathlib import Path
from string import Template

import anndata as ad
import pandas as pd
import pytest

from tests.cli.harness import Cfm

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "sample_data" / "pipelines" / "fates.sh").read_text()
LINES = [line for line in SCRIPT.splitlines() if line.startswith("cfm ")]


def test_fates_and_trends_of_the_sample_data(
    cfm: Cfm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most eight lines; genes of an arm rise most on the way to it."""
    assert len(LINES) <= 8
    monkeypatch.setenv("CFM_STEPS", "300")
    data = ROOT / "sample_data" / "timecourse.h5ad"
    names = {"cells": data, "day": "day", "label": "branch", "gene": "ArmA1", "out": tmp_path}
    for line in LINES:
        ran = cfm(*shlex.split(Template(line).substitute(names))[1:])
        assert ran.code == 0, ran.err
    fates = ad.read_h5ad(tmp_path / "fates.h5ad")
    assert fates.obsm["cfm_fate_probs"].shape == (1500, 3)
    late = fates[fates.obs["branch"] == "arm_b"]
    assert (late.obs["cfm_fate"] == "arm_b").mean() > 0.9
    table = pd.read_csv(tmp_path / "trends.csv").set_index(["gene", "group"])
    trends = table["change"].sort_index()
    for gene, arm, other in (("ArmA2", "arm_a", "arm_b"), ("ArmB2", "arm_b", "arm_a")):
        assert trends[gene, arm].iloc[0] > trends[gene, other].iloc[0] + 0.5
    assert list(pd.read_csv(tmp_path / "knockout.csv").filter(like="p_")) == [
        "p_arm_a", "p_arm_b", "p_progenitor",
    ]  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert "<html" in page
    assert page.count("<img") + page.count("<svg") >= 4
