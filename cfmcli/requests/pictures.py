"""Requests for pictures and reports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """Settings of the pictures of a run.

    Args:
        data: file of the run's cells, with embeddings or annotations; empty for the run alone.
        basis: embedding of `data` to draw on, a key of its obsm; empty for the run's own axes.
        label_key: column of classes that distinguish trajectories.
        colour: column that colours cells in the picture of fates; empty for no such picture.
        features: features whose trends are shown, empty for those that change most.
        what: names of pictures, empty for all that the run allows.
    """

    data: str = ""
    basis: str = ""
    label_key: str = ""
    colour: str = ""
    features: tuple[str, ...] = ()
    what: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlotRequest:
    """Request for pictures of a run.

    Args:
        run: run folder.
        output: folder, or file of one picture; empty for RUN/plots.
        format: png, svg or pdf; empty for the suffix of the file, or png.
        view: settings of the pictures.
    """

    run: str
    output: str = ""
    format: str = ""
    view: View = View()


@dataclass(frozen=True)
class ReportRequest:
    """Request for a report of a run.

    Args:
        run: run folder.
        output: HTML file, empty for RUN/report.html.
        multiqc: folder for MultiQC files, empty for none.
        sample_id: name of the run in MultiQC, empty for the name of its folder.
        max_points: maximum number of points on a side for scores.
        view: settings of the pictures.
    """

    run: str
    output: str = ""
    multiqc: str = ""
    sample_id: str = ""
    max_points: int = 1000
    view: View = View()
