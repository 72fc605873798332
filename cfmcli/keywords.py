"""Keywords: typed keyword arguments of the Python API."""

from collections.abc import Mapping
from typing import Any, TypedDict

from cfmcli.data.conditions import word
from cfmcli.requests import Condition

CHOSEN = ("label", "covariates", "guidance")


class Chosen(TypedDict, total=False):
    """Keywords that select the condition of points of a conditional flow.

    Without them each point has its own: the columns of a DataFrame or of an AnnData's obs, or what
    was drawn with it.

    Args:
        label: a class, for all points.
        covariates: column -> number, for all points.
    """

    label: Any
    covariates: Mapping[str, float]


class Guided(Chosen, total=False):
    """The keywords of `Chosen`, plus the guidance scale.

    Args:
        guidance: w of classifier-free guidance: 0 ignores the condition, 1 is the conditional flow
            itself, larger values exaggerate it.
    """

    guidance: float


class Scored(Chosen, total=False):
    """The keywords of `Chosen`, plus settings of the density estimate.

    Args:
        base: spec of the known density.
        divergence: spec of the divergence.
        estimator: spec of the estimator.
        sde: diffusion of stochastic dynamics, a number or a spec.
        known: which density is known: "source" or "target".
    """

    base: str
    divergence: str
    estimator: str
    sde: str | float
    known: str


def condition_of(keywords: Mapping[str, Any]) -> Condition:
    """Convert keywords to a condition; a label may be a number."""
    label = keywords.get("label")
    return Condition(**{**keywords, "label": "" if label is None else word(label)})
