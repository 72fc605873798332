"""Request of `cfm fate`."""

from dataclasses import dataclass

from cfmcli.errors import ConfigError
from cfmcli.requests.choices import OWN, USUAL, Condition, Integration

DRAWS = 100


@dataclass(frozen=True)
class Vote:
    """How to determine the class of points at a time: votes of the nearest labelled points.

    Args:
        key: column of their classes.
        against: file of labelled points, empty for the run's own snapshot.
        neighbours: number of voters; 0 for the number that predicts their own classes best.

    Raises:
        ConfigError: if no column is named.
    """

    key: str
    against: str = ""
    neighbours: int = 0

    def __post_init__(self) -> None:
        if not self.key:
            raise ConfigError("--label-key is empty: name the column of the classes to tell.")


@dataclass(frozen=True)
class FateRequest:
    """Request for class probabilities of points at a later time.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        vote: how to determine the class that a point reaches.
        start: clock time or label of the points; empty for each point's own, or the first.
        end: time at which the class is determined, empty for the last.
        spread: observed points near each start whose fates are averaged; 0 for the default.
        draws: stochastic paths of each point; 0 for the default.
        truth: column of DATA with the class that each point actually reached, for scores.
        changes: features to set before the points are carried, such as GENE=0.
        dry_run: describe what would be done, without doing it.
        condition: condition chosen for the points.

    Raises:
        ConfigError: if draws are requested without noise.
    """

    run: str
    data: str
    output: str
    vote: Vote
    start: str = ""
    end: str = ""
    spread: int = 0
    draws: int = 0
    truth: str = ""
    changes: tuple[str, ...] = ()
    integration: Integration = USUAL
    dry_run: bool = False
    condition: Condition = OWN

    def __post_init__(self) -> None:
        if self.draws and not self.integration.sde:
            raise ConfigError(
                f"--draws {self.draws}: the flow itself has one path a point. Give --sde EPS for "
                "random ones, or --spread for the fates of its neighbours."
            )

    @property
    def paths(self) -> int:
        """Number of paths per point."""
        return self.draws or (DRAWS if self.integration.sde else 1)
