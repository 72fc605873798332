"""What `cfm genes` is asked for."""

from dataclasses import dataclass

from cfmcli.requests.verbs import InterpolateRequest


@dataclass(frozen=True)
class GenesRequest:
    """Expression along trajectories.

    Args:
        paths: which points are followed, when and how; its output is the table of trends.
        genes: globs of genes to show, separated by commas; empty for those that change most.
        top: how many genes to show where none are named.
        label_key: annotation of the starting points that groups them.
        fate_key: column of classes at the last time, one of which each trajectory reaches.
        fates: file of fates of the starting points, as `cfm fate` writes it, that groups them.
    """

    paths: InterpolateRequest
    genes: str = ""
    top: int = 50
    label_key: str = ""
    fate_key: str = ""
    fates: str = ""
