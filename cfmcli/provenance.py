"""Provenance: the record of command, inputs, versions and seed written beside every result."""

import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import cfmcli

PACKAGES = (
    "anndata",
    "numpy",
    "pandas",
    "pot",
    "safetensors",
    "scanpy",
    "scikit-learn",
    "scipy",
    "torch",
    "torchdiffeq",
)

CITATIONS: dict[str, str] = {
    "cfm": (
        "Tong et al. (2024). Improving and generalizing flow-based generative models with "
        "minibatch optimal transport. TMLR. arXiv 2302.00482"
    ),
    "pot": "Flamary et al. (2021). POT: Python Optimal Transport. JMLR 22(78):1-8",
    "torchdiffeq": "Chen (2018). torchdiffeq",
    "anndata": "Virshup et al. (2024). anndata: access and store annotated matrices. JOSS 9(101)",
}


def versions() -> dict[str, str]:
    """Versions of cfm, Python and the numerical packages."""
    found = {"cfm": cfmcli.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def record(
    command: str, seed: int, inputs: Mapping[str, str], citations: Sequence[str]
) -> dict[str, Any]:
    """Build a provenance record, as JSON-compatible values.

    Args:
        command: the command line, empty for calls from Python.
        seed: seed of the run.
        inputs: input path -> SHA-256.
        citations: citations of the methods used, in addition to the tools.
    """
    return {
        "command": command or "cfmcli (Python)",
        "version": cfmcli.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "inputs": dict(inputs),
        "platform": {"system": platform.system(), "machine": platform.machine()},
        "versions": versions(),
        "cite": [*dict.fromkeys(citations), *CITATIONS.values()],
        "arguments": sys.orig_argv[1:] if not command else [],
    }
