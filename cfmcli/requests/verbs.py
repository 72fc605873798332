"""What each verb is asked for."""

from dataclasses import dataclass, field

from cfmcli.requests.choices import OWN, PLAIN, USUAL, Condition, Integration, Scoring
from cfmcli.requests.shard import Shard


@dataclass(frozen=True)
class FitRequest:
    """How to carry out a fit, beside its recipe.

    Args:
        run: run folder to write.
        resume: go on from where an interrupted fit stopped.
        dry_run: say what would be done, and what it would cost, and do nothing.
        nproc: processes that train together on this machine.
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
    """New points at a time.

    Args:
        run: run folder.
        output: file to write.
        count: how many points.
        time: clock time or snapshot label, empty for the last.
        dry_run: say what would be done, and do nothing.
        condition: what is chosen of the points' condition.
        shard: which part of the points is meant, None for all.
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
    """Given points, carried from one time to another.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        start: clock time or label of the points, own for that of each, empty for the first.
        end: where they go, empty for the last.
        against: file of observed points at the end, for scores.
        max_points: most points on a side when scores are computed.
        changes: features to set before the points are carried, such as GENE=0.
        dry_run: say what would be done, and do nothing.
        condition: what is chosen of the points' condition.
        shard: which part of the points is meant, None for all.
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
    """Log densities of given points at a time.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        time: clock time or label of the points, own for that of each, empty for the last.
        scoring: how densities are obtained.
        dry_run: say what would be done, and do nothing.
        condition: what is chosen of the points' condition; there is no guidance.
        shard: which part of the points is meant, None for all.
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
        condition: what is chosen of the points' condition.
        shard: which part of the points is meant, None for all.
        sides: the snapshots that a population comes from: before, or both, in shares 1 - s and s
            at the share s of a gap; empty for what the method says.
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
    """Scores of a run against what was observed.

    Args:
        run: run folder.
        output: file of scores to write, empty for none.
        against: file of observed points, empty for the stored snapshots.
        time: clock time or label to score; empty for every snapshot after the first, or for the
            last time where points are given.
        max_points: most points on a side.
        dry_run: say what would be done, and do nothing.
    """

    run: str
    output: str = ""
    against: str = ""
    time: str = ""
    max_points: int = 3000
    integration: Integration = USUAL
    dry_run: bool = False
