"""Conditions: a class and covariates of each point, as inputs of conditional flows."""

import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cfmcli.catalog import did_you_mean
from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning, ConfigError, DataError
from cfmcli.layers import written
from cfmcli.requests import OWN, Condition

if TYPE_CHECKING:
    import pandas as pd

SLACK = 0.05
"""Fraction of a covariate's range by which values may exceed it without a warning."""


@dataclass(frozen=True)
class Conditions:
    """Encoding of annotations as numeric conditions for a network.

    A condition is (1, one-hot class among K, standardised covariates); all zeros mean none.

    Args:
        label_key: column of classes, empty for none.
        classes: the classes, sorted.
        covariates: columns of numbers.
        center: mean of each covariate.
        scale: standard deviation of each, above 0.
        low: smallest value of each; empty if unknown, as in older runs.
        high: largest value of each.
    """

    label_key: str = ""
    classes: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Number of values in a condition, 0 without conditions."""
        own = len(self.classes) + len(self.covariates)
        return own + 1 if own else 0

    def __str__(self) -> str:
        """Describe the label and covariates that define a condition."""
        classes = f"{self.label_key} ({', '.join(self.classes)})" if self.label_key else ""
        return ", ".join(filter(None, (classes, *self.covariates)))

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that make up a condition."""
        return (self.label_key, *self.covariates) if self.label_key else self.covariates

    def known(self, obs: "pd.DataFrame") -> bool:
        """Whether annotations include all columns of a condition."""
        return bool(self.keys) and all(key in obs.columns for key in self.keys)

    def encode(self, obs: "pd.DataFrame", origin: str = "the points") -> Array:
        """Encode the conditions of points, shape (n, C).

        Args:
            obs: annotations, including all condition columns.
            origin: origin of the points, for messages.

        Raises:
            DataError: if a column is missing or a value is invalid.
        """
        obs = self.told(obs, origin=origin)
        parts = [np.ones((len(obs), 1))]
        if self.classes:
            parts.append(np.eye(len(self.classes))[self.codes(obs, origin)])
        if self.covariates:
            values = np.stack([_numbers(obs, key, origin) for key in self.covariates], axis=1)
            self._say_what_is_beyond(values, origin)
            parts.append((values - np.array(self.center)) / np.array(self.scale))
        return np.hstack(parts)

    def _say_what_is_beyond(self, values: Array, origin: str) -> None:
        """Warn of covariates outside the training range, shape (n, K)."""
        columns = zip(self.covariates, values.T, self.low, self.high, strict=False)
        for name, column, low, high in columns:
            slack = SLACK * (high - low)
            beyond = column[(column < low - slack) | (column > high + slack)]
            if len(beyond):
                warnings.warn(
                    f"{origin}: {len(beyond)} of {len(column)} values of '{name}', such as "
                    f"{beyond[0]:g}, are outside what the run has learnt, {low:g} to {high:g}: "
                    "there it can only guess.",
                    CfmWarning,
                    stacklevel=2,
                )

    def codes(self, obs: "pd.DataFrame", origin: str = "the points") -> npt.NDArray[np.intp]:
        """Class indices of points.

        Raises:
            DataError: if a point has no class, or an unknown one.
        """
        place = {name: k for k, name in enumerate(self.classes)}
        named = _words(obs, self.label_key, origin)
        unknown = [name for name in named if name not in place]
        if unknown:
            raise DataError(
                f"{origin}: the run has not learnt the label '{unknown[0]}' of "
                f"'{self.label_key}'.{did_you_mean(unknown[0], self.classes)}"
            )
        return np.array([place[name] for name in named], dtype=np.intp)

    def told(
        self, obs: "pd.DataFrame", given: Condition = OWN, origin: str = "the points"
    ) -> "pd.DataFrame":
        """Conditions of points in words and numbers: those given, else the points' own.

        Args:
            obs: annotations.
            given: condition chosen for all points.
            origin: origin of the points, for messages.

        Returns:
            The annotations that define conditions, one row per point.

        Raises:
            ConfigError: if a given condition is unknown to the model.
            DataError: if points have no condition of their own, or an invalid one, and none is
                given.
        """
        values = self.checked(given)
        own = [key for key in self.keys if key not in values]
        for key in own:
            if key not in obs.columns:
                raise DataError(self._missing(key, obs, origin))
            self.codes(obs, origin) if key == self.label_key else _numbers(obs, key, origin)
        return obs[own].assign(**values)[list(self.keys)]

    def completed(
        self, obs: "pd.DataFrame", given: Condition = OWN, origin: str = "the points"
    ) -> "pd.DataFrame":
        """Add missing condition columns to annotations; arguments as for `told`."""
        told = self.told(obs, given, origin)
        return obs.assign(**{key: told[key] for key in self.keys if key not in obs.columns})

    def checked(self, given: Condition) -> dict[str, Any]:
        """Convert a given condition to annotations, after checking it.

        Args:
            given: condition chosen for all points.

        Returns:
            Column -> value.

        Raises:
            ConfigError: if the class or a column is unknown to the model.
        """
        if given.chosen and not self.keys:
            raise ConfigError(
                "This run is not conditional, so --label, --covariate and --guidance mean nothing "
                "to it: leave them out, or fit with --label-key or --covariates."
            )
        if given.label and given.label not in self.classes:
            raise ConfigError(self._unknown(f"--label '{given.label}'", given.label, self.classes))
        for name in given.covariates:
            if name not in self.covariates:
                raise ConfigError(self._unknown(f"--covariate '{name}'", name, self.covariates))
        return ({self.label_key: given.label} if given.label else {}) | dict(given.covariates)

    def facts(self) -> dict[str, Any]:
        """The encoding as JSON values."""
        return asdict(self)

    def _unknown(self, what: str, name: str, known: Sequence[str]) -> str:
        """Message for a choice that is unknown to the run."""
        return f"{what}: the run is conditional on {self}.{_guess(name, known)}"

    def _missing(self, key: str, obs: "pd.DataFrame", origin: str) -> str:
        """Message for points that lack a condition column."""
        classes = f"--label, one of {', '.join(self.classes)}"
        choice = classes if key == self.label_key else f"--covariate {key}=VALUE"
        return (
            f"{origin}: there is no column '{key}', which the run is conditional on: add it to the "
            f"points, or give {choice}.{_guess(key, map(str, obs.columns))}"
        )


def _guess(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known name as a question, if any."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def word(value: object) -> str:
    """Format a time or a class as users write it: 2 for 2.0."""
    return written(float(str(value))) if isinstance(value, float | np.floating) else str(value)


def absent(column: "pd.Series[Any]") -> npt.NDArray[np.bool_]:
    """Whether each point lacks a value in a column; an empty word counts as missing."""
    return np.asarray(column.isna() | (column == "").fillna(False), dtype=np.bool_)


def load_conditions(facts: Mapping[str, Any]) -> Conditions:
    """Restore conditions from the values of `facts`."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
    return Conditions(**plain)


def fit_conditions(
    label_key: str, covariates: Sequence[str], frames: Sequence["pd.DataFrame"]
) -> Conditions:
    """Determine classes and covariate scales from annotated points.

    Args:
        label_key: column of classes, empty for none.
        covariates: columns of numbers.
        frames: annotations of each cloud, including these columns.

    Raises:
        ConfigError: if a column is named twice.
        DataError: if a value is missing, or a covariate is constant or not numeric.
    """
    keys = [key for key in (label_key, *covariates) if key]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"Conditions on {', '.join(keys)}: a column is named twice.")
    classes: set[str] = set()
    if label_key:
        classes = {name for obs in frames for name in _words(obs, label_key, "the points")}
    center, scale, low, high = [], [], [], []
    for key in covariates:
        values = np.concatenate([_numbers(obs, key, "the points") for obs in frames])
        center.append(float(values.mean()))
        scale.append(float(values.std()))
        low.append(float(values.min()))
        high.append(float(values.max()))
        if not scale[-1] > 0:
            raise DataError(
                f"The covariate '{key}' is {values[0]:g} everywhere, so nothing can depend on it: "
                "leave it out of --covariates."
            )
    return Conditions(
        label_key,
        tuple(sorted(classes)),
        tuple(covariates),
        *map(tuple, (center, scale, low, high)),
    )


def _words(obs: "pd.DataFrame", key: str, origin: str) -> list[str]:
    """Labels of points as text: 2 for 2.0."""
    column = obs[key]
    missing = np.flatnonzero(absent(column))
    if len(missing):
        raise DataError(
            f"{origin}: point {obs.index[missing[0]]} has no label in '{key}' ({len(missing)} such "
            "points): fill it in or drop those rows."
        )
    return [word(value) for value in column]


def _numbers(obs: "pd.DataFrame", key: str, origin: str) -> Array:
    """Values of a covariate."""
    try:
        values = np.asarray(obs[key], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{origin}: the covariate '{key}' does not hold numbers: name classes with --label-key."
        ) from None
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(
            f"{origin}: point {obs.index[bad[0]]} has {values[bad[0]]} in the covariate '{key}' "
            f"({len(bad)} such points): fill it in or drop those rows."
        )
    return values
