"""`cfm plot`."""

from typing import Annotated

from cfmcli.cli import options, view
from cfmcli.cli.command import Session, command
from cfmcli.cli.declare import option
from cfmcli.cli.settings import words
from cfmcli.requests import Outcome, PlotRequest, View

Pictures = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        meaning="Folder to write, or a .png, .svg or .pdf file for one picture.",
        panel=options.OUTPUT,
        metavar="FOLDER|FILE",
        unset="RUN/plots",
    ),
]
Format = Annotated[
    str,
    option(
        "--format",
        meaning="Format of the pictures: png, svg or pdf.",
        panel=options.OUTPUT,
        metavar="NAME",
        unset="the file's suffix, or png",
    ),
]


def plot(
    session: Session,
    run: options.Run,
    output: Pictures = None,
    what: view.What = "",
    format: Format = PlotRequest.format,
    data: view.Cells = View.data,
    basis: view.Basis = View.basis,
    label_key: view.LabelKey = View.label_key,
    colour: view.Colour = View.colour,
    features: view.Features = "",
    force: options.Force = False,
) -> Outcome:
    """Draw a run: clouds, velocities, held-out times, trends, fates, loss.

    Pictures are sized for print: one column, or a page where there are several
    panels. The same run and options give the same bytes.

    Example:
    cfm plot run -o pictures
    cfm plot run --what velocity --basis umap --data cells.h5ad -o velocity.pdf
    """
    shown = View(data, basis, label_key, colour, words(features), words(what))
    request = PlotRequest(run, output or "", format, shown)
    from cfmcli.workflows.plot import plot as carry_out

    return carry_out(request, session.runtime(force=force), session.listen)


COMMAND = command("plot", plot)
