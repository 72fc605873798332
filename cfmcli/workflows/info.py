"""Info: description of a run from its small files and the checkpoint's header."""

import json
import tomllib
from pathlib import Path
from typing import Any

from cfmcli.errors import CheckpointError
from cfmcli.headers import MODEL, TRAINING, read_facts


def describe_run(path: str) -> dict[str, Any]:
    """Describe a run folder without loading torch.

    Args:
        path: run folder.

    Raises:
        CheckpointError: if it is not a run, or its checkpoint is damaged.
    """
    run = Path(path)
    if not (run / MODEL).exists() and (run / TRAINING).exists():
        facts = read_facts(run / TRAINING)
        done = facts["records"][-1]["step"] if facts["records"] else 0
        return {
            "kind": "unfinished run",
            "steps_done": done,
            "recipe": facts["recipe"],
            "hint": "go on with the same cfm fit command and --resume",
        }
    facts = read_facts(run / MODEL)
    try:
        metrics = json.loads((run / "metrics.json").read_text())
        origin = json.loads((run / "provenance.json").read_text())
        recipe = tomllib.loads((run / "recipe.toml").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no whole run of cfm: {error}. Fit it again.") from None
    return {
        "kind": "run",
        "source": "N(0, I)" if facts["gaussian_source"] else "cloud",
        "snapshots": [
            {
                "label": cloud["label"],
                "time": cloud["time"],
                "points": metrics["points"][cloud["label"]],
                "held_out": cloud["held_out"],
            }
            for cloud in facts["clouds"]
        ],
        "features": facts["features"],
        "transforms": facts["transforms"],
        "heads": facts["heads"],
        "conditions": facts["conditions"],
        "recipe": recipe,
        "metrics": metrics,
        "provenance": origin,
    }
