"""Run: the run folder that a fit writes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cfmcli import checkpoint, io, plots, stored
from cfmcli.errors import (
    Interrupted,
    OutputExistsError,
    RankError,
    ResourceError,
    out_of_memory,
)
from cfmcli.model import Model

RECIPE, LOSSES = "recipe.toml", "losses.csv"
METRICS, PROVENANCE = "metrics.json", "provenance.json"
FIGURES = "figures"
COUPLINGS = "couplings"
PLOTS, PAGE = "plots", "report.html"
"""Default outputs of `cfm plot` and `cfm report` in the run folder."""
NAMES = (checkpoint.MODEL, checkpoint.TRAINING, RECIPE, LOSSES, METRICS, PROVENANCE)


@dataclass(frozen=True)
class Run:
    """A run folder and its files.

    Args:
        path: path of the folder.
    """

    path: Path

    @property
    def model(self) -> Path:
        """Path of the checkpoint of a finished fit."""
        return self.path / checkpoint.MODEL

    @property
    def state(self) -> Path:
        """Path of the state of an unfinished fit."""
        return self.path / checkpoint.TRAINING

    def finished(self) -> bool:
        """Whether the fit has finished."""
        return self.model.exists() and not self.state.exists()

    def claim(self, inputs: Sequence[str], *, force: bool, resume: bool) -> None:
        """Check, before any work, that the run may be written.

        Raises:
            OutputExistsError: if a run exists, without permission to overwrite or resume.
            ConfigError: if it is an input.
            ResourceError: if its folder cannot be written.
        """
        for name in NAMES:
            io.claim(str(self.path / name), force=True, inputs=inputs, suffixes=())
            if (self.path / name).exists() and not (force or resume):
                half = name == checkpoint.TRAINING
                raise OutputExistsError(
                    f"{self.path} already holds {'an unfinished' if half else 'a'} run ({name}): "
                    f"{'go on with --resume, ' if half else ''}choose another -o, or overwrite it "
                    "with --force."
                )

    @contextmanager
    def writing(self, *, resume: bool = False) -> Iterator[None]:
        """Create the folder for a fit.

        On an error a new folder is removed again, with all that the fit wrote. It is kept if
        another rank is lost, and if its state is saved and a signal, the disk or the memory
        stopped the fit.

        Args:
            resume: whether a state that is there already is that of this fit.
        """
        created = not self.path.exists()
        other = None if resume else self._saved_at()
        try:
            with io.blaming_disk(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:
            raise ResourceError(
                f"{self.path}: this file system lets no folder be made there: choose another -o."
            ) from None
        try:
            yield
        except BaseException as error:
            scarce = isinstance(error, ResourceError) or out_of_memory(error)
            stopped = scarce or not isinstance(error, Exception)
            saved = stopped and self._saved_at() not in (None, other)
            if created and not (saved or isinstance(error, Interrupted | RankError)):
                self._clear()
            if saved and type(error) is ResourceError:
                self._forget()
                raise ResourceError(
                    f"{error} The state of training is saved in {self.path}: go on with the same "
                    "command and --resume."
                ) from None
            raise

    def _saved_at(self) -> int | None:
        """When the state was saved, in nanoseconds, None if there is none."""
        return self.state.stat().st_mtime_ns if self.state.exists() else None

    def _clear(self) -> None:
        """Remove the files of a fit, and the folder if nothing else is in it."""
        self._forget()
        self.state.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _forget(self) -> None:
        """Remove the files of a finished fit, and the folders of theirs where nothing else is.

        So results of two fits are never mixed.
        """
        shown = (self.path / FIGURES).glob("[!.]*")  # hidden ones are still being written
        pictures = [place for place in shown if not place.is_dir()]
        names = [self.path / name for name in NAMES if name != checkpoint.TRAINING]
        plots_of = self.path / PLOTS
        drawn = [plots_of / f"{name}{kind}" for name in plots.PICTURES for kind in plots.FORMATS]
        for old in (*names, *pictures, *self._couplings(), *drawn, self.path / PAGE):
            old.unlink(missing_ok=True)
        for folder in (plots_of, self.path / FIGURES, self.path / COUPLINGS):
            with suppress(OSError):  # foreign files stay, and so does their folder
                folder.rmdir()

    def digests(self, inputs: Sequence[str]) -> dict[str, str]:
        """SHA-256 digest of each input file, without stdin."""
        return {name: io.sha256(name) for name in inputs if name != "-"}

    def save_state(self, arrays: checkpoint.Arrays, facts: Mapping[str, Any]) -> None:
        """Write the state of an unfinished fit, replacing the files of a finished one."""
        io.write_files({str(self.state): checkpoint.pack(arrays, facts)}, self._forget)

    def load_state(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Read the state of an unfinished fit, None if there is none.

        Raises:
            CheckpointError: if it is damaged.
        """
        return checkpoint.unpack(self.state) if self.state.exists() else None

    def write(
        self,
        model: Model,
        losses: str,
        metrics: Mapping[str, Any],
        provenance: Mapping[str, Any],
        couplings: Mapping[str, Callable[[Path], None]] = MappingProxyType({}),
    ) -> None:
        """Write all files or none: they get their names only when all are written.

        Args:
            model: the trained model.
            losses: content of losses.csv, empty if there is none.
            metrics: the content of metrics.json.
            provenance: the content of provenance.json.
            couplings: writers of couplings, by name in the run.
        """
        pictures = plots.of_run(model, losses)
        # The checkpoint gets its name last: a run that has one is complete.
        content: dict[str, bytes | Callable[[Path], None]] = {
            **couplings,
            **{f"{FIGURES}/{name}": picture for name, picture in pictures.items()},
            **({LOSSES: losses.encode()} if losses else {}),
            PROVENANCE: io.as_json(provenance).encode(),
            METRICS: io.as_json(metrics).encode(),
            RECIPE: model.recipe.to_toml().encode(),
            checkpoint.MODEL: stored.pack(model),
        }
        io.write_files({str(self.path / k): data for k, data in content.items()}, self._forget)
        self.state.unlink(missing_ok=True)

    def _couplings(self) -> list[Path]:
        """Paths of the coupling files of a fit."""
        return sorted((self.path / COUPLINGS).glob("tmaps_*.h5ad"))

    def outputs(self) -> dict[str, str]:
        """Outputs of a finished run: name -> path."""
        names = {
            "model": checkpoint.MODEL,
            "recipe": RECIPE,
            "losses": LOSSES,
            "metrics": METRICS,
            "provenance": PROVENANCE,
        }
        found = {
            k: str(self.path / name) for k, name in names.items() if (self.path / name).exists()
        }
        pictures = sorted((self.path / FIGURES).glob("*.png"))
        found |= {"couplings": str(self.path / COUPLINGS)} if self._couplings() else {}
        return found | {f"figure_{p.stem}": str(p) for p in pictures}

    def metrics(self) -> dict[str, Any]:
        """Read the metrics of a finished run."""
        found: dict[str, Any] = json.loads((self.path / METRICS).read_text())
        return found

    def facts(self) -> dict[str, Any]:
        """Read recipe and input digests of a finished run."""
        origin = json.loads((self.path / PROVENANCE).read_text())
        return {"recipe": checkpoint.read_facts(self.model)["recipe"], "inputs": origin["inputs"]}
