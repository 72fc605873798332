"""Requests: what each verb is asked for, as the command line and scripts hand it over."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cfmcli.errors import CfmError, ConfigError


@dataclass(frozen=True)
class Runtime:
    """Where and how a verb runs, whatever the verb.

    Args:
        device: auto, cpu, cuda, cuda:I or mps.
        threads: CPU threads; 0 takes what the machine allows, at most 4, or 1 for small networks.
        force: whether existing outputs may be overwritten.
        seed: seed of all randomness.
        command: the command line, for provenance.
    """

    device: str = "auto"
    threads: int = 0
    force: bool = False
    seed: int = 0
    command: str = ""


@dataclass(frozen=True)
class FitRequest:
    """How to carry out a fit, beside its recipe.

    Args:
        run: run folder to write.
        resume: go on from where an interrupted fit stopped.
        dry_run: say what would be done, and what it would cost, and do nothing.
    """

    run: str
    resume: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Integration:
    """How a flow is integrated.

    Args:
        solver: spec of the solver; empty for dopri5, or stochastic-heun where there is noise.
        atol: absolute tolerance, None for the solver's own.
        rtol: relative tolerance, None for the solver's own.
        sde: diffusion of stochastic dynamics, a number or a spec; empty for the flow itself.
    """

    solver: str = ""
    atol: float | None = None
    rtol: float | None = None
    sde: str = ""

    @property
    def chosen(self) -> str:
        """Spec of the solver in use."""
        return self.solver or ("stochastic-heun" if self.sde else "dopri5")


@dataclass(frozen=True)
class Condition:
    """The condition that points are put under, as far as it is chosen rather than their own.

    Args:
        label: a class, empty for each point's own.
        covariates: column -> number; of columns that are not named, each point's own.
        guidance: weight w of classifier-free guidance: 0 leaves the condition out, 1 is the
            conditional flow itself, more exaggerates it.

    Raises:
        ConfigError: if a number is not finite, or the guidance is negative.
    """

    label: str = ""
    covariates: Mapping[str, float] = field(default_factory=dict)
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.guidance < math.inf:
            raise ConfigError(
                f"--guidance {self.guidance:g}: expected 0 (leave the condition out), 1 (as it "
                "was learnt) or another positive number."
            )
        for name, value in self.covariates.items():
            if not math.isfinite(value):
                raise ConfigError(f"--covariate {name}={value:g}: expected a finite number.")

    @property
    def chosen(self) -> bool:
        """Whether anything is asked of the condition."""
        return bool(self.label or self.covariates or self.guidance != 1)

    def unguided(self) -> "Condition":
        """The same, where no guidance is asked for.

        Raises:
            ConfigError: if there is one: a guided flow has no density that anything was fitted to.
        """
        if self.guidance != 1:
            raise ConfigError(
                f"guidance {self.guidance:g}: likelihoods are those of the conditional flow "
                "itself, so leave the guidance out."
            )
        return self


OWN = Condition()
"""Every point's own condition."""


@dataclass(frozen=True)
class Scoring:
    """How densities are obtained.

    Args:
        base: spec of the density that is known.
        divergence: spec of the divergence of the velocity.
        estimator: spec of the estimator; empty for ode, or sde where there is noise.
        sde: diffusion of stochastic dynamics, a number or a spec; empty for the flow itself.
        known: where the density is known: source (the first time) or target (the last).

    Raises:
        ConfigError: if `known` is another word.
    """

    base: str = "auto"
    divergence: str = "auto"
    estimator: str = ""
    sde: str = ""
    known: str = "source"

    def __post_init__(self) -> None:
        if self.known not in ("source", "target"):
            raise ConfigError(f"--known {self.known}: expected source or target.")


PLAIN = Scoring()
"""The density of the flow itself, from its source."""


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
    """

    run: str
    output: str
    count: int = 1000
    time: str = ""
    integration: Integration = Integration()
    dry_run: bool = False
    condition: Condition = OWN


@dataclass(frozen=True)
class TransportRequest:
    """Given points, carried from one time to another.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        start: clock time or label of the points, empty for the first.
        end: where they go, empty for the last.
        against: file of observed points at the end, for scores.
        max_points: most points on a side when scores are computed.
        dry_run: say what would be done, and do nothing.
        condition: what is chosen of the points' condition.
    """

    run: str
    data: str
    output: str
    start: str = ""
    end: str = ""
    against: str = ""
    max_points: int = 3000
    integration: Integration = Integration()
    dry_run: bool = False
    condition: Condition = OWN


@dataclass(frozen=True)
class LikelihoodRequest:
    """Log densities of given points at a time.

    Args:
        run: run folder.
        data: file of points.
        output: file to write.
        time: clock time or label of the points, empty for the last.
        scoring: how densities are obtained.
        dry_run: say what would be done, and do nothing.
        condition: what is chosen of the points' condition; there is no guidance.
    """

    run: str
    data: str
    output: str
    time: str = ""
    scoring: Scoring = PLAIN
    integration: Integration = Integration()
    dry_run: bool = False
    condition: Condition = OWN


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
    integration: Integration = Integration()
    dry_run: bool = False
    condition: Condition = OWN


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
    integration: Integration = Integration()
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a verb did.

    Args:
        outputs: name -> path of what was written.
        figures: the verb's own numbers, as JSON allows.
        notes: what a person should be told, a line each.
    """

    outputs: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """One sign of life of a long job.

    Args:
        done: units done.
        total: units in all.
        text: the figures of the moment.
    """

    done: int
    total: int
    text: str = ""


Listener = Callable[[Progress], None]


class Interrupted(CfmError):
    """A stop by signal, after what could be saved was saved.

    Args:
        message: what was saved, and how to go on.
        signal: number of the signal: 2 for Ctrl-C, 15 for SIGTERM.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
