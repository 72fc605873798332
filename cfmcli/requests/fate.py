"""What `cfm fate` is asked for."""

from dataclasses import dataclass

from cfmcli.errors import ConfigError
from cfmcli.requests.choices import OWN, USUAL, Condition, Integration

DRAWS = 100


@dataclass(frozen=True)
class Vote:
    """Who tells the class of points at a time: the nearest labelled ones observed then.

    Args:
        key: column of their classes.
        against: file of labelled points, empty for the run's own snapshot.
        neighbours: how many vote; 0 for as many as tell each other's classes best.

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
    """Class probabilities of points at a later time.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        vote: who tells the class that a point reaches.
        start: clock time or label of the points; empty for each point's own, or the first.
        end: when their class is told, empty for the last.
        spread: observed points near each start whose fates are averaged; 0 for the usual number.
        draws: stochastic paths of each point; 0 for the usual number.
        truth: column of DATA with the class that each point really reached, for scores.
        changes: features to set before the points are carried, such as GENE=0.
        dry_run: say what would be done, and do nothing.
        condition: what is chosen of the points' condition.

    Raises:
        ConfigError: if draws are asked for where nothing is random.
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
        """Paths of each point."""
        return self.draws or (DRAWS if self.integration.sde else 1)
