"""Jobs: runs a command's shards as local processes and merges the results."""

import multiprocessing
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from cfmcli import io
from cfmcli.errors import CfmWarning, ConfigError, ResourceError
from cfmcli.requests import Listener, MergeRequest, Outcome, Progress, Runtime, Shard
from cfmcli.workflows import runtime
from cfmcli.workflows.merge import merge
from cfmcli.workflows.shards import Request

_UNGUARDED = (
    "--jobs {jobs} begins fresh processes, and none came to work: each runs the script that calls "
    'cfm once more. Put the call under  if __name__ == "__main__":  or use --jobs 1.'
)

Verb = Callable[[Request, Runtime, Listener], Outcome]


def spread(
    verb: Callable[..., Outcome], request: Request, where: Runtime, listen: Listener, jobs: int
) -> Outcome:
    """Run a command in several processes that share the threads.

    Args:
        verb: the workflow.
        request: the request.
        where: device, threads, permission to overwrite.
        listen: receives progress.
        jobs: number of processes; 1 for this process.

    Raises:
        CfmError: as for the command, or if a process dies.
    """
    if jobs == 1 or request.dry_run:
        return verb(request, where, listen)
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(ConfigError.exit_code)  # a script run again; its first process reports
    _check(request, jobs)
    io.claim(request.output, force=where.force, inputs=[getattr(request, "data", "")])
    home = Path(request.output).absolute().parent
    home.mkdir(parents=True, exist_ok=True)
    threads = max(1, (where.threads or runtime.allowed_threads()) // jobs)
    with tempfile.TemporaryDirectory(prefix=".jobs.", dir=home) as folder:
        ending = "".join(Path(request.output).suffixes[-2:])
        parts = tuple(f"{folder}/{k}{ending}" for k in range(1, jobs + 1))
        shards = [
            replace(request, output=path, shard=Shard(k + 1, jobs)) for k, path in enumerate(parts)
        ]
        _run(verb, shards, replace(where, threads=threads), listen)
        outcome = merge(MergeRequest(parts, request.output), where, listen)
    figures = {name: value for name, value in outcome.figures.items() if name != "parts"}
    return Outcome(outcome.outputs, {**figures, "jobs": jobs})


def _check(request: Request, jobs: int) -> None:
    """Refuse requests that cannot be split among processes."""
    if request.shard:
        raise ConfigError(f"--jobs {jobs} and --shard {request.shard} exclude each other.")
    if "-" in (request.output, *(getattr(request, name, "") for name in ("data", "cells"))):
        raise ConfigError(f"--jobs {jobs} works from file to file: name files in place of -.")


def _run(verb: Verb, shards: list[Request], where: Runtime, listen: Listener) -> None:
    """Wait for all shards; if one fails, terminate the others."""
    fresh = multiprocessing.get_context("spawn")
    begun = fresh.Event()
    with ProcessPoolExecutor(len(shards), fresh, begun.set) as pool:
        try:
            waiting = [pool.submit(_one, verb, shard, where) for shard in shards]
            for done, ready in enumerate(as_completed(waiting), 1):
                for message in ready.result():
                    runtime.warn(message)
                listen(Progress(done, len(shards), "shards"))
        except BrokenProcessPool as error:
            if not begun.is_set():
                raise ConfigError(_UNGUARDED.format(jobs=len(shards))) from error
            raise ResourceError(
                "A process of --jobs died, perhaps for want of memory: use fewer jobs."
            ) from error
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _one(verb: Verb, shard: Request, where: Runtime) -> list[str]:
    """Run one shard; return its warnings."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", CfmWarning)
        verb(shard, where, lambda progress: None)
    return list(dict.fromkeys(str(w.message) for w in heard if w.category is CfmWarning))
