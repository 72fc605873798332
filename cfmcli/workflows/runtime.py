"""Runtime: set-up of devices, threads and signals."""

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cfmcli.catalog import did_you_mean
from cfmcli.errors import CfmWarning, ConfigError, ResourceError
from cfmcli.requests import AUTO, Runtime
from cfmcli.signals import heard_by

if TYPE_CHECKING:
    import torch

MOST_THREADS, MOST_WORKERS = 4, 32
WORTH_SHARING = 2**20


def prepare(runtime: Runtime, width: int, rows: int) -> "torch.device":
    """Set threads, workers and determinism, and select the device.

    Unless the user says otherwise, one thread is used for layers with fewer than a million values,
    where waking a second one costs more than it gains.

    Args:
        runtime: the user's settings.
        width: number of units of a layer of the network.
        rows: number of points that pass through it at once.

    Raises:
        ConfigError: if the device name is invalid, or there are too many workers.
        ResourceError: if the device is not available.
    """
    import torch

    from cfmcli.flows import processes

    most = runtime.threads or allowed_threads()
    usual = most if most > 1 else 0
    if runtime.ot_workers > MOST_WORKERS:
        raise ConfigError(
            f"--ot-workers {runtime.ot_workers}: expected at most {MOST_WORKERS}: more than there "
            "are processors only take memory."
        )
    processes.allow(usual if runtime.ot_workers == AUTO else runtime.ot_workers)
    fitting = allowed_threads() if width * rows >= WORTH_SHARING else 1
    torch.set_num_threads(runtime.threads or fitting)
    # Not use_deterministic_algorithms: it loads the compiler, which takes as long as torch itself.
    torch.set_deterministic_debug_mode("warn")
    return find_device(runtime.device)


def find_device(name: str) -> "torch.device":
    """Find a device by name; "auto" takes a GPU if there is one.

    Raises:
        ConfigError: if the name is invalid.
        ResourceError: if it is not available: an explicit choice never falls back silently.
    """
    import torch

    kind, _, index = name.partition(":")
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(f"--device '{name}'.{did_you_mean(name, ('auto', 'cpu', 'cuda', 'mps'))}")
    there = {
        "cpu": True,
        "cuda": torch.cuda.device_count() > int(index or 0),
        "mps": torch.backends.mps.is_available(),
    }[kind]
    if not there:
        raise ResourceError(f"--device {name} is not there: use --device cpu, or auto.")
    return torch.device(name)


def allowed_threads() -> int:
    """Number of threads that scheduler, cgroup and CPU affinity allow, at most 4."""
    limits = [MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1]
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS", "PBS_NP", "NSLOTS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            limits.append(int(value))
    return max(1, min(*limits, _cgroup_cpus()))


def _cgroup_cpus() -> int:
    """Number of whole CPUs in the cgroup's quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period)) if quota != "max" else MOST_THREADS
    except (OSError, ValueError):
        return MOST_THREADS


@dataclass
class Stop:
    """A request to stop, acted upon at the next safe point.

    Args:
        signal: number of the signal received, 0 for none.
    """

    signal: int = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Record the signal; a second one stops at once."""
        if self.signal:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.signal = number


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Treat Ctrl-C and SIGTERM as a request, so that a long job can save before it ends.

    A request that came too late is passed on to the previous signal handlers.
    """
    stop = Stop()
    with heard_by(stop):
        yield stop
    if stop.signal:
        os.kill(os.getpid(), stop.signal)


def warn(message: str) -> None:
    """Issue a warning to the user that does not stop the run."""
    warnings.warn(message, CfmWarning, stacklevel=3)
