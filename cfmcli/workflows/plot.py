"""Plot: pictures of a run, written to a folder or a file."""

from pathlib import Path

from cfmcli import io, plots
from cfmcli.errors import ConfigError
from cfmcli.requests import Listener, Outcome, PlotRequest, Progress, Runtime
from cfmcli.workflows import sight
from cfmcli.workflows.run import PLOTS

ALONE = "clouds"
"""The picture drawn into a file if none is named."""


def plot(request: PlotRequest, where: Runtime, listen: Listener) -> Outcome:
    """Draw pictures of a run and write them.

    Raises:
        CfmError: see the command line's exit codes.
    """
    kind, single = _kind(request)
    if single:
        _claim([Path(request.output)], request, where)
    scene = sight.scene(request.run, request.view, where)
    names = plots.chosen(scene, request.view.what or ((ALONE,) if single else ()))
    folder = Path(request.output or Path(request.run) / PLOTS)
    paths = [folder] if single else [folder / f"{name}{kind}" for name in names]
    _claim(paths, request, where)
    content: dict[str, bytes] = {}
    captions = {}
    for name, path in zip(names, paths, strict=True):
        picture = plots.draw(scene, name)
        captions[name] = f"{picture.title}. {picture.caption}"
        content[str(path)] = picture.encoded(kind)
        listen(Progress(len(content), len(names), name))
    io.write_files(content)
    return Outcome(dict(zip(names, map(str, paths), strict=True)), {"pictures": captions})


def _kind(request: PlotRequest) -> tuple[str, bool]:
    """Determine the suffix of the pictures, and whether the output is a single file.

    Raises:
        ConfigError: if format, output and number of pictures are inconsistent.
    """
    chosen = f".{request.format.lower().lstrip('.')}" if request.format else ""
    there = Path(request.output)
    suffix = "" if there.is_dir() else there.suffix.lower()
    known = f"Use one of {' '.join(plots.FORMATS)}"
    if chosen and chosen not in plots.FORMATS:
        raise ConfigError(f"--format {request.format}: pictures have no such format. {known}.")
    if suffix[1:].isalpha() and suffix not in plots.FORMATS:
        raise ConfigError(f"{request.output}: pictures are no {suffix}. {known}, or name a folder.")
    single = suffix in plots.FORMATS
    if single and chosen not in ("", suffix):
        raise ConfigError(f"--format {request.format} and -o {request.output} differ: drop one.")
    if single and len(request.view.what) > 1:
        raise ConfigError(
            f"{request.output} holds one picture, --what names {len(request.view.what)}: name a "
            "folder with -o, or one picture."
        )
    return (suffix if single else chosen or ".png"), single


def _claim(paths: list[Path], request: PlotRequest, where: Runtime) -> None:
    """Check that the pictures may be written."""
    given = [request.view.data] if request.view.data else []
    for path in paths:
        io.claim(str(path), force=where.force, inputs=given, suffixes=plots.FORMATS)
