"""The README's section of published figures, made from the table of what was measured.

`python -m tests.statistical.page` writes it anew.
"""

from pathlib import Path

from tests.statistical.figures import Figures, line

HERE = Path(__file__).parent
RESULTS, README = HERE / "results.csv", HERE.parents[1] / "README.md"
BEGIN, END = "<!-- published figures: made from the table, checked by a test -->", "<!-- end -->"
HEAD = "| figure | seeds | `cfm` | published | floor |\n|---|---|---|---|---|"
PLANES = ("N->8g", "moons->8g", "N->moons", "N->scurve")
SHOWN = (
    *(f"{task}, otcfm, n 10,000: {figure}" for figure in ("W2", "NPE") for task in PLANES),
    *(f"{task}, sf2m, n 10,000: W2" for task in PLANES),
    "N->checkerboard, BatchOT (exact), k 512: joint loss",
    "N->checkerboard, CondOT (independent), k 256: joint loss",
    "8g->moons given moon, otcfm: W2^2 joint, adaptive",
    "8g->moons given across, otcfm: W2^2 joint, adaptive",
    "Funnel d 10, otcfm, 10 Euler steps, their Jacobians: log Z",
    *(
        f"Gaussian bridge d {d}, sf2m, SDE: {kl}"
        for d in (5, 20, 50)
        for kl in ("KL(t=1)", "mean KL")
    ),
)


def section(figures: Figures) -> str:
    """The rows of the table that the page shows, those that have been measured."""
    groups = figures.groups()
    cells = [line(what, groups[what])[:5] for what in SHOWN if what in groups]
    rows = ["| " + " | ".join(row).replace("+-", "±") + " |" for row in cells]
    return "\n".join([BEGIN, HEAD, *rows, END])


def main() -> None:
    """Put the section into the README."""
    page = README.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(before + section(Figures(RESULTS)) + after, encoding="utf-8")


if __name__ == "__main__":
    main()
