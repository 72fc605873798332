"""Errors: all expected failures of cfm, one class hierarchy with exit codes."""

from typing import ClassVar

_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


class CfmError(Exception):
    """An expected failure, with one message to the user: what, got, expected, what to do."""

    exit_code: ClassVar[int] = 1


class ConfigError(CfmError):
    """An option, a spec or a combination of them that is invalid."""

    exit_code = 2


class DataError(CfmError):
    """Input data that are missing, malformed or inconsistent with the options."""

    exit_code = 3


class NumericsError(CfmError):
    """A computation with non-finite or otherwise unusable results."""

    exit_code = 4


class OutputExistsError(CfmError):
    """An output that already exists, without permission to overwrite it."""

    exit_code = 5


class CheckpointError(CfmError):
    """A run folder that is incomplete, damaged, or of another version or recipe."""

    exit_code = 6


class ResourceError(CfmError):
    """A device, memory or disk that is absent, full or inaccessible."""

    exit_code = 7


class RankError(ResourceError):
    """Another process of a distributed fit that is lost or was never reached."""


class Interrupted(CfmError):
    """A stop by signal, after saving what could be saved.

    Args:
        message: what was saved, and how to continue.
        signal: number of the signal: 2 for Ctrl-C, 15 for SIGTERM.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class CfmWarning(UserWarning):
    """Something the user should know that does not stop the run."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was full, on any device: torch reports it as RuntimeError or a subclass."""
    full = isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MEMORY)
    return full or isinstance(error, MemoryError)
