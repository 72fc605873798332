"""View: options that pictures and reports share."""

from typing import Annotated

from cfmcli.cli.declare import option

PICTURES = "Pictures"

What = Annotated[
    str,
    option(
        "--what",
        meaning="Pictures to draw: clouds,velocity,holdout,trends,fates,loss.",
        panel=PICTURES,
        metavar="LIST",
        unset="all that the run can give",
    ),
]
Cells = Annotated[
    str,
    option(
        "--data",
        meaning="File with the embedding of --basis or the column of --colour.",
        panel=PICTURES,
        metavar="FILE",
        unset="the run alone",
    ),
]
Basis = Annotated[
    str,
    option(
        "--basis",
        meaning="Embedding to draw on, a key of the obsm of --data: umap is X_umap.",
        panel=PICTURES,
        metavar="KEY",
        unset="the features, or principal axes",
    ),
]
LabelKey = Annotated[
    str,
    option(
        "--label-key",
        meaning="Column of classes; trajectories are told apart by that of the cell nearest to "
        "their end.",
        panel=PICTURES,
        metavar="COLUMN",
        unset="none",
    ),
]
Colour = Annotated[
    str,
    option(
        "--colour",
        meaning="Column or feature that colours cells in the picture of fates, by cell id.",
        panel=PICTURES,
        metavar="COLUMN",
        unset="none",
    ),
]
Features = Annotated[
    str,
    option(
        "--features",
        meaning="Features whose trends are drawn: a,b,c.",
        panel=PICTURES,
        metavar="LIST",
        unset="the six that change most",
    ),
]
