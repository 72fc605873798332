"""Everything cfm says: talk on stderr, answers on stdout, and both in the log file."""

import datetime
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from cfmcli.errors import CfmWarning, ResourceError


class Console:
    """The voice of a command.

    Args:
        quiet: whether notes are kept from the terminal.
        verbose: whether details and the warnings of other libraries are told too.
        log_file: file to which everything said is appended, empty for none.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False, log_file: str = "") -> None:
        self.warnings: list[str] = []
        self._quiet = quiet
        self._verbose = verbose
        self._log_file = log_file
        self._noted: set[str] = set()

    def open(self, headline: str) -> None:
        """Begin the log file with a headline.

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
        """Tell something that is good to know."""
        self.log(text)
        if not self._quiet:
            _tell(text)

    def once(self, text: str) -> None:
        """Tell something that is good to know, unless it was told before."""
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)

    def detail(self, text: str) -> None:
        """Tell something that only --verbose asks for."""
        if self._verbose:
            self.note(text)

    def warn(self, text: str) -> None:
        """Tell, once, something the user should know."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.fail(f"warning: {text}")

    def fail(self, text: str) -> None:
        """Tell something that no option silences."""
        self.log(text)
        _tell(text)

    def log(self, text: str) -> None:
        """Write to the log file alone; a log that fails on the way stops no work."""
        with suppress(OSError):
            self._append(text)

    @contextmanager
    def hearing_warnings(self) -> Iterator[None]:
        """Pass on cfm's warnings, and those of other libraries where details are wanted."""

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
        """Add a line to the log file, if there is one."""
        if self._log_file:
            stamp = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            with Path(self._log_file).open("a", encoding="utf-8") as log:
                log.write(f"{stamp} {text}\n")


def _tell(text: str) -> None:
    """Write to stderr; work goes on when nobody listens."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
