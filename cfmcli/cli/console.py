"""Console: all messages of cfm, on stderr and in the log file."""

import datetime
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from cfmcli.errors import CfmWarning, ResourceError


class Console:
    """Output channel of a command.

    Args:
        quiet: whether to suppress notes on the terminal.
        verbose: whether to show details and warnings of other libraries.
        log_file: file that all messages are appended to, empty for none.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False, log_file: str = "") -> None:
        self.warnings: list[str] = []
        self._quiet = quiet
        self._verbose = verbose
        self._log_file = log_file
        self._noted: set[str] = set()

    def open(self, headline: str) -> None:
        """Start the log file with a headline.

        Raises:
            ResourceError: if it cannot be written.
        """
        try:
            self._append(headline)
        except OSError as error:
            why = error.strerror or error
            raise ResourceError(
                f"--log-file {self._log_file}: it could not be written ({why}). Choose another."
            ) from error

    def note(self, text: str) -> None:
        """Show a note."""
        self.log(text)
        if not self._quiet:
            _tell(text)

    def once(self, text: str) -> None:
        """Show a note, unless it was shown before."""
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)

    def detail(self, text: str) -> None:
        """Show a message only with --verbose."""
        if self._verbose:
            self.note(text)

    def warn(self, text: str) -> None:
        """Show a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.fail(f"warning: {text}")

    def fail(self, text: str) -> None:
        """Show a message that no option suppresses."""
        self.log(text)
        _tell(text)

    def log(self, text: str) -> None:
        """Write to the log file only; failures to write are ignored."""
        with suppress(OSError):
            self._append(text)

    @contextmanager
    def hearing_warnings(self) -> Iterator[None]:
        """Show cfm's warnings, and those of other libraries with --verbose."""

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, CfmWarning):
                self.warn(str(message))
            else:
                self.detail(f"{filename}:{lineno}: {category.__name__}: {message}")

        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.simplefilter("always", CfmWarning)
            warnings.showwarning = show
            yield

    def _append(self, text: str) -> None:
        """Append a line to the log file, if any."""
        if self._log_file:
            stamp = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            with Path(self._log_file).open("a", encoding="utf-8") as log:
                log.write(f"{stamp} {text}\n")


def _tell(text: str) -> None:
    """Write to stderr; a closed stream is ignored."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
