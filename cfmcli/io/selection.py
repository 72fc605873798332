"""Selection: which columns of a file are features, ids or annotations."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cfmcli.errors import DataError

if TYPE_CHECKING:
    from cfmcli.data.table import Table

ID_NAMES = ("cell", "barcode", "id", "obs_names", "")
SHOWN = 12


@dataclass(frozen=True)
class Selection:
    """What to read from a file.

    Args:
        features: comma-separated globs, `a,b,pc*`, or a tuple of exact names; empty takes all
            numeric columns.
        drop: comma-separated globs of columns that are not features; they stay annotations.
        annotations: columns that are never features, even if numeric (time, label, weight keys).
        id_key: column of point ids; empty takes the first of `ID_NAMES` that exists.
        layer: an AnnData layer to read in place of X.
        use_rep: an AnnData obsm key (or an array of an npz file) to read in place of X.
        decode: whether to look for a decoder from the representation to genes.
    """

    features: str | tuple[str, ...] = ""
    drop: str = ""
    annotations: tuple[str, ...] = ()
    id_key: str = ""
    layer: str = ""
    use_rep: str = ""
    decode: bool = False


EVERYTHING = Selection()


def listed(names: Iterable[str]) -> str:
    """List the first few names, and their number if there are more."""
    known = list(names)
    head = ", ".join(repr(name) for name in known[:SHOWN]) or "none"
    return head if len(known) <= SHOWN else f"{head}, ... ({len(known)} in all)"


def unknown(
    what: str, name: str, known: Iterable[str], origin: str, asked: Collection[str] = ()
) -> DataError:
    """Build the error for an unknown name, with the nearest and the existing ones.

    Args:
        what: the kind of thing that is missing.
        name: the unknown name.
        known: existing names.
        origin: the file, for messages.
        asked: names that were also requested, and so are not suggested.
    """
    names = list(known)
    near = difflib.get_close_matches(name, [own for own in names if own not in asked], n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return DataError(f"{origin}: there is no {what} {name!r}.{guess} It holds: {listed(names)}.")


def globs(patterns: str | tuple[str, ...], names: Collection[str] = ()) -> tuple[str, ...]:
    """Split a comma-separated list of globs, unless it is exactly one of some names."""
    if not isinstance(patterns, str):
        return patterns
    if patterns in names:
        return (patterns,)
    return tuple(part.strip() for part in patterns.split(",") if part.strip())


def matched(patterns: str | tuple[str, ...], names: Sequence[str], origin: str) -> set[str]:
    """Names that match globs or exact names; each must match some.

    Raises:
        DataError: a glob or name matches nothing.
    """
    known = set(names)
    found: dict[str, set[str]] = {}
    for pattern in globs(patterns, known):
        hits = {pattern} & known
        if isinstance(patterns, str) and not hits:
            hits = {name for name in names if fnmatchcase(name, pattern)}
        found[pattern] = hits
    chosen = set().union(*found.values())
    for pattern, hits in found.items():
        if not hits:
            raise unknown("column or feature", pattern, names, origin, chosen)
    return chosen


def pick(names: Sequence[str], selection: Selection, origin: str) -> tuple[str, ...]:
    """Names selected by `features` and not removed by `drop`, in the file's order."""
    wanted = matched(selection.features, names, origin) if selection.features else set(names)
    left = wanted - matched(selection.drop, names, origin)
    return tuple(name for name in names if name in left)


def identifier(names: Sequence[str], selection: Selection, origin: str) -> str | None:
    """Name of the id column, None if there is none.

    Raises:
        DataError: `id_key` is not a column.
    """
    if selection.id_key and selection.id_key not in names:
        raise unknown("id column", selection.id_key, names, origin)
    preferred = (selection.id_key,) if selection.id_key else ID_NAMES
    return next((name for name in preferred if name in names), None)


def candidates(names: Sequence[str], selection: Selection, origin: str) -> tuple[str, ...]:
    """Columns that are features if numeric: neither ids nor annotations."""
    taken = {*ID_NAMES, selection.id_key, *selection.annotations}
    return tuple(name for name in pick(names, selection, origin) if name not in taken)


def numeric_features(
    numeric: Collection[str], names: Sequence[str], selection: Selection, origin: str
) -> tuple[str, ...]:
    """Select the features: candidates that are numeric.

    Raises:
        DataError: there is none, or a column requested by name is not numeric.
    """
    chosen = candidates(names, selection, origin)
    for name in globs(selection.features, names):
        if name in chosen and name not in numeric:
            raise DataError(
                f"{origin}: column {name!r} was chosen as a feature but does not hold numbers."
                " Choose numeric columns with --features."
            )
    features = tuple(name for name in chosen if name in numeric)
    if not features:
        raise DataError(
            f"{origin}: there is no numeric column to use as a feature. Columns: {listed(names)}."
            " Ids and key columns do not count; see --features, --drop and the keys."
        )
    return features


def others(names: Sequence[str], key: str | None, features: Sequence[str]) -> list[str]:
    """Columns that are neither ids nor features: the annotations."""
    taken = {key, *features}
    return [name for name in names if name not in taken]


def plain_only(selection: Selection, origin: str) -> None:
    """Refuse AnnData's options for a file without layers and obsm.

    Raises:
        DataError: `layer` or `use_rep` is set.
    """
    for option, value in (("--layer", selection.layer), ("--use-rep", selection.use_rep)):
        if value:
            raise DataError(
                f"{origin}: {option} {value} needs an AnnData file (.h5ad or .zarr);"
                " this file has columns only: choose among them with --features."
            )


def require(table: "Table", *names: str) -> None:
    """Check that a table has the annotations that the user named.

    Args:
        table: the table as read; columns that became features are listed in the error, too.
        names: annotation columns; empty names are ignored.

    Raises:
        DataError: one is missing; the message has the nearest name and the existing ones. Or it
            holds the ids.
    """
    held = list(map(str, table.obs.columns))
    for name in filter(None, names):
        if name not in held and name == table.obs.index.name:
            raise DataError(
                f"{table.origin}: column {name!r} holds the ids of the points and cannot be a key"
                " too. Name another column, or say with --id-key which one holds the ids."
            )
        if name not in held:
            others = (feature for feature in table.features if feature not in held)
            raise unknown("annotation column", name, [*held, *others], table.origin)
