"""The Python API: the command line's verbs on arrays, DataFrames and AnnData."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cfmcli import io, recipe
from cfmcli.model import Model
from cfmcli.requests import Runtime
from cfmcli.workflows import fit as fitting
from cfmcli.workflows import prepare

if TYPE_CHECKING:
    from cfmcli.data.table import Table

__all__ = ["Model", "fit"]


def fit(
    *data: Any,
    device: str = "auto",
    threads: int = 0,
    **settings: Any,
) -> Model:
    """Fit a flow between clouds in memory.

    Args:
        data: a source and a target, clouds in time order, or one object with a `time_key`; NumPy
            arrays of shape (n, d), DataFrames or AnnData.
        device: auto, cpu, cuda, cuda:I or mps.
        threads: CPU threads; 0 takes what the machine allows.
        settings: settings of the recipe, by name: method="otcfm", steps=4000, time_key="day", ...

    Returns:
        The trained model.

    Raises:
        CfmError: the same errors as the command line's.
    """
    names = [f"data[{k}]" for k in range(len(data))]
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    how = recipe.from_layers(plain, {"inputs": tuple(names)})
    tables: Sequence[Table] = [io.from_object(item, prepare.selection(how)) for item in data]
    return fitting.learn(how, tables, Runtime(device=device, threads=threads, seed=how.seed))
