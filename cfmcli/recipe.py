"""Recipe: every setting that describes a fit, and its TOML form."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from cfmcli import catalog
from cfmcli.errors import ConfigError
from cfmcli.presets import BRIDGE_SHARES
from cfmcli.specs import parse_spec

SECTIONS = ("data", "method", "training")
STANDARD = "standardize"
AUTO = "auto"
MOST_STEPS, KEPT = 3_000, 0.1
"""Meaning of `--steps auto`: maximum number of steps, and the fraction of points held out for
validation if --validation is 0."""


def _setting(section: str, meaning: str, default: Any, low: float | None = None) -> Any:
    """Define a recipe field with its TOML section, meaning and lower bound."""
    return dataclasses.field(
        default=default, metadata={"section": section, "meaning": meaning, "low": low}
    )


@dataclass(frozen=True)
class Recipe:
    """A printable, re-runnable description of a fit.

    Args:
        every field: its meaning is in its metadata, which the command line shows as help.

    Raises:
        ConfigError: if a value is out of its range, or two settings contradict each other.
    """

    inputs: tuple[str, ...] = _setting("data", "data files, in time order", ())
    source: str = _setting("data", "what t = 0 is: data (the first cloud) or gaussian", "data")
    time_key: str = _setting("data", "column that holds the time of each point", "")
    label_key: str = _setting("data", "column of classes that the flow is conditional on", "")
    covariates: tuple[str, ...] = _setting(
        "data", "columns of numbers that the flow is conditional on: dose,age", ()
    )
    weight_key: str = _setting("data", "column of positive sample weights", "")
    growth_key: str = _setting(
        "data", "column of prior growth, for the source of each coupling", ""
    )
    growth_kind: str = _setting(
        "data",
        "what it holds: rate (log per unit of the clock) or score (relative offspring)",
        "rate",
    )
    mass: str = _setting(
        "data",
        "total mass of the snapshots where it grows: counts, equal, or numbers 1,2.5,4",
        "counts",
    )
    id_key: str = _setting("data", "column of point ids", "")
    features: str = _setting("data", "features to use, as globs: a,b,pc*", "")
    drop: str = _setting("data", "columns to leave out of the features, as globs", "")
    where: str = _setting(
        "data",
        'condition on the annotations of the points to use: "day != 7"; names with blanks in '
        "backticks, '`cell day` != 7'",
        "",
    )
    layer: str = _setting("data", "layer of an h5ad to read instead of X", "")
    use_rep: str = _setting("data", "representation of an h5ad (obsm key) to read instead of X", "")
    times: tuple[float, ...] = _setting("data", "clock times of the files", ())
    time_order: tuple[str, ...] = _setting("data", "time labels in order, equally spaced", ())
    time_map: tuple[str, ...] = _setting("data", "time labels with their times: d2=2,d10=10", ())
    holdout: tuple[str, ...] = _setting(
        "data", "time kept out of training and scored at the end (repeatable)", ()
    )
    preprocess: str = _setting(
        "data", "preparation of raw counts, a name for a chain before --transform", ""
    )
    transform: str = _setting("data", "chain of transforms of the features", "")
    method: str = _setting("method", "preset: a name for a triple (see cfm list methods)", "otcfm")
    coupling: str = _setting("method", "spec that replaces the method's coupling", "")
    interpolant: str = _setting("method", "spec that replaces the method's interpolant", "")
    objective: str = _setting("method", "spec that replaces the method's objective", "")
    field: str = _setting("method", "spec of the network", "mlp")
    scope: str = _setting(
        "method", "where the coupling is solved: dataset (once), minibatch, or auto", "auto"
    )
    ot_batch: int = _setting(
        "method", "points per minibatch coupling; 0 means the batch size", 0, 0
    )
    condition_cost: float = _setting(
        "method", "what a covariate weighs in the coupling, one deviation against one", 10.0, 0
    )
    condition_dropout: float = _setting(
        "method", "share of draws that leave the condition out, for --guidance", 0.1, 0
    )
    from_run: str = _setting("method", "run whose flow makes the pairs, for --method rf", "")
    steps: int | str = _setting(
        "training",
        f"optimiser steps; auto ends when the loss of points kept aside has converged, after "
        f"{MOST_STEPS:,} at most",
        AUTO,
        1,
    )
    batch_size: int = _setting("training", "pairs per step", 256, 1)
    lr: float = _setting("training", "peak learning rate", 1e-2)
    ema: float = _setting("training", "decay of the averaged weights; 0 turns it off", 0.99, 0)
    validation: float = _setting(
        "training",
        "fraction of points kept for a validation loss; 0 keeps what --steps auto needs, else none",
        0.0,
        0,
    )
    patience: int = _setting(
        "training",
        "validations without improvement before stopping; 0 never stops; with --steps auto it is "
        "half of all so far, at least 30",
        0,
        0,
    )
    precision: str = _setting("training", "arithmetic of the network: f32 or bf16", "f32")
    seed: int = _setting("training", "seed of all randomness", 0, 0)

    def __post_init__(self) -> None:
        if isinstance(self.steps, str) and self.steps != AUTO:
            raise ConfigError(f"--steps {self.steps!r}: expected a whole number, or {AUTO}.")
        for item in dataclasses.fields(self):
            low, value = item.metadata["low"], getattr(self, item.name)
            if low is not None and value != AUTO and not value >= low:
                raise ConfigError(f"{option(item.name)} {value}: expected at least {low}.")
        _one_of("source", self.source, ("data", "gaussian"))
        _one_of("scope", self.scope, ("auto", "dataset", "minibatch"))
        _one_of("growth_kind", self.growth_kind, ("rate", "score"))
        if self.growth_kind != "rate" and not self.growth_key:
            raise ConfigError(
                f"--growth-kind {self.growth_kind} says what --growth-key holds: name the column."
            )
        _one_of("precision", self.precision, ("f32", "bf16"))
        _below_one("ema", self.ema)
        _below_one("validation", self.validation)
        _below_one("condition_dropout", self.condition_dropout)
        if not all(map(math.isfinite, self.times)):
            raise ConfigError(f"--times {self.times}: expected finite numbers.")
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"--lr {self.lr}: expected a positive, finite number.")
        if self.patience and not self.kept:
            raise ConfigError("--patience needs a validation loss: add --validation 0.1.")
        if self.time_map and self.time_order:
            raise ConfigError("--time-map and --time-order both set the times: give one of them.")
        catalog.preset(self.method)
        if self.method == "rf" and not self.from_run:
            raise ConfigError("--method rf straightens a trained run: name it with --from-run RUN.")

    @property
    def most_steps(self) -> int:
        """Number of optimiser steps, or the maximum for `auto`."""
        return MOST_STEPS if isinstance(self.steps, str) else self.steps

    @property
    def kept(self) -> float:
        """Fraction of points held out for a validation loss."""
        return self.validation or (KEPT if self.steps == AUTO else 0.0)

    def triple(self) -> tuple[str, str, str]:
        """Specs of coupling, interpolant and objective, from the preset unless given.

        With sbcfm the coupling's regularisation follows the bridge: reg = 2 F(1), twice the
        integral of sigma^2(t), which is 2 sigma^2 if sigma is constant.

        Reference: Tong et al. (2024), arXiv 2302.00482, Prop. 3.5
        """
        preset = catalog.preset(self.method)
        interpolant = self.interpolant or preset.interpolant
        coupling = self.coupling or preset.coupling
        path = parse_spec(interpolant)
        if self.method == "sbcfm" and path.name == "brownian" and not self.coupling:
            options = dict(path.options)
            share = BRIDGE_SHARES.get(options.get("schedule", "constant"), 1.0)
            sigma = _number("sigma", options.get("sigma", "1"))
            coupling = f"sinkhorn:reg={2 * share * sigma**2:.12g}"
        return coupling, interpolant, self.objective or preset.objective

    def chain(self) -> str:
        """The chain of transforms: that of the preparation, then the requested; or the default."""
        if not self.preprocess:
            return self.transform or STANDARD
        prepared = catalog.build("preparations", self.preprocess).chain
        return f"{prepared},{self.transform}" if self.transform else str(prepared)

    def resolved(self) -> "Recipe":
        """The recipe with the specs of its preset, preparation and defaults filled in."""
        coupling, interpolant, objective = self.triple()
        return dataclasses.replace(
            self,
            preprocess="",
            transform=self.chain(),
            coupling=coupling,
            interpolant=interpolant,
            objective=objective,
        )

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """The recipe by section, as in its TOML file."""
        sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            plain = list(value) if isinstance(value, tuple) else value
            sections[item.metadata["section"]][item.name] = plain
        return sections

    def to_toml(self) -> str:
        """The recipe as TOML, which `layers.from_toml` reads."""
        import tomli_w

        return tomli_w.dumps(self.to_mapping())


def option(name: str) -> str:
    """The command-line option of a recipe field."""
    return "--" + name.replace("_", "-")


def meaning(name: str) -> str:
    """Meaning of a recipe field, as shown in help."""
    return str(FIELDS[name].metadata["meaning"])


def default(name: str) -> Any:
    """The default of a recipe field."""
    return FIELDS[name].default


FIELDS = {item.name: item for item in dataclasses.fields(Recipe)}


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise unless a word is one of the known ones."""
    if value not in known:
        raise ConfigError(f"{option(name)} '{value}'.{catalog.did_you_mean(value, known)}")


def _below_one(name: str, value: float) -> None:
    """Raise unless a fraction is below one."""
    if not value < 1:
        raise ConfigError(f"{option(name)} {value}: expected a number from 0 to below 1.")


def _number(name: str, text: str) -> float:
    """Parse a number in a spec's option."""
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{name}={text}: expected a number.") from None
