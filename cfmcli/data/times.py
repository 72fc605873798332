"""Times of snapshots: from labels such as "d2", "E7.5" or "48h" to a clock with real spacing."""

import bisect
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cfmcli.catalog import did_you_mean
from cfmcli.errors import ConfigError, DataError

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?|\d+(?:\.\d+)?")
JOINTS = " _+-."
_DAYS = {
    **dict.fromkeys(("s", "sec"), 1 / 86400),
    **dict.fromkeys(("min",), 1 / 1440),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 1 / 24),
    **dict.fromkeys(("d", "day", "days"), 1.0),
    **dict.fromkeys(("w", "wk", "week", "weeks"), 7.0),
}


@dataclass(frozen=True)
class TimeMap:
    """Time labels of the data with their clock times, ascending.

    Args:
        labels: labels as written in the data.
        times: their clock times, strictly increasing.
        rule: description of how the times were found.
    """

    labels: tuple[str, ...]
    times: tuple[float, ...]
    rule: str

    def __str__(self) -> str:
        pairs = ", ".join(f"{k} = {v:g}" for k, v in zip(self.labels, self.times, strict=True))
        return f"{pairs} ({self.rule})"


@dataclass(frozen=True)
class Timeline:
    """The clock of a model, with knots at the snapshots it was trained on.

    Inner time is s = k + (tau - tau_k) / (tau_{k+1} - tau_k): one unit per segment, whatever the
    real spacing, so that the network never sees raw hours.

    Args:
        times: clock times tau_k of the snapshots, strictly increasing, at least two.
        labels: labels of the snapshots in the data.
    """

    times: tuple[float, ...]
    labels: tuple[str, ...]

    @property
    def segments(self) -> int:
        """Number of gaps between snapshots."""
        return len(self.times) - 1

    def segment(self, time: float) -> int:
        """Index of the gap that contains a clock time."""
        found = bisect.bisect_right(self.times, time) - 1
        return min(max(found, 0), self.segments - 1)

    def inner(self, time: float) -> float:
        """Convert clock time tau to inner time s in [0, K].

        Raises:
            ConfigError: if it lies outside the snapshots, where nothing was learnt.
        """
        first, last = self.times[0], self.times[-1]
        slack = 1e-9 * (last - first)
        if not first - slack <= time <= last + slack:
            raise ConfigError(
                f"Time {time:g} lies outside what the model learnt, {first:g} to {last:g}: "
                "choose a time between."
            )
        k = self.segment(time)
        return k + (time - self.times[k]) / self.span(k)

    def clock(self, inner: float) -> float:
        """Convert inner time s in [0, K] to clock time tau."""
        k = min(max(int(inner), 0), self.segments - 1)
        return self.times[k] + (inner - k) * self.span(k)

    def span(self, segment: int) -> float:
        """Duration of a gap in clock units."""
        return self.times[segment + 1] - self.times[segment]

    def parse(self, text: str | float) -> float:
        """Parse a clock time: a number, or a snapshot's label.

        Raises:
            ConfigError: if it is neither.
        """
        if isinstance(text, str) and text in self.labels:
            return self.times[self.labels.index(text)]
        try:
            return float(text)
        except ValueError:
            known = did_you_mean(str(text), self.labels)
            raise ConfigError(f"Time '{text}' is neither a number nor a snapshot.{known}") from None


def parse_map(items: Sequence[str]) -> dict[str, float]:
    """Parse "label=time" items.

    Raises:
        ConfigError: if an item is malformed.
    """
    found: dict[str, float] = {}
    for item in items:
        label, equals, time = item.rpartition("=")
        if label.strip() in found:
            raise ConfigError(f"--time-map names '{label.strip()}' twice: leave one of them out.")
        try:
            found[label.strip()] = float(time)
        except ValueError:
            equals = ""
        if not equals or not math.isfinite(found[label.strip()]):
            raise ConfigError(f"--time-map: cannot read '{item}', expected label=time, as in d2=2.")
    return found


def map_times(
    labels: Sequence[str],
    *,
    given: Sequence[str] = (),
    order: Sequence[str] = (),
    ranked: bool = False,
    left_out: Collection[str] = (),
) -> TimeMap:
    """Determine clock times of labels: as given, by stated order, or by the number in each.

    Args:
        labels: distinct labels of the data; in their own order if `ranked`.
        given: "label=time" items, which take precedence.
        order: labels in order, which get the times 0, 1, 2, ...
        ranked: whether the labels are an ordered categorical, so their order is known.
        left_out: labels of unused points, for which times may still be given.

    Returns:
        The labels by ascending time.

    Raises:
        DataError: if times cannot be determined from the labels, which are listed.
        ConfigError: if a given label does not exist or one has no time.
    """
    if given:
        return _given(labels, _without(parse_map(given), left_out))
    if order:
        if len(set(order)) < len(order):
            raise ConfigError(f"--time-order {','.join(order)}: it names a label twice.")
        ranks = {label: float(k) for k, label in enumerate(order)}
        return _given(labels, _without(ranks, left_out), "--time-order")
    times, rule = _read(labels)
    if ranked and (not times or sorted(set(times)) != times):
        times = [float(k) for k in range(len(labels))]
        rule = "rank in the ordered categories; the spacing is unknown"
    if len(set(times)) < len(labels):
        reason = "some have the same number" if times else rule
        raise DataError(
            f"Cannot tell the times of the labels {', '.join(labels)}: {reason}. "
            "Set them with --time-map LABEL=TIME,..., or with --time-order LABEL,LABEL,..."
        )
    pairs = sorted(zip(times, labels, strict=True))
    return TimeMap(tuple(k for _, k in pairs), tuple(t for t, _ in pairs), rule)


def _without(times: Mapping[str, float], left_out: Collection[str]) -> dict[str, float]:
    """Drop the times of labels of unused points."""
    return {label: time for label, time in times.items() if label not in left_out}


def _given(labels: Sequence[str], times: dict[str, float], rule: str = "--time-map") -> TimeMap:
    """Check and sort times set by the user: every label once, none unknown."""
    for label in times:
        if label not in labels:
            raise ConfigError(
                f"{rule} names '{label}', which the data do not have.{did_you_mean(label, labels)}"
            )
    missing = [label for label in labels if label not in times]
    if missing:
        raise ConfigError(f"{rule} gives no time for {', '.join(missing)}: add them.")
    if len(set(times.values())) < len(times):
        raise ConfigError(f"{rule} gives the same time to two labels: times must differ.")
    pairs = sorted((time, label) for label, time in times.items())
    return TimeMap(tuple(k for _, k in pairs), tuple(t for t, _ in pairs), rule)


def _read(labels: Sequence[str]) -> tuple[list[float], str]:
    """Parse the number in each label, in days if units differ; empty if ambiguous."""
    try:
        plain = [float(label) for label in labels]
        return (plain, "as numbers") if all(map(math.isfinite, plain)) else ([], "not all finite")
    except ValueError:
        pass
    found = [list(_NUMBER.finditer(label)) for label in labels]
    if any(len(hits) != 1 for hits in found):
        return [], "some contain no number, or several"
    numbers, doubt = _signed(labels, [hits[0] for hits in found])
    if doubt:
        return [], doubt
    values = [float(number) for number in numbers]
    rests = [_words(label, hits[0]) for label, hits in zip(labels, found, strict=True)]
    if len(set(rests)) == 1:
        return values, "the number in each label"
    if all(rest in _DAYS for rest in rests):
        scale = [_DAYS[rest] for rest in rests]
        days = [round(v * s, 9) for v, s in zip(values, scale, strict=True)]
        return days, "the number in each label, in days"
    return [], "their numbers stand in different words"


def _signed(labels: Sequence[str], numbers: Sequence[re.Match[str]]) -> tuple[list[str], str]:
    """Number of each label with its sign, and the reason if that is ambiguous.

    A hyphen after a word is a minus sign if other numbers follow the word without one: day-2, day0.
    It is not if all labels have it: day-1, day-2.
    """
    told = [number.group() for number in numbers]
    joints = [_joint(label, number) for label, number in zip(labels, numbers, strict=True)]
    minus = [joint.endswith("-") for joint in joints]
    lost = [m and not n.startswith("-") for m, n in zip(minus, told, strict=True)]
    if not any(lost) or all(minus):
        return told, ""
    if len({joint.removesuffix("-").removesuffix("+") for joint in joints}) > 1:
        return told, "some have a hyphen before their number, which may be a minus or not"
    return ["-" * m + n.lstrip("+-") for m, n in zip(minus, told, strict=True)], ""


def _joint(label: str, number: re.Match[str]) -> str:
    """Separator between a word and the digits after it: sign, hyphen, spaces or nothing."""
    digits = number.end() - len(number.group().lstrip("+-"))
    before = label[:digits]
    return before[len(before.rstrip(JOINTS)) :]


def _words(label: str, number: re.Match[str]) -> str:
    """Text of a label apart from its number: "d" for "3dpi", "E" for "E7.5"."""
    before = label[: number.start()].rstrip(JOINTS)
    rest = (before + label[number.end() :]).strip(JOINTS).lower()
    return re.sub(r"p[icf]$", "", rest)
