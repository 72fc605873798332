"""Request of `cfm genes`."""

from dataclasses import dataclass

from cfmcli.requests.verbs import InterpolateRequest


@dataclass(frozen=True)
class GenesRequest:
    """Request for expression along trajectories.

    Args:
        paths: points, times and motion of the trajectories; its output is the table of trends.
        genes: globs of genes to show, separated by commas; empty for those that change most.
        top: number of genes to show if none are named.
        label_key: annotation of the starting points that groups them.
        fate_key: column of classes at the last time, which group trajectories by where they end.
        fates: file of fates of the starting points, written by `cfm fate`, for grouping.
    """

    paths: InterpolateRequest
    genes: str = ""
    top: int = 50
    label_key: str = ""
    fate_key: str = ""
    fates: str = ""
