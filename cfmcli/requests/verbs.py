"""Requests of the commands."""

from dataclasses import dataclass, field

from cfmcli.requests.choices import OWN, PLAIN, USUAL, Condition, Integration, Scoring
from cfmcli.requests.shard import Shard


@dataclass(frozen=True)
class FitRequest:
    """Request for a fit, apart from its recipe.

    Args:
        run: run folder to write.
        resume: continue an interrupted fit.
        dry_run: describe what would be done and its cost, without doing it.
        nproc: number of processes that train together on this machine.
        arguments: the command line after `cfm`, for those processes.
        write_couplings: write the plan of each gap into the run.
    """

    run: str
    resume: bool = False
    dry_run: bool = False
    nproc: int = 1
    arguments: tuple[str, ...] = field(default=(), compare=False)
    write_couplings: bool = False


@dataclass(frozen=True)
class SampleRequest:
    """Request for new points at a time.

    Args:
        run: run folder.
        output: file to write.
        count: number of points.
        time: clock time or snapshot label, empty for the last.
        dry_run: describe what would be done, without doing it.
        condition: condition chosen for the points.
        shard: the part of the points to process, None for all.
    """

    run: str
    output: str
    count: int = 1000
    time: str = ""
    integration: Integration = USUAL
    dry_run: bool = False
    condition: Condition = OWN
    shard: Shard | None = None


@dataclass(frozen=True)
class TransportRequest:
    """Request to carry given points from one time to another.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        start: clock time or label of the points, own for each point's own, empty for the first.
        end: clock time or label of the destination, empty for the last.
        against: file of observed points at the end, for scores.
        max_points: maximum number of points on a side for scores.
        changes: features to set before the points are carried, such as GENE=0.
        dry_run: describe what would be done, without doing it.
        condition: condition chosen for the points.
        shard: the part of the points to process, None for all.
    """

    run: str
    data: str
    output: str
    start: str = ""
    end: str = ""
    against: str = ""
    max_points: int = 3000
    changes: tuple[str, ...] = ()
    integration: Integration = USUAL
    dry_run: bool = False
    condition: Condition = OWN
    shard: Shard | None = None


@dataclass(frozen=True)
class LikelihoodRequest:
    """Request for log densities of given points at a time.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        time: clock time or label of the points, own for each point's own, empty for the last.
        scoring: settings of the density estimates.
        dry_run: describe what would be done, without doing it.
        condition: condition chosen for the points; without guidance.
        shard: the part of the points to process, None for all.
    """

    run: str
    data: str
    output: str
    time: str = ""
    scoring: Scoring = PLAIN
    integration: Integration = USUAL
    dry_run: bool = False
    condition: Condition = OWN
    shard: Shard | None = None


@dataclass(frozen=True)
class InterpolateRequest:
    """Request for states and trajectories at chosen times.

    Args:
        run: run folder.
        output: file to write.
        data: file of starting points, empty for the stored earliest cloud.
        times: clock times or labels; empty if frames are requested.
        frames: number of evenly spaced times from first to last; 0 if times are given.
        start: clock time or label of the starting points, empty for the first.
        population: carry every snapshot to the times that follow it instead.
        cells: file of ids of starting points, one per line.
        where: pandas query on the annotations of starting points.
        dry_run: describe what would be done, without doing it.
        condition: condition chosen for the points.
        shard: the part of the points to process, None for all.
        sides: the snapshots that a population comes from: before, or both, in shares 1 - s and s at
            the fraction s of a gap; empty for the method's default.
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
    integration: Integration = USUAL
    dry_run: bool = False
    condition: Condition = OWN
    shard: Shard | None = None
    sides: str = ""


@dataclass(frozen=True)
class EvaluateRequest:
    """Request for scores of a run against observed points.

    Args:
        run: run folder.
        output: file of scores to write, empty for none.
        against: file of observed points, empty for the stored snapshots.
        time: clock time or label to score; empty for every snapshot after the first, or for the
            last time if points are given.
        max_points: maximum number of points on a side.
        dry_run: describe what would be done, without doing it.
    """

    run: str
    output: str = ""
    against: str = ""
    time: str = ""
    max_points: int = 3000
    integration: Integration = USUAL
    dry_run: bool = False
