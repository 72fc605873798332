"""What `cfm evaluate DATA` is asked for."""

from dataclasses import dataclass

from cfmcli.requests.choices import USUAL, Integration


@dataclass(frozen=True)
class LeaveOutRequest:
    """Scores of methods at times that they have not seen.

    Args:
        output: file of scores to write, empty for none.
        seeds: fits of each method, with seeds that follow one another.
        strict: fit the transform without the time left out too.
        by: column of labels whose points are scored apart as well, empty for none.
        max_points: most points on a side.
        integration: how the flows are integrated.
        dry_run: say what would be done, and do nothing.
    """

    output: str = ""
    seeds: int = 1
    strict: bool = False
    by: str = ""
    max_points: int = 3000
    integration: Integration = USUAL
    dry_run: bool = False
