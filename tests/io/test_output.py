"""Outputs appear whole or not at all, and nothing is overwritten by accident."""

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cfmcli.data.table import Table
from cfmcli.errors import CfmError, ConfigError, OutputExistsError, ResourceError
from cfmcli.io import as_json, atomic, claim, output, sha256, write_table
from tests.limits import file_limit

POINTS = Table(np.eye(2), ("x", "y"), pd.DataFrame(index=["0", "1"]))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("folder", [False, True])
def test_failure_leaves_nothing(stop: type[BaseException], folder: bool, tmp_path: Path) -> None:
    """Any exception inside passes through; the old file is intact and the new one is gone."""
    (tmp_path / "a.csv").write_text("old")

    def fail() -> None:
        with atomic(tmp_path / "a.csv") as part:
            assert part.suffix == ".csv"
            assert part.parent == tmp_path
            part.mkdir() if folder else part.write_text("half")
            raise stop

    with pytest.raises(stop):
        fail()
    assert _names(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "old"


def _write(path: Path, text: str) -> None:
    """Write a text all or nothing."""
    with atomic(path) as part:
        part.write_text(text)


def test_success_replaces(tmp_path: Path) -> None:
    """A file, a folder and a link's target are replaced; parents are made."""
    _write(tmp_path / "deep" / "a.txt", "é\n")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == "é\n".encode()
    (tmp_path / "link.txt").symlink_to(tmp_path / "deep" / "a.txt")
    _write(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "deep" / "a.txt").read_text() == "new"
    for text in ("one", "two"):
        with atomic(tmp_path / "a.zarr") as part:
            part.mkdir()
            (part / text).write_text(text)
    assert _names(tmp_path / "a.zarr") == ["two"]
    assert _names(tmp_path) == ["a.zarr", "deep", "link.txt"]


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EROFS", "EACCES"])
def test_disk_errors(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the file system while settling is told as such, and leaves nothing."""

    def refuse(_: int) -> None:
        raise OSError(getattr(errno, code), "refused")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ResourceError, match="could not be written") as caught:
        write_table(str(tmp_path / "a.csv"), POINTS)
    assert caught.value.exit_code == 7
    assert _names(tmp_path) == []


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".npy", ".npz", ".h5ad"])
def test_no_room(suffix: str, tmp_path: Path) -> None:
    """A write that the system cuts off half-way: exit code 7, no file, for every format."""
    values = np.random.default_rng(0).normal(size=(4000, 8))
    table = Table(values, tuple("abcdefgh"), pd.DataFrame(index=[str(i) for i in range(4000)]))
    write_table(str(tmp_path / f"whole{suffix}"), table)
    with file_limit(50_000), pytest.raises(ResourceError) as caught:
        write_table(str(tmp_path / f"a{suffix}"), table)
    assert caught.value.exit_code == 7
    assert _names(tmp_path) == [f"whole{suffix}"]


def test_other_errors_are_not_blamed_on_the_disk(tmp_path: Path) -> None:
    """An OSError about something else passes through as it is."""
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "a.csv"):
        (tmp_path / "missing").read_bytes()
    assert _names(tmp_path) == []


def _claimed(path: Path | str, code: int, words: str, **options: object) -> None:
    with pytest.raises(CfmError, match=words) as caught:
        claim(str(path), **({"force": False} | options))  # type: ignore[arg-type]
    assert caught.value.exit_code == code


def test_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may not be written is refused with its exit code; what may is left untouched."""
    old = tmp_path / "old.csv"
    old.write_text("x\n1\n")
    (tmp_path / "link.csv").symlink_to(old)
    (tmp_path / "run.csv").mkdir()
    monkeypatch.chdir(tmp_path)
    _claimed(tmp_path / "a.xls", ConfigError.exit_code, ".xls")
    _claimed(old, OutputExistsError.exit_code, "--force")
    _claimed("link.csv", OutputExistsError.exit_code, "--force")
    _claimed(old, ConfigError.exit_code, "same file", force=True, inputs=[str(old)])
    _claimed("./old.csv", ConfigError.exit_code, "same file", force=True, inputs=["-", str(old)])
    _claimed("link.csv", ConfigError.exit_code, "same file", force=True, inputs=["old.csv"])
    _claimed("run.csv", ConfigError.exit_code, "folder", force=True)
    _claimed(old / "a.csv", ResourceError.exit_code, "not a folder")
    claim(str(old), force=True)
    claim(str(tmp_path / "new" / "deep" / "a.h5ad"), force=False, inputs=[str(old)])
    claim("-", force=False)
    claim(str(tmp_path / "run"), force=False, suffixes=())
    assert old.read_text() == "x\n1\n"
    assert _names(tmp_path) == ["link.csv", "old.csv", "run.csv"]


def test_folders_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be written is found before any work."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    _claimed(tmp_path / "a.csv", ResourceError.exit_code, "not writable")


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOENT, "no file can be made there"), (errno.EROFS, "read-only")]
)
def test_a_folder_that_takes_no_file_whatever_its_rights(
    number: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as /proc, or a disk that is mounted for reading; nothing is left of the attempt."""
    claim(str(tmp_path / "a.csv"), force=False)
    assert not list(tmp_path.iterdir())

    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number), "part")

    monkeypatch.setattr(output, "TemporaryFile", refuse)
    _claimed(tmp_path / "new" / "a.csv", ResourceError.exit_code, says)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_proc_takes_no_file() -> None:
    """Though root has all rights there."""
    _claimed(Path("/proc/x.csv"), ResourceError.exit_code, "/proc (cannot be|is not) writ")


def test_json_is_strict() -> None:
    """JSON keeps its order, is valid for any reader, and refuses NaN rather than write it."""
    text = as_json({"b": 1, "a": "é"})
    assert list(json.loads(text).items()) == [("b", 1), ("a", "é")]
    assert text.endswith("}\n")
    with pytest.raises(ValueError, match="JSON"):
        as_json({"a": float("nan")})


def test_hashes(tmp_path: Path) -> None:
    """A file's hash is that of its bytes; a folder's changes with names and contents."""
    content = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(content)
    assert sha256(str(tmp_path / "a")) == hashlib.sha256(content).hexdigest()
    seen = set()
    for name, text in [("p", "1"), ("p", "2"), ("q", "2")]:
        folder = tmp_path / f"{name}{text}"
        folder.mkdir()
        (folder / name).write_text(text)
        seen.add(sha256(str(folder)))
    assert len(seen) == 3
    assert sha256("-") == ""
