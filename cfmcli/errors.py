"""Every expected failure of cfm: one tree, each class with its exit code."""

from typing import ClassVar


class CfmError(Exception):
    """An expected failure, told to the user in one message: what, got, expected, what to do."""

    exit_code: ClassVar[int] = 1


class ConfigError(CfmError):
    """An option, a spec or a combination of them that cannot work."""

    exit_code = 2


class DataError(CfmError):
    """Input data that is missing, malformed or not what the options say."""

    exit_code = 3


class NumericsError(CfmError):
    """A computation that left the realm of finite numbers."""

    exit_code = 4


class OutputExistsError(CfmError):
    """An output that is already there, with no leave to overwrite it."""

    exit_code = 5


class CheckpointError(CfmError):
    """A run folder that is incomplete, damaged, or of another version or recipe."""

    exit_code = 6


class ResourceError(CfmError):
    """A device, memory or disk that is absent, full or forbidden."""

    exit_code = 7


class RankError(ResourceError):
    """Another process of a fit on several that is gone, or was never found."""


class Interrupted(CfmError):
    """A stop by signal, after what could be saved was saved.

    Args:
        message: what was saved, and how to go on.
        signal: number of the signal: 2 for Ctrl-C, 15 for SIGTERM.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class CfmWarning(UserWarning):
    """Something the user should know that does not stop the run."""
