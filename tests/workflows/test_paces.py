"""What `--solver auto` chose is told by every verb that carries points, wherever it went."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import pytest

from cfmcli.errors import ConfigError
from cfmcli.requests import (
    FateRequest,
    GenesRequest,
    Integration,
    InterpolateRequest,
    Runtime,
    SampleRequest,
    TransportRequest,
    Vote,
)
from cfmcli.stored import load
from cfmcli.workflows import fate, genes, interpolate, sample, transport
from cfmcli.workflows.fit import ignore
from tests.conftest import Fit

AUTO = Integration("auto:tolerance=0.001")
WHERE = Runtime(device="cpu", threads=1)


def paces(run: Path) -> dict[str, dict[str, Any]]:
    """The steps and errors of either direction, by name, as the model finds them."""
    flow = load(run).learnt
    found = {way: flow.pace(1e-3, forward=way == "forward") for way in ("forward", "backward")}
    return {
        "steps": {way: str(pace) for way, pace in found.items()},
        "step_error": {way: pytest.approx(pace.error) for way, pace in found.items()},
    }


def one(run: Path, way: str) -> dict[str, Any]:
    """Those of one direction."""
    return {name: both[way] for name, both in paces(run).items()}


def told(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of steps."""
    return {name: figures[name] for name in ("steps", "step_error") if name in figures}


def test_samples_and_their_file_tell_the_steps(cells_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.h5ad"
    request = SampleRequest(str(cells_run), str(out), 9, integration=AUTO)
    found = sample.sample(request, WHERE, ignore)
    assert told(found.figures) == one(cells_run, "forward")
    assert anndata.read_h5ad(out).uns["cfm"]["steps"] == found.figures["steps"]


@pytest.mark.parametrize(
    ("start", "end", "way"), [("", "", "forward"), ("5", "0", "backward"), ("0", "0", "")]
)
def test_transport_tells_its_direction(
    start: str, end: str, way: str, cells_run: Path, samples: Path, tmp_path: Path
) -> None:
    """And nothing where points stay where they are."""
    out, data = tmp_path / "t.h5ad", samples / "timecourse.h5ad"
    request = TransportRequest(
        str(cells_run), str(data), str(out), start=start, end=end, integration=AUTO
    )
    with pytest.warns(match="other times"):
        found = transport.transport(request, WHERE, ignore)
    assert told(found.figures) == (one(cells_run, way) if way else {})
    said = anndata.read_h5ad(out).uns["cfm"]
    assert said.get("steps") == (found.figures["steps"] if way else None)


def test_points_that_go_both_ways_tell_both(cells_run: Path, samples: Path, tmp_path: Path) -> None:
    """From their own times to one between these."""
    out, data = tmp_path / "t.h5ad", samples / "timecourse.h5ad"
    request = TransportRequest(
        str(cells_run), str(data), str(out), start="own", end="2", integration=AUTO
    )
    found = transport.transport(request, WHERE, ignore)
    assert told(found.figures) == paces(cells_run)
    both = found.figures["steps"]
    expected = f"forward {both['forward']}, backward {both['backward']}"
    assert anndata.read_h5ad(out).uns["cfm"]["steps"] == expected


@pytest.mark.parametrize(
    ("chosen", "ways"),
    [
        ({"start": "0.5", "times": ("0", "1")}, ("forward", "backward")),
        ({"start": "1", "times": ("0", "1")}, ("backward",)),
        ({"times": ("0.5",), "population": True}, ("forward",)),
        ({"times": ("0.5",), "population": True, "sides": "both"}, ("forward", "backward")),
    ],
    ids=["both ways", "back", "population", "both sides"],
)
def test_interpolation_tells_every_direction(
    chosen: dict[str, Any],
    ways: tuple[str, ...],
    toy_run: Path,
    samples: Path,
    tmp_path: Path,
) -> None:
    data = "" if "population" in chosen else str(samples / "source.csv")
    request = InterpolateRequest(
        str(toy_run), str(tmp_path / "i.csv"), data, integration=AUTO, **chosen
    )
    found = told(interpolate.interpolate(request, WHERE, ignore).figures)
    assert found == (paces(toy_run) if len(ways) == 2 else one(toy_run, *ways))


def test_fates_and_genes_tell_the_steps(days_run: Path, samples: Path, tmp_path: Path) -> None:
    data = str(samples / "day0.csv")
    asked = FateRequest(
        str(days_run), data, str(tmp_path / "f.csv"), Vote("branch"), integration=AUTO
    )
    expected = one(days_run, "forward")
    assert told(fate.fate(asked, WHERE, ignore).figures) == expected
    paths = InterpolateRequest(
        str(days_run), str(tmp_path / "g.csv"), data, frames=3, integration=AUTO
    )
    assert told(genes.genes(GenesRequest(paths), WHERE, ignore).figures) == expected


@pytest.mark.parametrize("solver", ["auto", "euler:steps=3"])
def test_what_has_no_network_is_not_rounded(
    solver: str, fit_run: Fit, samples: Path, tmp_path: Path
) -> None:
    fit_run(tmp_path / "r", samples / "source.csv", samples / "target.csv", method="static-ot")
    rounded = Integration(solver, precision="bf16")
    request = SampleRequest(str(tmp_path / "r"), str(tmp_path / "s.csv"), 9, integration=rounded)
    with pytest.raises(ConfigError, match=r"--precision bf16: .* no network"):
        sample.sample(request, WHERE, ignore)
