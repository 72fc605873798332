"""Report: a page about a run, and custom content for MultiQC."""

from pathlib import Path

from cfmcli import io, multiqc, plots
from cfmcli.cards import Card, describe
from cfmcli.errors import CheckpointError, ConfigError
from cfmcli.plots import Picture
from cfmcli.report import Story, page
from cfmcli.requests import EvaluateRequest, Listener, Outcome, Progress, ReportRequest, Runtime
from cfmcli.specs import parse_spec
from cfmcli.workflows import sight
from cfmcli.workflows.evaluate import evaluate
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.info import describe_run
from cfmcli.workflows.run import PAGE

PARTS = ("coupling", "interpolant", "objective")


def report(request: ReportRequest, where: Runtime, listen: Listener) -> Outcome:
    """Write the report of a run, and the files for MultiQC.

    Raises:
        CfmError: see the command line's exit codes.
    """
    about = describe_run(request.run)
    if about["kind"] != "run":
        raise CheckpointError(f"{request.run} is an {about['kind']}: {about['hint']}.")
    output = request.output or str(Path(request.run) / PAGE)
    given = [request.view.data] if request.view.data else []
    io.claim(output, force=where.force, inputs=given, suffixes=(".html",))
    scene = sight.scene(request.run, request.view, where)
    side = _multiqc(request, about["metrics"], scene.losses)
    for path in side:
        io.claim(path, force=where.force, suffixes=(".json",))
    scores = evaluate(EvaluateRequest(request.run, max_points=request.max_points), where, ignore)
    names = plots.chosen(scene, request.view.what)
    pictures: list[tuple[Picture, bytes]] = []
    for name in names:
        picture = plots.draw(scene, name)
        pictures.append((picture, picture.encoded()))
        listen(Progress(len(pictures), len(names), name))
    method = about["recipe"]["method"]
    story = Story(
        request.run,
        about,
        describe("methods", method["method"]),
        [(part, method[part], _card(part, method[part])) for part in PARTS],
        scores.figures["scores"],
        pictures,
    )
    io.write_files({output: page(story).encode(), **side})
    outputs = {"report": output} | {f"multiqc_{k}": path for k, path in enumerate(side)}
    return Outcome(outputs, {"pictures": list(names)})


def _card(part: str, spec: str) -> Card:
    """Catalogue card of a part of the method."""
    return describe(f"{part}s", parse_spec(spec).name)


def _multiqc(request: ReportRequest, metrics: dict[str, object], losses: str) -> dict[str, bytes]:
    """Content of the MultiQC files, by path.

    Raises:
        ConfigError: if the sample name is not a valid file name.
    """
    if not request.multiqc:
        return {}
    sample = request.sample_id or Path(request.run).resolve().name
    if "/" in sample or sample.startswith("."):
        raise ConfigError(f"--sample-id '{sample}': expected a name without '/' and leading dot.")
    return {
        str(Path(request.multiqc) / name): io.as_json(content).encode()
        for name, content in multiqc.contents(sample, metrics, losses).items()
    }
