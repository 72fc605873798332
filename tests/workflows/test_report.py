import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfmcli.errors import CfmError, CheckpointError, ConfigError, OutputExistsError
from cfmcli.report import STYLE
from cfmcli.requests import ReportRequest, Runtime, View
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.report import report

LOSS = View(what=("loss",))
HOSTILE = "<script>alert('1')</script>&\""
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def do(run: Path, *, force: bool = False, **more: Any) -> Any:
    """Report on a run on one thread."""
    where = Runtime(device="cpu", threads=1, force=force)
    return report(ReportRequest(str(run), max_points=50, **more), where, ignore)


class Page(HTMLParser):
    """What a browser finds on a page.

    Args:
        text: the page.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends, the one that began last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Words."""
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a name."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(days_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with a held-out day."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    do(days_run, output=str(path), view=View(label_key="branch"))
    return path


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    """What is on it."""
    return Page(written.read_text())


def figures(value: Any) -> list[str]:
    """Every number and word of nested figures, as a person reads them."""
    if isinstance(value, dict):
        return [word for item in value.values() for word in figures(item)]
    if isinstance(value, list):
        return [word for item in value for word in figures(item)]
    return [] if value is None else [f"{value:.6g}" if isinstance(value, float) else str(value)]


def test_the_page_says_everything(days_run: Path, page: Page) -> None:
    """Every figure of metrics.json, the command, recipe, inputs, versions, and what to cite."""
    text = " ".join(page.words)
    metrics = json.loads((days_run / "metrics.json").read_text())
    origin = json.loads((days_run / "provenance.json").read_text())
    for word in figures(metrics):
        assert word in text, word
    for told in (origin["command"], *origin["cite"], *origin["inputs"].values()):
        assert told in text
    for name, version in origin["versions"].items():
        assert name in page.words
        assert version in page.words
    cells = page.words
    for word in ("exact", "linear", "velocity", "floor", "static ot", "batch-size"):
        assert word in cells
    assert "no warning" in text


def test_the_page_needs_nothing_else(page: Page) -> None:
    """No script, no address but of its own parts, every picture inside the page."""
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in page.all("a"):
        assert attributes["href"] in {f"#{name}" for name in ids}
    sources = [attributes["src"] or "" for attributes in page.all("img")]
    assert len(sources) == 5
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    policies = [a["content"] for a in page.all("meta") if "http-equiv" in a]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_page_can_be_read_aloud(page: Page) -> None:
    """A language, a title, one first heading, words for pictures, scopes for headers."""
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1
    assert all(len(a["alt"] or "") > 20 for a in page.all("img"))
    assert all(a["scope"] in ("col", "row") for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert page.open == []


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.1)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def test_light_and_dark_have_contrast() -> None:
    """Every colour of words on every ground, at least 4.5 to 1 (WCAG 2.1, AA)."""
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in STYLE.split("@media")[:2]]
    for scheme, word, ground in product(schemes, ("ink", "link", "alert"), ("paper", "soft")):
        dark, light = sorted((luminance(scheme[word]), luminance(scheme[ground])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_what_comes_from_data_is_text(tmp_path: Path, fit_run: Any) -> None:
    """Names of features, labels and files that are markup are shown, not obeyed."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(40, 2)), columns=[f"a {HOSTILE}", "b"])
    table["t"] = [f"0 {HOSTILE}", f"1 {HOSTILE}"] * 20
    name = f"{HOSTILE.replace('/', '_')}.csv"
    table.to_csv(tmp_path / name, index=False)
    order = (f"0 {HOSTILE}", f"1 {HOSTILE}")
    fit_run(tmp_path / "r", tmp_path / name, time_key="t", time_order=order, steps=5)
    do(tmp_path / "r")
    text = (tmp_path / "r" / "report.html").read_text()
    page = Page(text)
    assert "script" not in {name for name, _ in page.tags}
    assert "<script" not in text
    assert f"0 {HOSTILE}" in page.words
    assert f"a {HOSTILE}" in " ".join(page.words)
    assert name in " ".join(page.words)


def test_the_same_run_gives_the_same_page(toy_run: Path, tmp_path: Path) -> None:
    """Byte for byte; a page that is there is refused."""
    for name in ("a.html", "b.html"):
        do(toy_run, output=str(tmp_path / name))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    with pytest.raises(OutputExistsError, match="--force"):
        do(toy_run, output=str(tmp_path / "a.html"))


def test_warnings_of_the_fit_are_told(toy_run: Path, tmp_path: Path) -> None:
    """Those that metrics.json keeps."""
    shutil.copytree(toy_run, tmp_path / "r")
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    said = ["2 constant feature(s) keep scale 1: a, b.", "<b>"]
    (tmp_path / "r" / "metrics.json").write_text(json.dumps(metrics | {"warnings": said}))
    do(tmp_path / "r", multiqc=str(tmp_path / "mqc"), view=LOSS)
    page = Page((tmp_path / "r" / "report.html").read_text())
    assert set(said) <= set(page.words)
    (stats,) = json.loads((tmp_path / "mqc" / "r_stats_mqc.json").read_text())["data"].values()
    assert stats["warnings"] == 2


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium on the path")
@pytest.mark.parametrize("scheme", [0, 1])
def test_a_browser_shows_the_page(scheme: int, written: Path, tmp_path: Path) -> None:
    """Dark or light as the reader prefers, with words and pictures, in a real browser."""
    from matplotlib.image import imread

    assert BROWSER is not None
    shot = tmp_path / "shot.png"
    base = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    look = [f"--blink-settings=preferredColorScheme={scheme}", "--window-size=1000,6000"]
    done = subprocess.run(
        [*base, *look, f"--screenshot={shot}", written.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "Refused to" not in done.stderr
    image = np.asarray(imread(shot))[..., :3]
    assert (image[5, 5].mean() > 0.9) == (scheme == 1)
    column = image[:, 300].mean(axis=-1)
    assert np.ptp(column) > 0.8
    blue = (image[..., 2] > 0.6) & (image[..., 0] < 0.1) & (image[..., 1] < 0.6)
    assert blue.sum() > 500


def test_multiqc_reads_both_files(days_run: Path, toy_run: Path, tmp_path: Path) -> None:
    """The minimum of custom content, a sample each, with the run's own figures."""
    for run, sample in ((days_run, "donor1"), (toy_run, "")):
        page = str(tmp_path / f"{run.name}.html")
        do(run, output=page, multiqc=str(tmp_path / "mqc"), sample_id=sample, view=LOSS)
    found = {p.name: json.loads(p.read_text()) for p in (tmp_path / "mqc").iterdir()}
    pairs = product(("donor1", "toy"), ("loss", "stats"))
    assert set(found) == {f"{sample}_{what}_mqc.json" for sample, what in pairs}
    graph, stats = (found[f"donor1_{what}_mqc.json"] for what in ("loss", "stats"))
    assert {"id", "section_name", "description", "plot_type", "pconfig", "data"} <= set(graph)
    assert graph["plot_type"] == "linegraph"
    losses = pd.read_csv(days_run / "losses.csv", float_precision="round_trip")
    assert graph["data"] == {"donor1": losses[["step", "loss"]].to_numpy().tolist()}
    assert stats["plot_type"] == "generalstats"
    metrics = json.loads((days_run / "metrics.json").read_text())
    assert stats["data"]["donor1"] == {
        "cells": 1500,
        "loss": metrics["loss"],
        "holdout_w1": metrics["holdout"][0]["model_w1"],
        "static_ot_w1": metrics["holdout"][0]["static_ot_w1"],
        "warnings": 0,
    }
    assert set(found["toy_stats_mqc.json"]["data"]) == {"toy"}
    assert "holdout_w1" not in found["toy_stats_mqc.json"]["data"]["toy"]


@pytest.mark.skipif(shutil.which("multiqc") is None, reason="there is no multiqc on the path")
def test_multiqc_itself_shows_two_runs(days_run: Path, toy_run: Path, tmp_path: Path) -> None:
    """Both samples are in the general statistics and in the graph of its report."""
    for run in (days_run, toy_run):
        page = str(tmp_path / f"{run.name}.html")
        do(run, output=page, multiqc=str(tmp_path / "mqc"), view=LOSS)
    command = ["multiqc", str(tmp_path / "mqc"), "-o", str(tmp_path / "out"), "--no-ansi"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    folder = tmp_path / "out" / "multiqc_data"
    general = (folder / "multiqc_general_stats.txt").read_text()
    data = json.loads((folder / "multiqc_data.json").read_text())
    assert {line.split("\t")[0] for line in general.splitlines()[1:]} == {"days", "toy"}
    assert "cfm_loss_plot" in json.dumps(data["report_plot_data"])


WRONG: dict[str, tuple[type[CfmError], dict[str, Any], str]] = {
    "no page": (ConfigError, {"output": "a.txt"}, ".html"),
    "a folder for a sample": (ConfigError, {"multiqc": "m", "sample_id": "a/b"}, "--sample-id"),
    "no data": (ConfigError, {"view": View(basis="umap")}, "--data"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused(
    case: str, toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, and nothing written."""
    monkeypatch.chdir(tmp_path)
    kind, more, words = WRONG[case]
    with pytest.raises(kind, match=words):
        do(toy_run, **({"output": "a.html"} | more))
    assert list(tmp_path.iterdir()) == []


def test_only_a_whole_run_has_a_report(tmp_path: Path) -> None:
    """Nothing to report on what is no run."""
    with pytest.raises(CheckpointError, match="no run"):
        do(tmp_path / "none")
