"""What every verb takes and gives: where it runs, how it reports, what it came to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

AUTO = -1
"""As many workers as the machine allows threads, where that is more than one."""


@dataclass(frozen=True)
class Runtime:
    """Where and how a verb runs, whatever the verb.

    Args:
        device: auto, cpu, cuda, cuda:I or mps.
        threads: CPU threads; 0 takes what the machine allows, at most 4, or 1 for small networks.
        force: whether existing outputs may be overwritten.
        seed: seed of all randomness.
        command: the command line, for provenance.
        ot_workers: processes that couple points ahead of training or side by side; 0 for none.
        warnings: what was warned of, growing as the verb goes on.
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
    """What a verb did.

    Args:
        outputs: name -> path of what was written.
        figures: the verb's own numbers, as JSON allows.
        notes: what a person should be told, a line each.
        told: whether this process tells of it; another one does otherwise.
    """

    outputs: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    told: bool = True


@dataclass(frozen=True)
class Progress:
    """One sign of life of a long job.

    Args:
        done: units done.
        total: units in all.
        text: the figures of the moment.
        notes: what is known by now and good to know at once.
    """

    done: int
    total: int
    text: str = ""
    notes: tuple[str, ...] = ()


Listener = Callable[[Progress], None]
