import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cfmcli import checkpoint, stored
from cfmcli.errors import (
    CheckpointError,
    ConfigError,
    Interrupted,
    OutputExistsError,
    ResourceError,
)
from cfmcli.workflows.run import NAMES, Run


@pytest.mark.parametrize("name", NAMES)
def test_any_part_of_a_run_claims_the_folder(name: str, tmp_path: Path) -> None:
    """Neither a whole run nor a part of one is overwritten unasked."""
    (tmp_path / name).write_text("")
    run = Run(tmp_path)
    with pytest.raises(OutputExistsError, match=name):
        run.claim([], force=False, resume=False)
    run.claim([], force=True, resume=False)
    run.claim([], force=False, resume=True)


def test_a_folder_with_other_files_is_free(tmp_path: Path) -> None:
    """Only a run stands in the way of a run; a file in the place of the folder does too."""
    (tmp_path / "notes.txt").write_text("")
    Run(tmp_path).claim([], force=False, resume=False)
    with pytest.raises((ResourceError, ConfigError, OutputExistsError)):
        Run(tmp_path / "notes.txt").claim([], force=False, resume=False)


def write_half(run: Run, error: BaseException, *others: str) -> None:
    """Write a part of a run, and files of others, then fail."""
    with run.writing():
        run.save_state({"a": np.zeros(2)}, {"step": 1})
        (run.path / "recipe.toml").write_text("half")
        for name in others:
            (run.path / name).write_text("mine")
        raise error


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: tried")]
)
def test_a_fit_without_memory_keeps_its_state(error: Exception, tmp_path: Path) -> None:
    """Whether Python, NumPy or torch says so."""
    run = Run(tmp_path / "r")
    with pytest.raises(type(error)):
        write_half(run, error)
    assert run.state.exists()


def test_a_folder_lives_only_if_something_came(tmp_path: Path) -> None:
    """Gone after a failure, kept after an interruption, and never with files of others."""
    run = Run(tmp_path / "r")
    with pytest.raises(ValueError, match="no"):
        write_half(run, ValueError("no"))
    assert not run.path.exists()
    with pytest.raises(ValueError, match="no"):
        write_half(run, ValueError("no"), "others.txt")
    assert [p.name for p in run.path.iterdir()] == ["others.txt"]
    for error in (Interrupted("stop", 2), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_half(run, error)
        assert run.state.exists()
        shutil.rmtree(run.path)
    with pytest.raises(KeyboardInterrupt), run.writing():
        raise KeyboardInterrupt
    assert not run.path.exists(), "no state, nothing to keep"


def test_the_state_survives(tmp_path: Path) -> None:
    """Arrays and facts come back; a damaged state is refused; none is None."""
    run = Run(tmp_path)
    assert run.load_state() is None
    run.save_state({"a": np.arange(3.0)}, {"step": 7})
    found = run.load_state()
    assert found is not None
    assert found[0]["a"].tolist() == [0, 1, 2]
    assert found[1]["step"] == 7
    assert not run.finished()
    run.state.write_bytes(run.state.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="damaged"):
        run.load_state()


def test_digests_are_sha256(tmp_path: Path) -> None:
    """Of the content; a stream has none."""
    (tmp_path / "a").write_bytes(b"abc")
    name = str(tmp_path / "a")
    assert Run(tmp_path).digests([name, "-"]) == {name: hashlib.sha256(b"abc").hexdigest()}


def test_facts_are_those_of_the_fit(toy_run: Path) -> None:
    """The recipe in the checkpoint, the inputs in the provenance, the outputs that exist."""
    run = Run(toy_run)
    assert run.finished()
    assert run.facts()["recipe"] == checkpoint.read_facts(run.model)["recipe"]
    assert len(run.facts()["inputs"]) == 2
    assert all(Path(path).exists() for path in run.outputs().values())
    assert run.metrics()["steps"] == 50


def test_a_run_takes_the_place_of_another_whole(
    toy_run: Path, normal_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure while it is written leaves the old one, success nothing of it."""
    run = Run(Path(shutil.copytree(toy_run, tmp_path / "r")))
    (run.path / "figures" / "old.png").touch()
    model, old = stored.load(normal_run), {p: p.read_bytes() for p in run.path.glob("*.*")}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", _full)
        with pytest.raises(OSError, match="no room"):
            run.write(model, "", {"steps": 1}, {"seed": 0})
    assert {p: p.read_bytes() for p in run.path.glob("*.*")} == old
    run.write(model, "", {"steps": 1}, {"seed": 0})
    assert run.metrics() == {"steps": 1}
    assert not (run.path / "losses.csv").exists(), "nothing was learnt, and the old curve is gone"
    assert not (run.path / "figures" / "old.png").exists()
    assert not list(run.path.rglob(".*"))


def _full(*_: object) -> int:
    """A disk without room for another checkpoint."""
    raise OSError("no room")


@pytest.mark.parametrize("full", [(Path, "write_bytes"), (os, "fsync")])
def test_a_state_without_room_leaves_the_run_that_it_would_replace(
    full: tuple[object, str], toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the disk says so when the state is written, or only when it is forced there."""
    run = Run(Path(shutil.copytree(toy_run, tmp_path / "r")))
    old = {p: p.read_bytes() for p in run.path.glob("*.*")}
    monkeypatch.setattr(*full, _full)
    with pytest.raises(OSError, match="no room"):
        run.save_state({"a": np.arange(3.0)}, {})
    assert {p: p.read_bytes() for p in run.path.glob("*.*")} == old


@pytest.mark.parametrize("resume", [False, True])
def test_the_state_of_another_fit_is_not_one_to_go_on_with(resume: bool, tmp_path: Path) -> None:
    """It stays until a state replaces it, and only what --resume takes up is called saved."""
    run = Run(tmp_path)
    run.save_state({"a": np.zeros(2)}, {"step": 1})
    os.utime(run.state, (1, 1))

    def fails(saves: bool) -> None:
        with run.writing(resume=resume):
            if saves:
                run.save_state({"a": np.ones(2)}, {"step": 2})
            raise ResourceError("full.")

    for saves in (False, True):
        with pytest.raises(ResourceError) as caught:
            fails(saves)
        assert ("--resume" in str(caught.value)) == (resume or saves)
        assert run.state.exists()


def test_folders_of_a_run_go_unless_others_use_them(tmp_path: Path) -> None:
    """When a fit fails, or another takes its place."""
    run = Run(tmp_path / "r")
    ours, folder = ("figures/loss.png", "couplings/tmaps_0_1.h5ad"), run.path / "figures" / "mine"

    def half() -> None:
        with run.writing():
            for name in ours:
                (run.path / name).parent.mkdir(exist_ok=True)
                (run.path / name).touch()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        half()
    assert not run.path.exists()
    folder.mkdir(parents=True)
    (run.path / ours[0]).touch()
    (folder / "x.txt").touch()
    run.save_state({"a": np.arange(3.0)}, {})
    assert [p.name for p in run.path.rglob("*") if p.is_file()] == [run.state.name, "x.txt"]


def test_what_was_drawn_of_a_run_goes_with_it(toy_run: Path, tmp_path: Path) -> None:
    """Pictures and page of a run that is overwritten; a picture of others stays."""
    run = Run(Path(shutil.copytree(toy_run, tmp_path / "r")))
    (run.path / "plots").mkdir()
    ours = [run.path / "report.html", run.path / "plots/clouds.png", run.path / "plots/loss.pdf"]
    other = run.path / "plots" / "mine.png"
    for place in (*ours, other):
        place.touch()
    model = stored.load(toy_run)
    run.write(model, "", {"steps": 1}, {"seed": 0})
    assert not any(place.exists() for place in ours)
    assert other.exists()
    other.unlink()
    run.write(model, "", {"steps": 1}, {"seed": 0})
    assert not (run.path / "plots").exists()
