"""Boundary: converts every way a command can end to an exit code and one message."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import singledispatch
from typing import Any, TextIO

import typer

from cfmcli.cli.console import Console
from cfmcli.cli.signals import STOP
from cfmcli.errors import CfmError, Interrupted, ResourceError, out_of_memory

# Typer exports only the subclasses of its usage error, and that class has moved between versions.
UsageError: type[Any] = typer.BadParameter.__mro__[1]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PATHS = (errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP)


def guarded(work: Callable[[], None], console: Console, *, debug: bool) -> int:
    """Run the work and report how it failed, if it did.

    Args:
        work: the work to run.
        console: where to report failures.
        debug: whether to show the traceback, too.

    Returns:
        The exit code.
    """
    try:
        work()
        sys.stdout.flush()
        if STOP.number:  # the signal did not stop the work
            raise STOP.exception
    except BaseException as error:
        if debug:
            console.fail("".join(traceback.format_exception(error)).rstrip())
        code, message = (STOP.code, STOP.told) if STOP.number else verdict(error)
        if message:
            console.fail(f"error: {message}")
        return code
    return 0


@singledispatch
def verdict(error: BaseException) -> tuple[int, str]:
    """Exit code and message of an exception; an unexpected exception is reported as a bug."""
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return 1, f"this is a bug in cfm: {what}. Run it again with --debug and report the traceback."


@verdict.register
def _(error: CfmError) -> tuple[int, str]:
    return error.exit_code, str(error)


@verdict.register
def _(error: Interrupted) -> tuple[int, str]:
    return 128 + error.signal, str(error)


@verdict.register
def _(error: KeyboardInterrupt) -> tuple[int, str]:
    return 128 + signal.SIGINT, "stopped by Ctrl-C."


@verdict.register
def _(error: MemoryError) -> tuple[int, str]:
    detail = f" ({_first_line(error)})" if str(error) else ""
    return ResourceError.exit_code, (
        f"out of memory{detail}. Use fewer points or features, a smaller --batch-size,"
        " or a machine with more memory."
    )


@verdict.register
def _(error: RuntimeError) -> tuple[int, str]:
    default: Callable[[BaseException], tuple[int, str]] = verdict.dispatch(BaseException)
    return verdict(MemoryError(_first_line(error))) if out_of_memory(error) else default(error)


@verdict.register
def _(error: OSError) -> tuple[int, str]:
    default: Callable[[BaseException], tuple[int, str]] = verdict.dispatch(BaseException)
    if error.errno in _PATHS and error.filename:
        return ResourceError.exit_code, (
            f"{error.filename}: {error.strerror}. Check the path, and that you may use it."
        )
    if error.errno not in _FULL:
        return default(error)
    where = error.filename or "stdout"
    return ResourceError.exit_code, (
        f"{where}: it could not be written ({error.strerror}). Free some space, or write elsewhere."
    )


@verdict.register
def _(error: BrokenPipeError) -> tuple[int, str]:
    return hush(sys.stdout), ""


@verdict.register
def _(error: SystemExit) -> tuple[int, str]:
    return (error.code if isinstance(error.code, int) else 1), ""


def usage(error: Any, verb: str) -> int:
    """Report a usage error, with a pointer to the help.

    Args:
        error: the error, which may not include the command.
        verb: name of the invoked command, empty for none.

    Returns:
        The exit code.
    """
    where = error.ctx.command_path if error.ctx else f"cfm {verb}".rstrip()
    message = error.format_message().rstrip()
    stop = "" if message.endswith((".", "?")) else "."
    Console().fail(f"error: {message}{stop} See {where} --help.")
    return int(error.exit_code)


def hush(stream: TextIO) -> int:
    """Redirect remaining output to nowhere, since its reader is gone.

    Returns:
        Exit code 0: a reader that stops early is not a failure.
    """
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 0


def _first_line(error: BaseException) -> str:
    """First line of an exception's text, without its full stop."""
    return str(error).partition("\n")[0].rstrip(". ")
