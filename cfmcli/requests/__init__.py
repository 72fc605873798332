"""Requests: inputs and outputs of the commands, as the command line and scripts exchange them."""

from cfmcli.requests.choices import OWN, PLAIN, USUAL, Condition, Integration, Scoring
from cfmcli.requests.common import AUTO, Listener, Outcome, Progress, Runtime
from cfmcli.requests.fate import FateRequest, Vote
from cfmcli.requests.genes import GenesRequest
from cfmcli.requests.leaveout import LeaveOutRequest
from cfmcli.requests.pictures import PlotRequest, ReportRequest, View
from cfmcli.requests.shard import MergeRequest, Shard, shard_of
from cfmcli.requests.verbs import (
    EvaluateRequest,
    FitRequest,
    InterpolateRequest,
    LikelihoodRequest,
    SampleRequest,
    TransportRequest,
)

__all__ = [
    "AUTO",
    "OWN",
    "PLAIN",
    "USUAL",
    "Condition",
    "EvaluateRequest",
    "FateRequest",
    "FitRequest",
    "GenesRequest",
    "Integration",
    "InterpolateRequest",
    "LeaveOutRequest",
    "LikelihoodRequest",
    "Listener",
    "MergeRequest",
    "Outcome",
    "PlotRequest",
    "Progress",
    "ReportRequest",
    "Runtime",
    "SampleRequest",
    "Scoring",
    "Shard",
    "TransportRequest",
    "View",
    "Vote",
    "shard_of",
]
