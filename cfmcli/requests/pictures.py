"""What is asked of pictures and reports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """How a run is to be shown.

    Args:
        data: file of the run's cells, with embeddings or annotations; empty for the run alone.
        basis: embedding of `data` to draw on, a key of its obsm; empty for the run's own axes.
        label_key: column of classes by which trajectories are told apart.
        colour: column that colours cells in the picture of fates; empty for no such picture.
        features: features whose trends are shown, empty for those that change most.
        what: names of pictures, empty for all that the run can give.
    """

    data: str = ""
    basis: str = ""
    label_key: str = ""
    colour: str = ""
    features: tuple[str, ...] = ()
    what: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlotRequest:
    """Pictures of a run.

    Args:
        run: run folder.
        output: folder, or file of one picture; empty for RUN/plots.
        format: png, svg or pdf; empty for the suffix of the file, or png.
        view: how the run is shown.
    """

    run: str
    output: str = ""
    format: str = ""
    view: View = View()


@dataclass(frozen=True)
class ReportRequest:
    """One page about a run.

    Args:
        run: run folder.
        output: HTML file, empty for RUN/report.html.
        multiqc: folder for what MultiQC reads, empty for none.
        sample_id: what MultiQC calls the run, empty for the name of its folder.
        max_points: most points on a side when scores are computed.
        view: how the run is shown.
    """

    run: str
    output: str = ""
    multiqc: str = ""
    sample_id: str = ""
    max_points: int = 1000
    view: View = View()
