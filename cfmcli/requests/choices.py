"""Choices that several commands share: integration, conditions, densities."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from cfmcli.errors import ConfigError


@dataclass(frozen=True)
class Integration:
    """Settings of the integration of a flow.

    Args:
        solver: spec of the solver; empty for dopri5, or stochastic-heun with noise.
        atol: absolute tolerance, None for the solver's own.
        rtol: relative tolerance, None for the solver's own.
        sde: diffusion of stochastic dynamics, a number or a spec; empty for the flow itself.
        precision: arithmetic of the network, f32 or bf16.

    Raises:
        ConfigError: if the precision is unknown.
    """

    solver: str = ""
    atol: float | None = None
    rtol: float | None = None
    sde: str = ""
    precision: str = "f32"

    def __post_init__(self) -> None:
        if self.precision not in ("f32", "bf16"):
            raise ConfigError(f"--precision '{self.precision}': expected f32 or bf16.")

    @property
    def bf16(self) -> bool:
        """Whether the network runs in bfloat16."""
        return self.precision == "bf16"

    @property
    def chosen(self) -> str:
        """Spec of the solver in use."""
        return self.solver or ("stochastic-heun" if self.sde else "dopri5")


USUAL = Integration()
"""The flow itself, by dopri5 with its default tolerances."""


@dataclass(frozen=True)
class Condition:
    """Condition chosen by the user for all points, instead of their own.

    Args:
        label: a class, empty for each point's own.
        covariates: column -> number; columns not named keep each point's own value.
        guidance: scale w of classifier-free guidance: 0 ignores the condition, 1 is the conditional
            flow itself, larger values exaggerate it.

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
        """Whether any part of the condition is chosen."""
        return bool(self.label or self.covariates or self.guidance != 1)

    def unguided(self) -> "Condition":
        """Return this condition, after checking that no guidance is requested.

        Raises:
            ConfigError: if it is: a guided flow has no density that was fitted to data.
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
    """Settings of density estimates.

    Args:
        base: spec of the known density.
        divergence: spec of the divergence of the velocity.
        estimator: spec of the estimator; empty for ode, or sde with noise.
        sde: diffusion of stochastic dynamics, a number or a spec; empty for the flow itself.
        known: which density is known: source (the first time) or target (the last).

    Raises:
        ConfigError: if `known` is neither.
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
"""The density of the deterministic flow, from its source."""
