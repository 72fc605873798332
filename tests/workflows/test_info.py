from pathlib import Path

import pytest

from cfmcli import checkpoint
from cfmcli.errors import CheckpointError
from cfmcli.workflows.info import describe_run


def test_a_run_is_described(days_run: Path) -> None:
    """Snapshots with times and counts, features, transforms, recipe, metrics and provenance."""
    found = describe_run(str(days_run))
    assert found["kind"] == "run"
    assert [(s["label"], s["time"], s["points"], s["held_out"]) for s in found["snapshots"]] == [
        ("0", 0.0, 300, False),
        ("1", 1.0, 340, True),
        ("2.5", 2.5, 400, False),
        ("5", 5.0, 460, False),
    ]
    assert len(found["features"]) == 30
    assert found["transforms"] == ["standardize"]
    assert found["heads"] == ["velocity"]
    assert found["source"] == "cloud"
    assert found["recipe"]["method"]["method"] == "otcfm"
    assert found["metrics"]["steps"] == 50
    assert found["provenance"]["command"] == "test"


def test_what_is_no_run_is_refused(tmp_path: Path, toy_run: Path) -> None:
    """A folder without one, a path that is not there, a file, and a run that lost a part."""
    with pytest.raises(CheckpointError, match="no run of cfm"):
        describe_run(str(tmp_path))
    with pytest.raises(CheckpointError, match="There is no run"):
        describe_run(str(tmp_path / "absent"))
    with pytest.raises(CheckpointError):
        describe_run(str(toy_run / "recipe.toml"))
    (tmp_path / checkpoint.MODEL).write_bytes((toy_run / checkpoint.MODEL).read_bytes())
    with pytest.raises(CheckpointError, match=r"metrics\.json"):
        describe_run(str(tmp_path))
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(CheckpointError, match="no whole run"):
        describe_run(str(tmp_path))
