"""Team: processes of a distributed fit, joined by the environment or started here."""

import logging
import secrets
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from cfmcli.errors import CfmError, CfmWarning, ConfigError, RankError, ResourceError
from cfmcli.flows.training import ranks as training
from cfmcli.flows.training.ranks import ALONE, Ranks
from cfmcli.recipe import Recipe
from cfmcli.requests import Outcome, Runtime
from cfmcli.workflows import runtime

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def is_rank(environment: Mapping[str, str]) -> bool:
    """Whether the environment declares other ranks."""
    return environment.get("WORLD_SIZE", "1") not in ("", "1")


@contextmanager
def joined(
    recipe: Recipe, where: Runtime, environment: Mapping[str, str]
) -> Iterator[tuple[Ranks, Runtime]]:
    """Join the ranks of the environment; yield them with this process's runtime.

    Args:
        recipe: settings of the fit.
        where: requested device and threads of each rank.
        environment: environment variables, as set by torchrun.

    Raises:
        ConfigError: if a batch cannot be split evenly, or a variable is missing.
        RankError: if the processes cannot reach each other.
    """
    if not is_rank(environment):
        yield ALONE, where
        return
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        missing = [name for name in NEEDED if not environment.get(name)]
    except (KeyError, ValueError):
        missing = list(NEEDED)
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is set, so this is one of several ranks, and {', '.join(missing)} is not: "
            "start cfm with torchrun, with --nproc, or without WORLD_SIZE."
        )
    with _hushed(rank):
        shared(recipe, size)
        own = _placed(where, environment)
        backend = "nccl" if runtime.find_device(own.device).type == "cuda" else "gloo"
        with training.joined(rank, size, backend) as ranks:
            yield ranks, own


def shared(recipe: Recipe, size: int) -> None:
    """Raise if a batch cannot be split evenly among the ranks.

    Raises:
        ConfigError: if it cannot.
    """
    if recipe.batch_size % size:
        raise ConfigError(
            f"--batch-size {recipe.batch_size} is shared by {size} ranks: make it a multiple of "
            f"{size}."
        )


def _placed(where: Runtime, environment: Mapping[str, str]) -> Runtime:
    """Assign each rank of a machine its own GPU, if there are any, and a share of the threads."""
    local = int(environment.get("LOCAL_RANK", "0"))
    beside = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    threads = where.threads or max(1, runtime.allowed_threads() // beside)
    cuda = where.device in ("auto", "cuda") and torch.cuda.is_available()
    device = f"cuda:{local}" if cuda else where.device
    return replace(where, threads=threads, device=device)


@contextmanager
def _hushed(rank: int) -> Iterator[None]:
    """Silence warnings and errors that all ranks share on all but the leading one."""
    if rank == 0:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfmWarning)
        try:
            yield
        except ResourceError:
            raise
        except CfmError as error:
            raise SystemExit(error.exit_code) from None


def started(count: int, arguments: Sequence[str]) -> Outcome:
    """Start a command as several ranks on this machine, and wait for them.

    Args:
        count: number of ranks.
        arguments: the command line after `cfm`.

    Returns:
        An outcome without a report, since the leading rank has reported.

    Raises:
        SystemExit: with the exit code of the rank that failed or was stopped.
        RankError: if a rank was killed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.WARNING)  # about starting and stopping the ranks
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=secrets.token_hex(8),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "cfmcli", *arguments)
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            raise SystemExit(failure.exitcode) from None
        raise RankError(
            f"Rank {rank} was ended by signal {-failure.exitcode}, and with it the fit: go on from "
            "the last saved state with the same command and --resume."
        ) from None
    return Outcome(told=False)
