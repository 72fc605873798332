"""`cfm report`."""

from typing import Annotated

from cfmcli.cli import options, view
from cfmcli.cli.command import Session, command
from cfmcli.cli.declare import option
from cfmcli.cli.settings import words
from cfmcli.requests import Outcome, ReportRequest, View

Page = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        meaning="HTML file to write.",
        panel=options.OUTPUT,
        metavar="FILE.html",
        unset="RUN/report.html",
    ),
]
MultiQC = Annotated[
    str,
    option(
        "--multiqc",
        meaning="Folder for *_mqc.json files, which MultiQC finds and shows.",
        panel=options.OUTPUT,
        metavar="FOLDER",
        unset="none",
    ),
]
SampleId = Annotated[
    str,
    option(
        "--sample-id",
        meaning="What MultiQC calls the run; must differ between the runs of one report.",
        panel=options.OUTPUT,
        metavar="NAME",
        unset="the name of the run folder",
    ),
]


def report(
    session: Session,
    run: options.Run,
    output: Page = None,
    multiqc: MultiQC = ReportRequest.multiqc,
    sample_id: SampleId = ReportRequest.sample_id,
    max_points: options.ScoredPoints = ReportRequest.max_points,
    what: view.What = "",
    data: view.Cells = View.data,
    basis: view.Basis = View.basis,
    label_key: view.LabelKey = View.label_key,
    colour: view.Colour = View.colour,
    features: view.Features = "",
    force: options.Force = False,
) -> Outcome:
    """Write one self-contained HTML page about a run.

    What was asked, the data, the method and whom to cite, scores beside their
    floors, pictures, warnings, and where everything came from.

    Example:
    cfm report run -o report.html
    cfm report run -o report.html --multiqc multiqc --sample-id donor1
    """
    shown = View(data, basis, label_key, colour, words(features), words(what))
    request = ReportRequest(run, output or "", multiqc, sample_id, max_points, shown)
    from cfmcli.workflows.report import report as carry_out

    return carry_out(request, session.runtime(force=force), session.listen)


COMMAND = command("report", report)
