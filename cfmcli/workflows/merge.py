"""Merge: checks that shard outputs form one whole and writes it like a single run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cfmcli import io
from cfmcli.errors import ConfigError, DataError
from cfmcli.requests import Listener, MergeRequest, Outcome, Runtime
from cfmcli.workflows.sidecar import SIDECAR, Signed, signed

MEANS = (
    *("mean_cost", "path_energy"),
    *("mean_log_prob", "cross_entropy", "bits_per_dim", "mean_bound"),
)
"""Figures that are averaged over parts, weighted by their masses."""
SUMS, MOST = ("points", "rows"), ("nfe",)


def merge(request: MergeRequest, where: Runtime, listen: Listener) -> Outcome:
    """Merge the output files of shards.

    Raises:
        ConfigError: if the output format differs from that of the parts.
        DataError: if a part is missing, damaged, duplicated, or of another run or request.
        OutputExistsError: the output exists.
    """
    kinds = {io.suffix(path) for path in (*request.parts, request.output)}
    if len(kinds) > 1:
        raise ConfigError(
            f"Merging keeps the format, and these are {', '.join(sorted(kinds)) or 'without one'}: "
            "give all parts and -o the same suffix."
        )
    inputs = [*request.parts, *(path + SIDECAR for path in request.parts)]
    io.claim(request.output, force=where.force, inputs=[*inputs, request.data])
    parts = ordered([signed(path) for path in request.parts])
    figures = {"parts": len(parts), **together(parts)}
    if request.dry_run:
        return Outcome({}, figures, (f"{len(parts)} parts are complete",))
    paths = [part.path for part in parts]
    if parts[0].source:
        _annotate(request, parts)
    else:
        io.merge(paths, _pieces(parts), request.output)
    return Outcome({"merged": request.output}, figures)


def ordered(parts: Sequence[Signed]) -> list[Signed]:
    """Sort parts by their rows, after checking that they are all parts of one whole.

    Raises:
        DataError: if they are not.
    """
    first = parts[0]
    for part in parts[1:]:
        other = _differing(first, part)
        if other:
            raise DataError(
                f"{first.path} and {part.path} are no parts of one whole: they differ in {other}. "
                "Merge only the shards of one command."
            )
    found: dict[int, str] = {}
    for part in parts:
        if part.shard.number in found:
            raise DataError(
                f"{found[part.shard.number]} and {part.path} are both shard {part.shard}: the rows "
                "overlap. Name each shard once."
            )
        found[part.shard.number] = part.path
    count = first.shard.count
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {count} shards are missing: {', '.join(missing)}. Run them with "
            f"--shard {missing[0]}, and name all parts."
        )
    whole = sorted(parts, key=lambda part: part.shard.number)
    _gapless(whole)
    return whole


def _differing(one: Signed, other: Signed) -> str:
    """Name the properties in which two shards differ but must not."""
    asked = {**one.asked, "shards": one.shard.count, "stretches": len(one.frames)}
    wanted = {**other.asked, "shards": other.shard.count, "stretches": len(other.frames)}
    names = [name for name in {**asked, **wanted} if asked.get(name) != wanted.get(name)]
    return ", ".join(names)


def _gapless(parts: Sequence[Signed]) -> None:
    """Raise if the rows of the parts are not contiguous."""
    for stretch in zip(*(part.frames for part in parts), strict=True):
        starts, stops, totals = zip(*stretch, strict=True)
        if starts != (0, *stops[:-1]) or {stops[-1]} != set(totals):
            names = ", ".join(part.path for part in parts)
            raise DataError(
                f"{names}: their rows do not follow one another ({list(stretch)}): run all shards "
                "again."
            )


def _pieces(parts: Sequence[Signed]) -> list[tuple[int, int]]:
    """Origin of the rows of the whole: part number and number of rows, in order."""
    return [
        (number, part.frames[k][1] - part.frames[k][0])
        for k in range(len(parts[0].frames))
        for number, part in enumerate(parts)
    ]


def _annotate(request: MergeRequest, parts: Sequence[Signed]) -> None:
    """Add the results of all parts to a copy of the AnnData they were computed from."""
    source = request.data or parts[0].source
    if not Path(source).exists():
        raise DataError(f"{source}: the AnnData is not where it was: say where with --data.")
    if io.sha256(source) != parts[0].asked["inputs"][0]:
        raise DataError(f"{source}: it is not the AnnData that the parts were made from.")
    whole = together(parts)
    found = io.taken([part.path for part in parts], parts[0].added)
    with io.extending(source, request.output) as rows:
        for part, added in zip(parts, found, strict=True):
            said = dict(added.uns.get("cfm", {}))
            said |= {name: whole[name] for name in MOST if name in said}
            count = sum(stop - start for start, stop, _ in part.frames)
            rows.append(count, replace(added, uns={**added.uns, "cfm": said}))


def together(parts: Sequence[Signed]) -> dict[str, Any]:
    """Combine the figures of the parts into those of the whole, as far as possible."""
    found: dict[str, Any] = {}
    mass = sum(part.mass for part in parts)
    for name in parts[0].figures:
        told: list[Any] = [part.figures.get(name) for part in parts]
        if name in SUMS:
            found[name] = sum(told)
        elif name in MOST:
            found[name] = max(told)
        elif name in MEANS and mass and None not in told:
            found[name] = sum(p.mass * v for p, v in zip(parts, told, strict=True)) / mass
        elif name not in MEANS and all(value == told[0] for value in told):
            found[name] = told[0]
    return found
