"""Common inputs and outputs of all commands: runtime settings, progress, results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

AUTO = -1
"""As many workers as threads, requested or available, if more than one."""


@dataclass(frozen=True)
class Runtime:
    """Runtime settings of a command.

    Args:
        device: auto, cpu, cuda, cuda:I or mps.
        threads: number of CPU threads; 0 for those available, at most 4, or 1 for small layers.
        force: whether existing outputs may be overwritten.
        seed: seed of all randomness.
        command: the command line, for provenance.
        ot_workers: processes that couple points in advance or in parallel; 0 for none.
        warnings: warnings issued so far; grows while the command runs.
    """

    device: str = "auto"
    threads: int = 0
    force: bool = False
    seed: int = 0
    command: str = ""
    ot_workers: int = AUTO
    warnings: Sequence[str] = field(default=(), compare=False)


@dataclass(frozen=True)
class Outcome:
    """Result of a command.

    Args:
        outputs: name -> path of written files.
        figures: the command's results, as JSON values.
        notes: notes for the user, one line each.
        told: whether this process reports the result; otherwise another one does.
    """

    outputs: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    told: bool = True


@dataclass(frozen=True)
class Progress:
    """Progress of a long job.

    Args:
        done: number of units done.
        total: total number of units.
        text: current figures.
        notes: notes for the user that are known by now.
    """

    done: int
    total: int
    text: str = ""
    notes: tuple[str, ...] = ()


Listener = Callable[[Progress], None]
