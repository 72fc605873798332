"""Headers: metadata of checkpoints, read without loading tensors or torch."""

import json
import struct
from pathlib import Path
from typing import Any

from cfmcli.errors import CheckpointError

FORMAT = 2
MODEL = "model.safetensors"
TRAINING = "training.safetensors"


def read_facts(path: Path) -> dict[str, Any]:
    """Read the metadata of a checkpoint from its header alone.

    Raises:
        CheckpointError: if it is missing, damaged, or of another format.
    """
    try:
        facts = json.loads(_header(path)[0]["__metadata__"]["cfm"])
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise _absent(path) from None
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise damaged(path, str(error)) from None
    if not isinstance(facts, dict):
        raise damaged(path, "its header is no mapping")
    if facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {facts.get('format')}, this version reads {FORMAT}: "
            "fit again, or use the version of cfm that wrote it (see provenance.json)."
        )
    return facts


def offset(path: Path, name: str) -> int:
    """Byte offset of a tensor's data in a checkpoint."""
    header, start = _header(path)
    return start + int(header[name]["data_offsets"][0])


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a checkpoint, and the offset at which it ends."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        return json.loads(file.read(length)), 8 + length


def _absent(path: Path) -> CheckpointError:
    """Build the error for a missing checkpoint, with what to do."""
    run = path.parent
    if not run.exists():
        return CheckpointError(f"There is no run {run}: fit one with cfm fit ... -o {run}.")
    if path.name == MODEL and (run / TRAINING).exists():
        return CheckpointError(
            f"The run {run} is not finished: go on with the same cfm fit command and --resume."
        )
    return CheckpointError(f"{run} is no run of cfm: it holds no {path.name}.")


def damaged(path: Path, reason: str) -> CheckpointError:
    """Build the error for a file that cannot be read."""
    return CheckpointError(
        f"{path} is damaged or no checkpoint of cfm ({reason}): fit again, or restore a copy."
    )
