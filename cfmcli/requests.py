"""Requests: what each verb is asked for, as the command line and scripts hand it over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cfmcli.errors import CfmError


@dataclass(frozen=True)
class Runtime:
    """Where and how a verb runs, whatever the verb.

    Args:
        device: auto, cpu, cuda, cuda:I or mps.
        threads: CPU threads; 0 takes what the machine allows, at most 4, or 1 for small networks.
        force: whether existing outputs may be overwritten.
        seed: seed of all randomness.
        command: the command line, for provenance.
    """

    device: str = "auto"
    threads: int = 0
    force: bool = False
    seed: int = 0
    command: str = ""


@dataclass(frozen=True)
class FitRequest:
    """How to carry out a fit, beside its recipe.

    Args:
        run: run folder to write.
        resume: go on from where an interrupted fit stopped.
        dry_run: say what would be done, and what it would cost, and do nothing.
    """

    run: str
    resume: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Integration:
    """How a flow is integrated.

    Args:
        solver: spec of the solver.
        atol: absolute tolerance, None for the solver's own.
        rtol: relative tolerance, None for the solver's own.
    """

    solver: str = "dopri5"
    atol: float | None = None
    rtol: float | None = None


@dataclass(frozen=True)
class SampleRequest:
    """New points at a time.

    Args:
        run: run folder.
        output: file to write.
        count: how many points.
        time: clock time or snapshot label, empty for the last.
        dry_run: say what would be done, and do nothing.
    """

    run: str
    output: str
    count: int = 1000
    time: str = ""
    integration: Integration = Integration()
    dry_run: bool = False


@dataclass(frozen=True)
class TransportRequest:
    """Given points, carried from one time to another.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        start: clock time or label of the points, empty for the first.
        end: where they go, empty for the last.
        against: file of observed points at the end, for scores.
        max_points: most points on a side when scores are computed.
        dry_run: say what would be done, and do nothing.
    """

    run: str
    data: str
    output: str
    start: str = ""
    end: str = ""
    against: str = ""
    max_points: int = 3000
    integration: Integration = Integration()
    dry_run: bool = False


@dataclass(frozen=True)
class LikelihoodRequest:
    """Log densities of given points at a time.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        time: clock time or label of the points, empty for the last.
        base: spec of the source density.
        divergence: spec of the divergence.
        dry_run: say what would be done, and do nothing.
    """

    run: str
    data: str
    output: str
    time: str = ""
    base: str = "auto"
    divergence: str = "auto"
    integration: Integration = Integration()
    dry_run: bool = False


@dataclass(frozen=True)
class InterpolateRequest:
    """States and trajectories at chosen times.

    Args:
        run: run folder.
        output: file to write.
        data: file of starting points, empty for the stored earliest cloud.
        times: clock times or labels; empty where frames are asked for.
        frames: evenly spaced times from first to last; 0 where times are given.
        start: clock time or label of the starting points, empty for the first.
        population: carry every snapshot to the times that follow it instead.
        cells: file of ids of starting points, one a line.
        where: pandas query on the annotations of starting points.
        dry_run: say what would be done, and do nothing.
    """

    run: str
    output: str
    data: str = ""
    times: tuple[str, ...] = ()
    frames: int = 0
    start: str = ""
    population: bool = False
    cells: str = ""
    where: str = ""
    integration: Integration = Integration()
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a verb did.

    Args:
        outputs: name -> path of what was written.
        figures: the verb's own numbers, as JSON allows.
        notes: what a person should be told, a line each.
    """

    outputs: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """One sign of life of a long job.

    Args:
        done: units done.
        total: units in all.
        text: the figures of the moment.
    """

    done: int
    total: int
    text: str = ""


Listener = Callable[[Progress], None]


class Interrupted(CfmError):
    """A stop by signal, after what could be saved was saved.

    Args:
        message: what was saved, and how to go on.
        signal: number of the signal: 2 for Ctrl-C, 15 for SIGTERM.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
