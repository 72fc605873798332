"""Request of `cfm evaluate DATA`."""

from dataclasses import dataclass

from cfmcli.requests.choices import USUAL, Integration


@dataclass(frozen=True)
class LeaveOutRequest:
    """Request for scores of methods at times they were not trained on.

    Args:
        output: file of scores to write, empty for none.
        seeds: number of fits of each method, with consecutive seeds.
        strict: whether the transform, too, is fitted without the left-out time.
        by: column of labels whose points are also scored separately, empty for none.
        max_points: maximum number of points on a side.
        integration: how the flows are integrated.
        dry_run: describe what would be done, without doing it.
    """

    output: str = ""
    seeds: int = 1
    strict: bool = False
    by: str = ""
    max_points: int = 3000
    integration: Integration = USUAL
    dry_run: bool = False
