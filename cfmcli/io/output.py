"""Output: atomic writing of files, protected against accidental overwriting."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from cfmcli.errors import ConfigError, OutputExistsError, ResourceError
from cfmcli.io.formats import FORMATS, suffix

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, or write elsewhere.",
    errno.EDQUOT: "The disk quota is used up: free some space, or write elsewhere.",
    errno.EFBIG: "The file would exceed the size limit (ulimit -f): raise it, or write elsewhere.",
    errno.EACCES: "Writing there is not allowed: choose another folder or change its rights.",
    errno.EPERM: "Writing there is not allowed: choose another folder or change its rights.",
    errno.EROFS: "That file system is read-only: choose another folder.",
    errno.ENOTDIR: "A part of that path is a file, not a folder: choose another folder.",
    errno.EEXIST: "A part of that path is a file, not a folder: choose another folder.",
    errno.ENAMETOOLONG: "The name is too long for this file system: choose a shorter one.",
    errno.EIO: "The disk failed: write elsewhere.",
}


def claim(
    path: str,
    *,
    force: bool,
    inputs: Sequence[str] = (),
    suffixes: Collection[str] = tuple(FORMATS),
) -> None:
    """Check, before any work, that an output may be written.

    Args:
        path: the output, or `-` for stdout, which is always allowed.
        force: whether existing outputs may be overwritten.
        inputs: input files; the output must not be one of them.
        suffixes: allowed suffixes; empty allows any, and folders.

    Raises:
        ConfigError: the suffix is unknown, or the output is an input.
        OutputExistsError: the output exists and `force` is not set.
        ResourceError: its folder cannot be created or written.
    """
    if path == "-":
        return
    if suffixes and suffix(path) not in suffixes:
        raise ConfigError(
            f"{path}: this output cannot have the suffix {suffix(path) or '(none)'}."
            f" Use one of {' '.join(suffixes)}."
        )
    for source in inputs:
        if source != "-" and _same(path, source):
            raise ConfigError(f"{path}: input and output are the same file. Choose another -o.")
    _not_there(path, force=force, folder=not suffixes or suffix(path) == ".zarr")
    _writable(Path(path))


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, moved into place on success and removed on failure.

    The caller writes a file there (or creates a folder) and leaves the block. The temporary name
    has the same suffix. Missing parent folders are created, and removed again on failure.

    Raises:
        ResourceError: the disk is full, read-only or forbidden.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{secrets.token_hex(4)}.part{suffix(target.name)}")
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        with blaming_disk(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield part
            _settle(part, target)
    finally:
        _remove(part)
        for folder in made:  # folders with the output are not empty, and stay
            with suppress(OSError):
                folder.rmdir()


def write_files(
    content: Mapping[str, bytes | Callable[[Path], None]], before: Callable[[], None] = lambda: None
) -> None:
    """Write all files or none: they get their names, in order, only when all are written.

    Args:
        content: path -> bytes, or a function that writes them to a path.
        before: called when all files are on the disk but not yet renamed.

    Raises:
        ResourceError: the disk is full, read-only or forbidden.
    """
    with ExitStack() as whole:
        for path, data in reversed(list(content.items())):
            part = whole.enter_context(atomic(path))
            data(part) if callable(data) else part.write_bytes(data)
            _force(part)
        before()


@contextmanager
def blaming_disk(path: str | Path) -> Iterator[None]:
    """Convert errors caused by the file system to ResourceError; other errors pass.

    Raises:
        ResourceError: the disk is full, read-only or forbidden.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        _blame_disk(error, path)
        raise


def as_json(mapping: Mapping[str, Any]) -> str:
    """Format a mapping as indented JSON in its own order; NaN and infinities raise."""
    return json.dumps(mapping, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256(path: str) -> str:
    """SHA-256 of a file, or of a folder's names and contents; "" for the stream `-`."""
    if path == "-":
        return ""
    root = Path(path)
    digest = hashlib.sha256()
    for place in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if place.is_file():
            digest.update(place.relative_to(root).as_posix().encode() if place != root else b"")
            _feed(digest, place)
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", place: Path) -> None:
    """Add a file's bytes to a digest, one mebibyte at a time."""
    with place.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)


def _same(one: str, other: str) -> bool:
    """Whether two paths are the same file, also through links."""
    if Path(one).exists() and Path(other).exists():
        return Path(one).samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)


def _not_there(path: str, *, force: bool, folder: bool) -> None:
    """Raise if something exists that must not be replaced."""
    if not os.path.lexists(path):
        return
    if not force:
        raise OutputExistsError(f"{path}: it exists. Use --force to overwrite it, or another -o.")
    if Path(path).is_dir() and not folder:
        raise ConfigError(f"{path}: this is a folder, where a file is to be written. Rename one.")


def _writable(place: Path) -> None:
    """Raise ResourceError unless the nearest existing folder is writable."""
    home = next(p for p in place.absolute().parents if os.path.lexists(p))
    if not home.is_dir():
        raise ResourceError(f"{place}: {home} is not a folder. Choose another -o.")
    if not os.access(home, os.W_OK | os.X_OK):
        raise ResourceError(f"{place}: the folder {home} is not writable. Choose another -o.")
    try:  # permissions are not enough: no file can be made in /proc
        with TemporaryFile(dir=home):
            return
    except OSError as error:
        _blame_disk(error, place)
        raise ResourceError(
            f"{place}: the folder {home} cannot be written: no file can be made there. Choose "
            "another -o."
        ) from error


def _settle(part: Path, target: Path) -> None:
    """Force what was written onto the disk and move it into place."""
    if part.is_dir():
        _replace_folder(part, target)
        return
    _force(part)
    part.replace(target)


def _force(part: Path) -> None:
    """Force a file onto the disk, which may only then be found to be full."""
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())


def _replace_folder(part: Path, target: Path) -> None:
    """Replace a folder; the old one is kept until the new one is in place."""
    old = part.with_name(f"{part.name}.old")
    if target.exists():
        target.rename(old)
    try:
        part.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    _remove(old)


def _remove(place: Path) -> None:
    """Remove a file or folder if it exists."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _blame_disk(error: OSError | RuntimeError, path: str | Path) -> None:
    """Raise ResourceError if the file system caused an error."""
    code = getattr(error, "errno", None)
    # HDF5 and NumPy report a full disk as text, not always as a number.
    code = code or next((n for n in _REMEDIES if f"errno = {n}," in str(error)), None)
    code = errno.ENOSPC if "requested and" in str(error) else code
    if code in _REMEDIES:
        why, remedy = os.strerror(code), _REMEDIES[code]
        raise ResourceError(f"{path}: it could not be written ({why}). {remedy}") from error
