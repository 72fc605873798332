"""Specs: parsing of a name with options, `sinkhorn:reg=0.05`, alone or in a chain."""

import re
from dataclasses import dataclass

from cfmcli.errors import ConfigError


@dataclass(frozen=True)
class Spec:
    """A parsed `name:key=value,key=value`.

    Args:
        name: a name in some family.
        options: its options as text, in the order given.
    """

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        tail = ",".join(f"{key}={value}" for key, value in self.options)
        return f"{self.name}:{tail}" if tail else self.name


def parse_spec(text: str) -> Spec:
    """Parse `name:key=value,key=value`.

    Raises:
        ConfigError: if it is empty, a chain of several specs, or not of that form.
    """
    specs = parse_chain(text)
    if len(specs) != 1:
        raise ConfigError(f"'{text}' names {len(specs)} specs where one is expected.")
    return specs[0]


def parse_chain(text: str) -> tuple[Spec, ...]:
    """Parse specs chained with commas: "log1p,pca:n=50,standardize".

    A piece with "=" but without ":" belongs to the spec before it.

    Raises:
        ConfigError: if a piece is malformed.
    """
    specs: list[Spec] = []
    for piece in (part.strip() for part in text.split(",")):
        head, colon, tail = piece.partition(":")
        if "=" in head and not colon and specs:
            last = specs.pop()
            specs.append(Spec(last.name, (*last.options, _option(piece, text))))
        elif re.fullmatch(r"[A-Za-z][\w+-]*", head) and (tail or not colon):
            specs.append(Spec(head, (_option(tail, text),) if tail else ()))
        else:
            raise ConfigError(
                f"Cannot read '{piece}' in '{text}': expected name or name:key=value,key=value, "
                "for example sinkhorn:reg=0.05."
            )
    return tuple(specs)


def _option(text: str, whole: str) -> tuple[str, str]:
    """Parse one key=value."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise ConfigError(f"Cannot read the option '{text}' in '{whole}': expected key=value.")
    return key, value
